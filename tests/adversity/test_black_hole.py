"""A firewall forgets the connections to a database: nothing arrives, and nothing says so.

Nobody probes here: only what `keepalive` does can notice. The proxy is started with shorter times
than 15 s, and goes through a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

from pyproxy.keepalive import KEEPALIVE, KEEPALIVE_PROBES, Hearing
from pyproxy.stream import dial
from tests.support.fake_server import READY, FakeServer, Peer, honest
from tests.support.far_away import far_away, why_not
from tests.support.messages import CopyData, CopyDone, Query, message
from tests.support.proxy import start_proxy
from tests.support.wire import errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]

LOST = [("08006", "The database connection was lost in the middle of a request.")]


def answer(peer: Peer, tag: bytes, body: bytes) -> None:
    """Never, where it is asked to think."""
    if not body.startswith(b"think"):
        honest(peer, tag, body)


def test_every_client_in_flight_gets_one_error_and_no_other_does(tmp_path: Path) -> None:
    """FO-01, E-PG-24: within twice the time of silence that the kernel was told."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with far_away(lambda: FakeServer(answer)) as (database, wire):
        target = {"id": "db-a", "host": database.host, "port": database.port}
        with (
            start_proxy(
                tmp_path,
                database,
                loop="impatient",
                target_group={"targets": [target]},
            ) as proxy,
            proxy.wire() as idle,
            proxy.wire() as waiting,
            proxy.wire() as late,
        ):
            idle.query("SELECT 1")
            # One whose request has arrived, and one whose request is sent into the hole.
            waiting.send(Query("think"))
            proxy.await_borrowed(1)
            late.query("SELECT 1")
            wire.forget()
            began = time.monotonic()
            late.send(Query("SELECT 2"))
            for client in (waiting, late):
                assert errors_of(client.read_to_end()) == LOST
            assert time.monotonic() - began < 7
            assert [str(reply) for reply in idle.read_quiet(0.1)] == []
            assert not idle.closed_by_peer
            wire.heal()
            assert idle.value("SELECT 3") == "SELECT 3"


def test_a_database_that_takes_nothing_for_a_while_is_none(tmp_path: Path) -> None:
    """It waits for a lock in the middle of a COPY: its kernel says that it lives."""
    reads = threading.Event()

    def pause(peer: Peer, tag: bytes, body: bytes) -> None:
        if tag == b"d" and not reads.is_set():
            reads.wait(20)
        if tag == b"Q" and body.startswith(b"COPY"):
            peer.say(message(b"G", b"\0\0\0"))
        elif tag == b"c":
            peer.say(message(b"C", b"COPY 1\0"), READY)

    with (
        FakeServer(pause) as database,
        start_proxy(tmp_path, database, loop="impatient") as proxy,
        proxy.wire() as client,
    ):
        client.send(Query("COPY t FROM STDIN"))
        client.read_until("G")
        data = CopyData(b"x" * 65_000).encode() * 700 + CopyDone().encode()
        sender = threading.Thread(target=client.send, args=(data,))
        client.sock.settimeout(30)
        sender.start()
        time.sleep(7)
        assert sender.is_alive()
        reads.set()
        sender.join()
        assert "".join(r.tag for r in client.read_ready()) == "CZ"


def test_what_is_outstanding_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement begins the wait anew, as does a moment when there is none to wait for."""
    hearing = Hearing(None)
    patience = 2 * KEEPALIVE
    # The clock, the seconds since the last acknowledgement if one is due, and whether it is lost.
    told: list[tuple[int, float | None, bool]] = [
        (0, None, False),
        # Idle for long before something was sent.
        (1, 100.0, False),
        (patience, 100.0, False),
        # Acknowledged a second ago, and more sent.
        (patience + 2, 1.0, False),
        (patience + 30, 29.0, False),
        (2 * patience + 1, None, False),
        (2 * patience + 2, 50.0, False),
        (3 * patience + 2, 100.0, True),
    ]
    for now, silence, lost in told:
        monkeypatch.setattr(Hearing, "_silence", lambda _, silence=silence: silence)
        assert hearing.lost(now) is lost, now


async def test_the_kernel_is_told() -> None:
    """What is set on a connection to a database, as the kernel has it."""
    with FakeServer() as database:
        stream, _ = await dial(database.host, database.port, "disable", None)
        try:
            sock = stream.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            expected = {
                "TCP_KEEPIDLE": KEEPALIVE,
                "TCP_KEEPINTVL": KEEPALIVE // KEEPALIVE_PROBES,
                "TCP_KEEPCNT": KEEPALIVE_PROBES,
                "TCP_USER_TIMEOUT": 0,
            }
            known = {name: value for name, value in expected.items() if hasattr(socket, name)}
            assert known == {
                name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in known
            }
        finally:
            stream.transport.close()
            await asyncio.sleep(0)


@pytest.mark.both_loops
async def test_a_closed_connection_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname())
        hearing = Hearing(transport.get_extra_info("socket"))
        assert not hearing.lost(0.0)
        transport.abort()
        await asyncio.sleep(0.05)
        assert not hearing.lost(1000.0)
