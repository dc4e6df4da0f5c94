"""The server over real loopback sockets: good peers, bad peers and slow ones."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pyproxy.dashboard.http import HttpServer
from pyproxy.dashboard.listings import SLICE
from pyproxy.dashboard.view import PinRow, ProxySummary
from tests.pyproxy.dashboard.conftest import Open, until
from tests.support.fake_view import FakeView, event_row


async def test_an_answer_carries_the_headers_every_answer_has(opened: Open) -> None:
    async with opened() as house:
        reply = await house.get("/api/v1/proxy")
    assert reply.status == 200
    assert reply.json()["db_proxy_name"] == "demo"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["date"].endswith(" GMT")


async def test_a_scrape_is_what_prometheus_reads(opened: Open) -> None:
    async with opened() as house:
        reply = await house.get("/metrics")
        openmetrics = await house.get("/metrics", "Accept: application/openmetrics-text")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(reply.body.decode())}
    assert "pyproxy_client_connections" in names
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")


async def test_a_connection_is_kept_for_the_next_request(opened: Open) -> None:
    async with opened() as house, house.peer() as peer:
        for path in ("/healthz", "/readyz", "/nowhere", "/healthz"):
            reply = await peer.get(path)
            assert "connection" not in reply.headers
            assert reply.status in (200, 404)


async def test_a_peer_that_wants_to_close_is_obeyed(opened: Open) -> None:
    async with opened() as house, house.peer() as peer:
        reply = await peer.get("/healthz", "Connection: close")
        assert reply.headers["connection"] == "close"
        assert await peer.closed()


async def test_http_1_0_is_answered_and_closed(opened: Open) -> None:
    async with opened() as house, house.peer() as peer:
        await peer.say(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await peer.hear()).status == 200
        assert await peer.closed()


async def test_head_has_the_headers_of_get_and_no_body(opened: Open) -> None:
    """RFC 9110, "HEAD"."""
    async with opened() as house, house.peer() as peer:
        get = await peer.get("/api/v1/pools")
        head = await peer.get("/api/v1/pools", method="HEAD")
        assert head.status == 200
        assert head.headers["content-length"] == get.headers["content-length"]
        assert (await peer.get("/api/v1/stream", method="HEAD")).status == 200
        assert (await peer.get("/healthz")).status == 200


async def test_pipelined_requests_are_answered_in_order(opened: Open) -> None:
    """RFC 9112, "Pipelining"."""
    wanted = ["/healthz", "/api/v1/pins", "/nowhere", "/readyz"] * 8
    async with opened() as house, house.peer() as peer:
        await peer.say(
            b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in wanted)
        )
        statuses = [(await peer.hear()).status for _ in wanted]
    assert statuses == [200, 200, 404, 200] * 8


@asynccontextmanager
async def turns_of_others() -> AsyncIterator[count[int]]:
    """A count that goes up with each turn of the loop; its next one is how many there were."""
    turns = count(-1)

    async def others() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    # Its first turn is before the count.
    await asyncio.sleep(0)
    yield turns
    task.cancel()


async def test_pipelined_requests_let_others_run_between_them(opened: Open) -> None:
    """Three hundred scrapes in one read held the loop, and so all queries, for two seconds."""
    async with opened() as house, house.peer() as peer:
        await peer.get("/healthz")
        async with turns_of_others() as turns:
            await peer.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
            for _ in range(200):
                await peer.reader.readuntil(b"\r\n\r\n")
    assert next(turns) >= 200


async def test_a_request_may_come_in_single_bytes(opened: Open) -> None:
    async with opened() as house, house.peer() as peer:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
            await peer.say(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await peer.hear()).status == 200


async def test_an_absolute_url_is_understood(opened: Open) -> None:
    """RFC 9112, "absolute-form"."""
    async with opened() as house:
        reply = await house.get("http://localhost/api/v1/clients?limit=1")
    assert reply.json()["truncated"] is True


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTPS/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["tls", "postgres", "no target", "version", "no host", "two hosts", "length", "folded",
         "nul", "target", "chunk"],
)  # fmt: skip
async def test_what_is_not_http_gets_a_400_and_a_close(opened: Open, garbage: bytes) -> None:
    async with opened() as house:
        async with house.peer() as peer:
            await peer.say(garbage)
            peer.writer.write_eof()
            reply = await peer.hear()
            assert reply.status == 400
            assert reply.headers["connection"] == "close"
            assert "error" in reply.json()
            assert await peer.closed()
        assert (await house.get("/healthz")).status == 200


async def test_an_unknown_transfer_encoding_is_not_implemented(opened: Open) -> None:
    async with opened() as house:
        assert (await house.get("/healthz", "Transfer-Encoding: gzip")).status == 501


@pytest.mark.parametrize("finished", [True, False], ids=["one long header", "without end"])
async def test_a_head_that_is_too_large_is_refused(opened: Open, finished: bool) -> None:
    async with opened(head_bytes=4096) as house, house.peer() as peer:
        end = b"\r\n\r\n" if finished else b""
        await peer.say(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + end)
        reply = await peer.hear()
        assert reply.status == 431
        assert reply.json()["error"] == "the request's head is larger than 4096 bytes"


async def test_a_long_path_is_refused_with_the_head(opened: Open) -> None:
    async with opened(head_bytes=4096) as house:
        assert (await house.get("/" + "x" * 50_000)).status == 431


async def test_a_head_that_comes_too_slowly_is_refused(opened: Open) -> None:
    async with opened(request_timeout=0.05) as house, house.peer() as peer:
        await peer.say(b"GET / HTTP/1.1\r\nHost: loc")
        reply = await peer.hear()
        assert reply.status == 408
        assert reply.json()["error"] == "the request was not complete after 0.05 s"
        assert await peer.closed()


async def test_a_connection_without_requests_is_closed_in_silence(opened: Open) -> None:
    async with opened(idle_timeout=0.05) as house, house.peer() as peer:
        assert (await peer.get("/healthz")).status == 200
        assert await peer.closed()


async def test_a_body_is_dropped_and_the_method_refused(opened: Open) -> None:
    async with opened() as house, house.peer() as peer:
        await peer.say(
            b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        )
        reply = await peer.hear()
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        assert (await peer.get("/healthz")).status == 200


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
async def test_a_body_that_is_too_large_is_refused(opened: Open, chunked: bool) -> None:
    size = 300_000
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    start = f"{size:x}\r\n".encode() if chunked else b""
    async with opened(body_bytes=1000) as house, house.peer() as peer:
        await peer.say(f"POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode() + start)
        await peer.say(b"x" * size)
        assert (await peer.hear()).status == 413


async def test_a_peer_that_asks_before_it_sends_is_answered_at_once(opened: Open) -> None:
    """RFC 9110, "Expect": a final answer instead of 100 spares the body."""
    async with opened() as house, house.peer() as peer:
        reply = await peer.get(
            "/metrics", "Expect: 100-continue", "Content-Length: 9999999", method="POST"
        )
        assert reply.status == 405
        assert await peer.closed()


@pytest.mark.parametrize(
    "header", ["Host: rebound.evil.example", "Origin: https://evil.example", "Origin: null"]
)
async def test_a_rebound_name_is_not_answered(opened: Open, header: str) -> None:
    async with opened() as house, house.peer() as peer:
        host = "" if header.startswith("Host") else "Host: localhost\r\n"
        await peer.say(f"GET /api/v1/clients HTTP/1.1\r\n{host}{header}\r\n\r\n".encode())
        reply = await peer.hear()
        assert reply.status == 403
        assert "http://127.0.0.1" in str(reply.json()["error"])


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_peer_that_vanishes_leaves_nothing_behind(opened: Open, said: bytes) -> None:
    async with opened() as house:
        for _ in range(20):
            async with house.peer() as peer:
                await peer.say(said)
        await nothing_open(house.server)
        assert (await house.get("/healthz")).status == 200


async def test_one_connection_too_many_is_told_so(opened: Open) -> None:
    async with opened(connections=2) as house:
        async with house.peer() as first, house.peer() as second:
            assert (await first.get("/healthz")).status == 200
            assert (await second.get("/healthz")).status == 200
            reply = await house.get("/healthz")
            assert reply.status == 503
            assert "too many HTTP connections" in str(reply.json()["error"])
        await nothing_open(house.server)
        assert (await house.get("/healthz")).status == 200


async def test_a_flood_of_connections_is_not_even_told(opened: Open) -> None:
    """A refusal costs a task for a second: beyond as many again there is none."""
    async with opened(connections=1) as house, house.peer() as first, house.peer() as second:
        assert (await first.get("/healthz")).status == 200
        assert (await second.head())[0] == 503
        async with house.peer() as third:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await third.get("/healthz")
        assert (await first.get("/healthz")).status == 200


class BrokenView(FakeView):
    """A view with a fault, and a secret in it."""

    def ready(self) -> tuple[bool, str]:
        raise RuntimeError("password=hunter2")


async def test_a_fault_is_logged_and_not_shown(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(BrokenView()) as house, house.peer() as peer:
        reply = await peer.get("/readyz")
        assert reply.status == 500
        assert b"hunter2" not in reply.body
        assert (await peer.get("/healthz")).status == 200
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert (record.name, record.getMessage()) == ("pyproxy.dashboard", "GET '/readyz' failed")


async def test_a_stream_sends_summaries_and_new_events(opened: Open) -> None:
    async with opened(stream_interval=0.02) as house, house.peer() as peer:
        await peer.say(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: "
            + house.view.started_at.encode()
            + b"/2\r\n\r\n"
        )
        status, headers = await peer.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert headers["transfer-encoding"] == "chunked"
        await peer.reader.readuntil(b"event: summary\n")
        await peer.reader.readuntil(b"event: summary\n")
        house.view.all_events.append(event_row(3))
        sent = await asyncio.wait_for(peer.reader.readuntil(b"/3\n"), 5)
        assert b"/2\n" not in sent


class ViewThatBreaks(FakeView):
    """A view whose fault shows when a stream is under way."""

    def proxy(self) -> ProxySummary:
        if self.looks:
            raise RuntimeError("gone")
        return super().proxy()


async def test_a_fault_in_a_stream_ends_that_stream_alone(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(ViewThatBreaks(), stream_interval=0.01) as house, house.peer() as peer:
        await peer.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not (await asyncio.wait_for(peer.reader.read(), 5)).endswith(b"0\r\n\r\n")
        assert (await house.get("/healthz")).status == 200
    record = next(r for r in caplog.records if r.levelno >= logging.ERROR)
    assert record.getMessage() == "a snapshot for /api/v1/stream failed"


async def test_a_fault_at_the_start_of_a_stream_is_a_fault_of_that_request(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    view = ViewThatBreaks()
    view.looks = 1
    async with opened(view) as house, house.peer() as peer:
        await peer.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await peer.closed()
        assert (await house.get("/healthz")).status == 200
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage() == "an HTTP connection failed"


async def test_a_fault_in_the_middle_of_a_listing_is_a_500(opened: Open) -> None:
    class Breaking(FakeView):
        def pins(self) -> Iterable[PinRow]:
            yield self.all_pins[0]
            raise RuntimeError("password=hunter2")

    async with opened(Breaking()) as house:
        reply = await house.get("/api/v1/pins")
        assert reply.status == 500
        assert b"hunter2" not in reply.body


async def test_a_long_listing_lets_others_run_between_its_slices(opened: Open) -> None:
    """The loop that writes it serves the database too."""
    async with opened(FakeView(clients=5000)) as house, house.peer() as peer:
        await peer.get("/healthz")
        async with turns_of_others() as turns:
            reply = await peer.get("/api/v1/clients?search=nobody")
    assert reply.json()["clients"] == []
    assert next(turns) >= 5000 // SLICE


async def test_a_long_listing_is_read_page_by_page(opened: Open) -> None:
    async with opened(FakeView(clients=10_000)) as house, house.peer() as peer:
        seen: list[object] = []
        more = True
        while more:
            reply = await peer.get(f"/api/v1/clients?limit=2000&offset={len(seen)}")
            rows = reply.json()["clients"]
            assert isinstance(rows, list)
            seen += [row["id"] for row in rows]
            more = bool(reply.json()["truncated"])
    assert len(seen) == len(set(seen)) == 10_000


async def test_a_subscriber_that_leaves_ends_its_stream(opened: Open) -> None:
    async with opened(stream_interval=60) as house:
        async with house.peer() as peer:
            await peer.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await peer.reader.readuntil(b"event: summary\n")
        await nothing_open(house.server)


async def test_streams_are_counted(opened: Open) -> None:
    async with opened(streams=1, stream_interval=60) as house, house.peer() as peer:
        await peer.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.head()
        assert (await house.get("/api/v1/stream")).status == 503
        assert (await house.get("/healthz")).status == 200


async def test_a_subscriber_that_does_not_read_is_dropped(opened: Open) -> None:
    """Flow control: what nobody takes is not kept."""
    view = FakeView()
    view.all_events = [{**event_row(n), "message": "x" * 100_000} for n in range(1, 200)]
    async with (
        opened(view, stream_interval=0.01, write_timeout=0.05) as house,
        house.peer() as peer,
    ):
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        await peer.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await nothing_open(house.server)


async def test_stopping_ends_streams_and_idle_connections(opened: Open) -> None:
    async with opened(stream_interval=60) as house, house.peer() as idle, house.peer() as stream:
        await idle.get("/healthz")
        await stream.say(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.reader.readuntil(b"event: summary\n")
        await asyncio.wait_for(house.server.stop(), 2)
        assert await idle.closed()
        assert (await asyncio.wait_for(stream.reader.read(), 5)).endswith(b"\r\n0\r\n\r\n")
        with pytest.raises(ConnectionRefusedError):
            await house.get("/healthz")


async def test_stopping_lets_a_request_under_way_finish(opened: Open) -> None:
    async with opened(grace=5) as house, house.peer() as peer:
        await peer.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        await until(lambda: not house.server.connections[0].idle)
        stopping = asyncio.create_task(house.server.stop())
        await asyncio.sleep(0)
        await peer.say(b"\r\n")
        reply = await peer.hear()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await stopping


async def test_stopping_does_not_wait_for_the_slow(opened: Open) -> None:
    async with opened(grace=0.05) as house, house.peer() as peer:
        await peer.say(b"GET /healthz HTTP/1.1\r\n")
        await until(lambda: bool(house.server.connections))
        await asyncio.wait_for(house.server.stop(), 2)


async def test_a_stopped_server_may_be_stopped_again_and_started(opened: Open) -> None:
    async with opened() as house:
        await house.server.stop()
        await house.server.stop()
        await house.server.start()
        assert (await house.get("/healthz")).status == 200


async def test_a_taken_port_is_an_error_of_start(opened: Open) -> None:
    async with opened() as house:
        second = HttpServer("127.0.0.1", house.server.port, FakeView(), lambda accept: ("", b""))
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await second.start()


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:8432"), ("::1", "http://[::1]:8432")]
)
def test_the_url_brackets_an_ipv6_address(host: str, url: str) -> None:
    """RFC 3986, "Host"."""
    assert HttpServer(host, 8432, FakeView(), lambda accept: ("", b"")).url == url


async def nothing_open(server: HttpServer) -> None:
    await until(lambda: not server.connections)


async def test_mutated_requests_never_reach_the_log_or_stop_the_server(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever arrives is answered or refused; nothing raises."""
    chance = random.Random(7)
    whole = (
        b"POST /api/v1/clients?limit=3 HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    async with opened(request_timeout=0.5) as house:
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                place = chance.randrange(len(data))
                data[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            async with house.peer() as peer:
                await peer.say(bytes(data))
                peer.writer.write_eof()
                answer = await asyncio.wait_for(peer.reader.read(), 5)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert (await house.get("/healthz")).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
