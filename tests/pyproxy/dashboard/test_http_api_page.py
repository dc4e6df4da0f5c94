"""The reference page of the HTTP API says what `view` and `routes` say."""

import re
from pathlib import Path

import pytest

from pyproxy.dashboard import board, sampling, view
from pyproxy.dashboard.connection import Limits
from pyproxy.dashboard.feed import HISTORY
from pyproxy.dashboard.listings import DEFAULT_LIMIT, LISTINGS, MAX_LIMIT
from pyproxy.dashboard.routes import DELIBERATE
from pyproxy.lab.rehearsal import KILL, PATH, SWITCHOVER

PAGE = (Path(__file__).parents[3] / "docs/reference/http-api.md").read_text()

ROWS = {
    "proxy": view.ProxySummary,
    "endpoints": view.EndpointRow,
    "clients": view.ClientRow,
    "servers": view.ServerRow,
    "pools": view.PoolRow,
    "pins": view.PinRow,
    "sessions": view.PinnedSessionRow,
    "targets": view.TargetRow,
    "events": view.EventRow,
    "board": board.Board,
    "sample": sampling.Sample,
    "applications": view.ApplicationRow,
}


@pytest.mark.parametrize("name", ROWS)
def test_the_keys_of_a_row_are_those_documented(name: str) -> None:
    section = PAGE.split(f"\n### {name}\n")[1].split("\n### ")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(ROWS[name].__annotations__)


def test_the_paths_are_those_documented() -> None:
    documented = set(re.findall(r"^\| `(/[^`]*)`", PAGE.split("\n## ")[0], re.MULTILINE))
    listings = {f"/api/v1/{name}" for name in LISTINGS}
    others = {"/", "/metrics", "/healthz", "/readyz", "/api/v1/proxy", "/api/v1/stream"}
    assert documented == listings | others


def test_what_the_demonstration_lets_one_start_is_documented() -> None:
    section = PAGE.split("\n## In the demonstration\n")[1].split("\n## ")[0]
    assert f"POST {PATH}?how={KILL}" in section
    assert f"`{SWITCHOVER}`" in section
    assert f"`{DELIBERATE}`" in section
    assert f"or a POST without `{DELIBERATE}`" in PAGE.split("\n## Errors\n")[1]


@pytest.mark.parametrize("name", LISTINGS)
def test_the_filters_of_a_listing_are_those_documented(name: str) -> None:
    listings = PAGE.split("\n## Listings\n")[1].split("\n## ")[0]
    row = re.search(rf"^\| `{name}` \| (.*) \|$", listings, re.MULTILINE)
    assert row is not None
    assert re.findall(r"`(\w+)`", row[1]) == list(LISTINGS[name].filters)


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("clients", "state", view.CLIENT_STATES),
        ("servers", "state", view.SERVER_STATES),
        ("targets", "role", view.TARGET_ROLES),
        ("events", "category", view.EVENT_CATEGORIES),
    ],
)
def test_the_values_that_can_be_asked_for_are_those_documented(
    name: str, key: str, values: tuple[str, ...]
) -> None:
    section = PAGE.split(f"\n### {name}\n")[1].split("\n### ")[0]
    row = re.search(rf"^\| `{key}` \| (.*) \|$", section, re.MULTILINE)
    assert row is not None
    assert tuple(re.findall(r"`([^`]+)`", row[1])) == values


def test_the_limits_are_those_documented() -> None:
    limits = Limits()
    for text in (
        f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} if not given",
        f"not complete after {limits.request_timeout:g} s",
        f"a body larger than {limits.body_bytes // 1024} KiB",
        f"larger than {limits.head_bytes // 1024} KiB",
        f"the last {HISTORY} samples",
        (
            f"the first {board.SERVERS} servers, {board.APPLICATIONS} applications, "
            f"{board.POOLS} pools, {board.TARGETS} targets, {board.WAITING} waiting clients and "
            f"{board.PINNED} pinned sessions"
        ),
        f"{limits.connections} connections, or {limits.streams} streams",
    ):
        assert text in " ".join(PAGE.split())
