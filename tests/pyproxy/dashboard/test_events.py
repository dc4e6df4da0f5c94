"""The frames of server-sent events."""

import json

from pyproxy.dashboard.events import EventStream
from tests.support.fake_view import FakeView, event_row


def frames(data: bytes) -> list[dict[str, str]]:
    """Split a stream as a browser does: fields by line, frames by empty line."""
    return [
        dict(line.split(": ", 1) for line in frame.split("\n"))
        for frame in data.decode().split("\n\n")
        if frame
    ]


def ids(data: bytes) -> list[str]:
    return [frame["id"] for frame in frames(data) if "id" in frame]


def test_a_stream_opens_with_what_has_happened_and_what_is() -> None:
    retry, first, second, summary = frames(EventStream(FakeView()).opening())
    assert retry == {"retry": "2000"}
    assert (first["event"], second["id"]) == ("event", "2")
    assert summary["event"] == "summary"
    assert json.loads(summary["data"])["db_proxy_name"] == "demo"


def test_an_event_is_sent_once() -> None:
    view = FakeView()
    stream = EventStream(view)
    stream.opening()
    assert ids(stream.tick()) == []
    view.all_events.append(event_row(3))
    assert ids(stream.tick()) == ["3"]
    assert ids(stream.tick()) == []


def test_who_comes_back_gets_what_it_missed() -> None:
    """HTML, "Server-sent events": the browser sends the last id it has seen."""
    assert ids(EventStream(FakeView(), "1").opening()) == ["2"]


def test_an_unreadable_last_id_begins_again() -> None:
    assert ids(EventStream(FakeView(), "x'; --").opening()) == ["1", "2"]


def test_a_line_end_in_a_message_stays_inside_its_frame() -> None:
    view = FakeView()
    view.all_events = [{**event_row(1), "message": "one\n\nevent: forged\r\ndata: {}"}]
    found = frames(EventStream(view).opening())
    assert [frame.get("event") for frame in found] == [None, "event", "summary"]
    assert json.loads(found[1]["data"])["message"].startswith("one\n\nevent: forged")
