"""The stream's snapshots: one for all, none for nobody, each event once."""

import asyncio
import json
import time

import pytest

from pyproxy.dashboard.feed import Feed
from pyproxy.dashboard.view import ProxySummary, View
from tests.pyproxy.dashboard.conftest import until
from tests.support.fake_view import FakeView, event_row

SHORT = 0.01


def frames(data: bytes) -> list[dict[str, str]]:
    """Split a stream as a browser does: fields by line, frames by empty line."""
    return [
        dict(line.split(": ", 1) for line in frame.split("\n"))
        for frame in data.decode().split("\n\n")
        if frame
    ]


def names(data: bytes) -> list[str | None]:
    return [frame.get("event") for frame in frames(data)]


def ids(data: bytes) -> list[str]:
    return [frame["id"].rpartition("/")[2] for frame in frames(data) if "id" in frame]


def data_of(name: str, data: bytes) -> dict[str, object]:
    (found,) = [frame["data"] for frame in frames(data) if frame.get("event") == name]
    value = json.loads(found)
    assert isinstance(value, dict)
    return value


async def test_a_stream_opens_with_what_has_happened_and_what_is() -> None:
    with Feed(FakeView(), 60).listen() as listener:
        opening = listener.opening()
    assert frames(opening)[0] == {"retry": "2000"}
    assert names(opening)[1:] == ["history", "event", "event", "board", "summary"]
    assert ids(opening) == ["1", "2"]
    assert data_of("summary", opening)["db_proxy_name"] == "demo"
    assert data_of("history", opening)["samples"] == [data_of("board", opening)["sample"]]


async def test_nothing_is_computed_while_nobody_listens() -> None:
    view = FakeView()
    feed = Feed(view, SHORT)
    await asyncio.sleep(5 * SHORT)
    assert view.looks == 0
    with feed.listen():
        await until(lambda: view.looks > 3)
    looks = view.looks
    await asyncio.sleep(5 * SHORT)
    assert view.looks == looks


async def test_one_snapshot_serves_all_listeners() -> None:
    view = FakeView()
    feed = Feed(view, 0.02)
    with feed.listen() as one, feed.listen() as two, feed.listen() as three:
        assert view.looks == 1
        received = await asyncio.gather(one.next(), two.next(), three.next())
    assert view.looks == 2
    assert received[0] is not None
    assert b'"board"' not in received[0]
    assert received[0] == received[1] == received[2]


async def test_who_leaves_while_waiting_disturbs_nobody() -> None:
    feed = Feed(FakeView(), SHORT)
    with feed.listen() as one, feed.listen() as two:
        leaving = asyncio.ensure_future(one.next())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await two.next() is not None


async def test_a_view_that_cannot_be_fetched_ends_the_streams_of_the_moment() -> None:
    """Who listens comes back; a feed that stands still would keep everybody waiting."""
    view = FakeView()
    faults = [RuntimeError("a bug")]

    async def prepare(path: str) -> View:
        if faults:
            raise faults.pop()
        return view

    feed = Feed(view, SHORT, prepare)
    async with asyncio.timeout(5):
        with feed.listen() as listener, feed.listen() as staying:
            assert await listener.next() is None
            assert await staying.next() is not None


async def test_an_event_is_sent_once() -> None:
    view = FakeView()
    with Feed(view, SHORT).listen() as listener:
        listener.opening()
        assert ids(await listener.next() or b"") == []
        view.all_events.append(event_row(3))
        assert ids(await listener.next() or b"") == ["3"]
        assert ids(await listener.next() or b"") == []


async def test_who_comes_back_gets_what_it_missed() -> None:
    """HTML, "Server-sent events": the browser sends the last id it has seen."""
    view = FakeView()
    with Feed(view, 60).listen(f"{view.started_at}/1") as listener:
        assert ids(listener.opening()) == ["2"]
    with Feed(view, 60).listen(f"{view.started_at}/{'1' * 5000}") as listener:
        assert ids(listener.opening()) == ["1", "2"]


@pytest.mark.parametrize("last", ["x'; --", "2026-05-04T10:00:00.000+00:00/57", "57", "/"])
async def test_an_id_of_another_process_begins_again(last: str) -> None:
    """After a restart the ids start at 1: an old 57 must not hide them."""
    with Feed(FakeView(), 60).listen(last) as listener:
        assert ids(listener.opening()) == ["1", "2"]


async def test_a_line_end_in_a_message_stays_inside_its_frame() -> None:
    view = FakeView()
    view.all_events = [{**event_row(1), "message": "one\n\nevent: forged\r\ndata: {}"}]
    with Feed(view, 60).listen() as listener:
        opening = listener.opening()
    assert names(opening) == [None, "history", "event", "board", "summary"]
    assert str(data_of("event", opening)["message"]).startswith("one\n\nevent: forged")


async def test_rates_are_those_of_the_last_tick() -> None:
    view = FakeView()
    with Feed(view, 0.3).listen() as listener:
        first = data_of("board", listener.opening())["sample"]
        assert isinstance(first, dict)
        assert first["queries_per_second"] is None
        view.queries += 50
        view.borrows[0] += 10
        second = data_of("board", await listener.next() or b"")["sample"]
        assert isinstance(second, dict)
        assert second["queries_per_second"] > 0
        assert second["borrow_p99"] == pytest.approx(0.000099)


async def test_a_pause_leaves_a_gap_instead_of_an_average() -> None:
    """What happened while nobody looked is not the rate of now."""
    view = FakeView()
    feed = Feed(view, SHORT)
    with feed.listen():
        pass
    view.queries += 1_000_000
    await asyncio.sleep(10 * SHORT)
    with feed.listen() as listener:
        sample = data_of("board", listener.opening())["sample"]
    assert isinstance(sample, dict)
    assert sample["queries_per_second"] is None
    assert len(feed.history) == 2


async def test_a_page_that_is_reloaded_gets_the_snapshot_there_is() -> None:
    view = FakeView()
    feed = Feed(view, 60)
    for _ in range(20):
        with feed.listen():
            pass
    assert view.looks == 1


class SlowView(FakeView):
    """Each look takes a while, as with very many connections."""

    def proxy(self) -> ProxySummary:
        began = time.thread_time()
        while time.thread_time() < began + 0.01:
            pass
        return super().proxy()


async def test_expensive_snapshots_come_less_often() -> None:
    """The database's clients share this loop: the stream takes a fiftieth of it at most."""
    view = SlowView()
    with Feed(view, SHORT).listen() as listener:
        await listener.next()
        began = asyncio.get_running_loop().time()
        await listener.next()
        assert asyncio.get_running_loop().time() - began >= 0.5
