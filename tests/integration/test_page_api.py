"""The JSON API of a real proxy: what holds what, who waits, what is pinned."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, proxy_of, start_proxy
from tests.support.wire import Wire

pytestmark = pytest.mark.integration


def eventually(what: Callable[[], Any]) -> Any:
    """What is true after a moment: connections open and close in their own time."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came to pass")


def board(proxy: Proxy) -> dict[str, Any]:
    """The first board of a stream."""
    url = f"http://{proxy.host}:{proxy.http_port}/api/v1/stream"
    with urllib.request.urlopen(url, timeout=20) as stream:
        for line in stream:
            if line == b"event: board\n":
                value = json.loads(stream.readline().removeprefix(b"data: "))
                assert isinstance(value, dict)
                return value
    raise AssertionError("there was no board")


def test_everybody_is_seen_once_and_in_one_state(postgres: Postgres) -> None:
    """Two connections: one pinned, one in a transaction, so that a third client waits."""
    with (
        proxy_of(2, postgres) as proxy,
        contextlib.ExitStack() as stack,
    ):
        pinned, busy, waiting, idle = (
            stack.enter_context(contextlib.closing(proxy.wire(application_name=name)))
            for name in ("pinned", "busy", "waiting", "idle")
        )
        pinned.ask(Query("SELECT 'warm'"))
        pinned.ask(Query("SET my.password TO 'hunter2'"))
        busy.ask(Query("BEGIN"))
        waiting.send(Query("SELECT 1"))
        assert idle
        eventually(lambda: proxy.api("clients?state=WAITING")["clients"])

        seen = board(proxy)
        states = ("idle", "waiting", "borrowed", "in_transaction", "pinned")
        assert {
            row["application_name"]: [row[s] for s in states] for row in seen["applications"]
        } == {
            "pinned": [0, 0, 0, 0, 1],
            "busy": [0, 0, 0, 1, 0],
            "waiting": [0, 1, 0, 0, 0],
            "idle": [1, 0, 0, 0, 0],
        }
        sample = seen["sample"]
        assert (sample["pinned"], sample["in_transaction"], sample["borrowed"]) == (1, 1, 0)
        assert (sample["clients"], sample["waiting"], sample["max_connections"]) == (4, 1, 2)
        assert [row["application_name"] for row in seen["waiting"]] == ["waiting"]
        holders = {row["application_name"]: row for row in seen["servers"]}
        assert set(holders) == {"pinned", "busy"}
        assert holders["busy"]["in_transaction"]

        (pin,) = seen["pinned"]
        assert (pin["rule"], pin["number"], pin["held"]) == ("PIN-PG-01", 2, True)
        assert pin["server"] == holders["pinned"]["id"]
        (client,) = proxy.api(f"clients?id={pin['client']}")["clients"]
        assert (client["application_name"], client["pin"]) == ("pinned", "PIN-PG-01")

        busy.ask(Query("COMMIT"))
        waiting.read_ready()
        pinned.close()
        eventually(lambda: not board(proxy)["pinned"])


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_client_is_shown_with_how_long_its_request_has_run(proxy: Proxy, extended: bool) -> None:
    """The upkeep that looks for idle clients finds it busy every second; that is no new beginning."""
    sql = "SELECT pg_sleep(30)"
    messages = (Parse("", sql), Bind("", ""), Execute(), Sync()) if extended else (Query(sql),)

    def shown() -> dict[str, Any]:
        (client,) = proxy.api("clients?application_name=slow")["clients"]
        assert isinstance(client, dict)
        return client

    with contextlib.closing(proxy.wire(application_name="slow")) as slow:
        slow.ask(Query("SELECT 1"))
        slow.send(*messages)
        eventually(lambda: shown()["state_age"] > 3)
        now = shown()
        assert now["state"] == "ACTIVE"
        assert now["state_age"] <= now["age"]


def test_pages_of_clients_stay_put(postgres: Postgres) -> None:
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres) as proxy,
        contextlib.ExitStack() as stack,
    ):
        for number in range(25):
            stack.enter_context(contextlib.closing(proxy.wire(application_name=f"job {number}")))
        pages = [
            proxy.api(f"clients?limit=10&offset={offset}")["clients"] for offset in (0, 10, 20)
        ]
        names = [row["application_name"] for page in pages for row in page]
        assert sorted(names) == sorted(f"job {number}" for number in range(25))
        assert names == [row["application_name"] for row in proxy.api("clients")["clients"]]
        ages = [row["age"] for row in proxy.api("clients")["clients"]]
        assert ages == sorted(ages, reverse=True)
        found = proxy.api("clients?search=job%2012")
        assert [row["application_name"] for row in found["clients"]] == ["job 12"]


def test_a_client_by_ipv6_is_shown_as_one_would_type_it(postgres: Postgres) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, endpoints=[{"host": "::", "port": 0}]) as proxy,
        contextlib.closing(Wire("::1", proxy.port).login("app", PASSWORD, "app")) as client,
    ):
        port = client.sock.getsockname()[1]
        (row,) = proxy.api("clients")["clients"]
        assert row["address"] == f"[::1]:{port}"
