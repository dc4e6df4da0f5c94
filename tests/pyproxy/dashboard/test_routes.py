"""What each path answers, without a socket."""

import json
import re
from pathlib import Path

import pytest

from pyproxy.dashboard import routes
from pyproxy.dashboard.listings import MAX_LIMIT, read_arguments
from pyproxy.dashboard.routes import Request, Response, Routes
from tests.support.fake_view import FakeView

LISTINGS = ["clients", "servers", "pools", "pins", "targets", "events"]
STATIC = Path(routes.__file__).parent / "static"


def ask(path: str, query: str = "", view: FakeView | None = None, method: str = "GET") -> Response:
    house = Routes(view or FakeView(), lambda accept: ("text/plain", f"accept={accept}".encode()))
    response = house.answer(Request(method, path, query, accept="application/openmetrics-text"))
    if response.pieces is None:
        return response
    return response._replace(body=b"".join(response.pieces))


def body(response: Response) -> dict[str, object]:
    value = json.loads(response.body)
    assert isinstance(value, dict)
    return value


def test_metrics_are_rendered_for_what_the_scraper_accepts() -> None:
    response = ask("/metrics")
    assert (response.status, response.content_type) == (200, "text/plain")
    assert response.body == b"accept=application/openmetrics-text"


def test_health_is_the_process_and_readiness_the_targets() -> None:
    view = FakeView()
    view.is_ready = False
    assert ask("/healthz", view=view).status == 200
    response = ask("/readyz", view=view)
    assert response.status == 503
    why = "no target is available: db-a refuses connections"
    assert body(response) == {"ready": False, "why": why}
    assert ask("/readyz").status == 200


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_has_its_rows_under_its_own_name(name: str) -> None:
    response = ask(f"/api/v1/{name}")
    assert response.content_type == "application/json"
    found = body(response)
    more = {"sessions"} if name == "pins" else set()
    assert set(found) == {name, "limit", "offset", "truncated"} | more
    assert found["truncated"] is False
    assert found[name]


def test_pins_are_told_added_up_and_one_by_one() -> None:
    view = FakeView()
    view.all_sessions *= 3
    found = body(ask("/api/v1/pins", "limit=2", view=view))
    assert isinstance(found["pins"], list)
    assert isinstance(found["sessions"], list)
    assert (len(found["pins"]), len(found["sessions"]), found["truncated"]) == (2, 2, True)
    assert found["sessions"][0]["number"] == 3


def test_ten_thousand_clients_make_a_bounded_answer() -> None:
    view = FakeView(clients=10_000)
    found = body(ask("/api/v1/clients", view=view))
    assert isinstance(found["clients"], list)
    assert (len(found["clients"]), found["truncated"], found["limit"]) == (200, True, 200)
    assert view.built == 201, "rows that are not shown need not be built"


def test_a_limit_that_is_just_enough_does_not_truncate() -> None:
    found = body(ask("/api/v1/clients", "limit=3"))
    assert (found["limit"], found["truncated"]) == (3, False)


def test_a_pool_has_its_own_clients() -> None:
    found = body(ask("/api/v1/clients", "pool=report%40shop&limit=5", FakeView(clients=100)))
    assert isinstance(found["clients"], list)
    assert {client["pool"] for client in found["clients"]} == {"report@shop"}
    assert (len(found["clients"]), found["truncated"]) == (5, True)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("clients", "state=ACTIVE"),
        ("clients", "id=0000000012"),
        ("clients", "pin=PIN-PG-06&endpoint=default&application_name=nobody"),
        ("servers", "state=RETIRED&target=db-b"),
        ("pins", "rule=PIN-PG-18&driver=nobody"),
        ("targets", "role=UNKNOWN"),
        ("events", "category=rehearsal"),
    ],
)
def test_what_could_be_there_and_is_not_is_an_empty_list(path: str, query: str) -> None:
    response = ask(f"/api/v1/{path}", query)
    assert (response.status, body(response)[path]) == (200, [])


def test_an_id_may_have_zeros_ahead_of_it() -> None:
    assert body(ask("/api/v1/clients", "id=4173595554"))["clients"]
    assert body(ask("/api/v1/targets", "id=db-b"))["targets"]
    found = body(ask("/api/v1/servers", "id=0529039385"))["servers"]
    assert isinstance(found, list)
    assert [row["id"] for row in found] == [529039385]


def test_a_pool_nobody_uses_has_no_clients() -> None:
    assert body(ask("/api/v1/servers", "pool=nobody"))["servers"] == []


@pytest.mark.parametrize(
    ("path", "query", "right"),
    [
        ("/api/v1/clients", "limit=0", f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", f"limit={MAX_LIMIT + 1}", f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", "limit=many", f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", "limit=" + "9" * 5000, f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", "limit=-1", f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", "limit=", f"a whole number from 1 to {MAX_LIMIT}"),
        ("/api/v1/clients", "offset=-1", "offset is '-1': it must be a whole number from 0"),
        ("/api/v1/clients", "offset=" + "9" * 5000, "a whole number from 0 to 1000000"),
        ("/api/v1/clients", "size=3", "allowed here: limit, offset, search, id, endpoint, pool"),
        ("/api/v1/pins", "pool=app", "allowed here: limit, offset, search, rule"),
        ("/api/v1/proxy", "limit=3", "none is allowed here"),
        ("/api/v1/clients", "limit=3&limit=4", "give it once"),
        ("/api/v1/clients", "pool=%ff", "use ?name=value"),
        ("/api/v1/clients", "state=BOGUS", "it must be one of IDLE, WAITING, ACTIVE"),
        ("/api/v1/clients", "state=idle", "it must be one of IDLE, WAITING, ACTIVE"),
        ("/api/v1/clients", "state=", "state is '': it must be one of IDLE, WAITING, ACTIVE"),
        (
            "/api/v1/clients",
            "id=abc",
            "id is 'abc': it must be a whole number from 0 to 4294967295",
        ),
        ("/api/v1/clients", "id=-1", "it must be a whole number from 0 to 4294967295"),
        ("/api/v1/clients", "endpoint=readers", "endpoint is 'readers': it must be one of default"),
        ("/api/v1/clients", "pin=PIN-PG-99", "it must be one of empty, PIN-ALL-01, PIN-PG-01, "),
        ("/api/v1/servers", "state=WAITING", "IDLE, BORROWED, CANCELLING, RESETTING, RETIRED"),
        ("/api/v1/servers", "target=db-c", "target is 'db-c': it must be one of db-a, db-b"),
        ("/api/v1/pools", "target=db-c", "target is 'db-c': it must be one of db-a, db-b"),
        ("/api/v1/pins", "rule=", "rule is '': it must be one of PIN-ALL-01, PIN-PG-01, "),
        ("/api/v1/targets", "id=db-c", "id is 'db-c': it must be one of db-a, db-b"),
        ("/api/v1/targets", "role=writer", "one of READ_WRITE, READ_ONLY, UNKNOWN"),
        (
            "/api/v1/events",
            "category=failovers",
            "configuration change, failover, failure, pinning",
        ),
        ("/api/v1/events", "state=IDLE", "allowed here: limit, offset, search, event, category"),
        ("/api/v1/clients", "&".join(["limit=1"] * 99), "use ?name=value"),
    ],
)
def test_a_wrong_argument_is_an_error_that_says_what_is_right(
    path: str, query: str, right: str
) -> None:
    response = ask(path, query)
    assert response.status == 400
    message = body(response)["error"]
    assert isinstance(message, str)
    assert right in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/v1/client", "did you mean /api/v1/clients?"),
        ("/metrics/", "did you mean /metrics?"),
        ("/healthy", "did you mean /healthz?"),
        ("/etc/passwd", "see `paths`"),
        ("/static/../view.py", "there is no /static/../view.py here"),
        ("", "see `paths`"),
        ("/" + "x" * 9000, "see `paths`"),
    ],
)
def test_a_wrong_path_is_an_error_that_says_what_is_right(path: str, hint: str) -> None:
    response = ask(path)
    assert response.status == 404
    message = body(response)["error"]
    assert isinstance(message, str)
    assert hint in message
    assert "/readyz" in str(body(response)["paths"])
    assert len(response.body) < 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_done_by_http(method: str) -> None:
    response = ask("/api/v1/pins", method=method)
    assert response.status == 405
    assert ("Allow", "GET, HEAD") in response.headers
    assert "use GET or HEAD" in str(body(response)["error"])


def act(query: str) -> Response:
    """A POST, as to the demonstration's rehearsal."""

    def action(asked: str) -> tuple[int, dict[str, object]]:
        how = read_arguments(asked, ("how",)).get("how", "")
        return (202, {"how": how}) if how else (409, {"error": "one is under way"})

    house = Routes(FakeView(), lambda _: ("", b""), {"/api/v1/failover": action})
    return house.answer(Request("POST", "/api/v1/failover", query, deliberate=True))


def test_what_a_post_starts_says_what_is_wrong_as_all_errors_do() -> None:
    assert (act("how=kill").status, body(act("how=kill"))) == (202, {"how": "kill"})
    assert body(act("")) == {"status": 409, "error": "one is under way"}
    wrong = {"status": 400, "error": "unknown argument 'what': allowed here: how"}
    assert body(act("how=kill&what=all")) == wrong
    assert act("how=kill&what=all").status == 400


PARTS = [
    "/",
    *(f"/static/{file.name}" for file in sorted(STATIC.glob("*.*")) if file.suffix != ".html"),
]


@pytest.mark.parametrize("path", PARTS)
def test_the_page_and_its_parts_forbid_everything_from_elsewhere(path: str) -> None:
    """Content Security Policy Level 3: nothing by default, then only our own origin."""
    response = ask(path)
    assert response.status == 200
    policy = dict(response.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy


def test_the_page_needs_nothing_but_the_paths_there_are() -> None:
    """No inline script or style (the policy forbids them) and no other host."""
    page = ask("/").body.decode()
    assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", page)
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    for script in STATIC.glob("*.js"):
        text = script.read_text()
        named |= set(re.findall(r'["`](/[a-z0-9/]+)(?:\?[^"`]*)?["`]', text))
        named |= {f"/static/{part}" for part in re.findall(r'from "\./([^"]+)"', text)}
    assert len(named) > 10
    for path in named:
        assert ask(path).status in (200, 503), path
    for path in PARTS:
        assert not re.findall(
            r"(?:https?:)?//(?!www\.w3\.org)[\w.]+\.\w+/", ask(path).body.decode()
        )


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_a_script_never_makes_markup_of_text(script: Path) -> None:
    """A client chooses its application_name; it must stay text."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function",
        script.read_text(),
    )


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_a_part_of_the_page_is_one_room(file: Path) -> None:
    """As for Python: a file over 500 lines is two."""
    assert file.read_text().count("\n") <= 500
