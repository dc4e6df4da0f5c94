"""Clients that give up while they are being let in."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_server import WELCOME, FakeServer, Peer
from tests.support.messages import Query
from tests.support.postgres import PASSWORD, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import ClosedByPeer, Wire

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]


class Door:
    """Of a database that lets nobody in before it `opens`."""

    def __init__(self) -> None:
        self.knocked = threading.Event()
        self.opens = threading.Event()

    def welcome(self, peer: Peer) -> None:
        self.knocked.set()
        self.opens.wait(30)
        peer.say(WELCOME)


@pytest.fixture(params=["uvloop", "asyncio"])
def slow(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, Door]]:
    door = Door()
    with (
        FakeServer(welcome=door.welcome) as database,
        temporary_folder() as folder,
        start_proxy(folder, database, loop=request.param, proxy={"debug_logging": True}) as proxy,
    ):
        yield proxy, door
        door.opens.set()


def close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The thread that reads from it would keep it open.
    sock.shutdown(socket.SHUT_RD)
    sock.close()


@pytest.mark.parametrize("end", [close, reset])
def test_who_gives_up_while_a_first_database_connection_is_opened_leaves_nothing_behind(
    slow: tuple[Proxy, Door], end: Callable[[socket.socket], None]
) -> None:
    """Otherwise an outage fills max_client_connections with those who have tried."""
    proxy, door = slow
    client = Wire(proxy.host, proxy.port)

    def log_in() -> None:
        # Its socket is taken away from under it.
        with contextlib.suppress(OSError, ValueError, ClosedByPeer):
            client.login("app", PASSWORD, "app")

    threading.Thread(target=log_in, daemon=True).start()
    assert door.knocked.wait(10)
    end(client.sock)
    # At once: it has left the line.
    proxy.wait_for_log("closed the connection during its login", 5)
    door.opens.set()
    with proxy.wire() as other:
        assert other.ask(Query("SELECT 1"))
        assert len(proxy.api("clients")["clients"]) == 1


@pytest.mark.parametrize(
    "said",
    [b"X\0\0\0\4", b"\0\0\0\4", b"\0\0\0\7abc", b"GET / HTTP/1.1\r\n\r\n", b"\0\1\0\0\0\3\0\0"],
)
def test_what_is_no_startup_packet_is_parted_with_at_once_and_in_silence(
    proxy: Proxy, said: bytes
) -> None:
    """As PostgreSQL does: node-postgres says Terminate first when it is ended that early."""
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        client.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
