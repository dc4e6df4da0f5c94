"""The listening socket: who comes in, what their sockets are like, and its end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time

import pytest

from pyproxy import listener as module
from pyproxy.listener import Listener, Reservation


async def until(condition: object) -> None:
    """Let the loop turn until it is so."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_burst_is_taken_whole_and_its_sockets_are_kept_alive_without_delay() -> None:
    """More than BURST at once; the options are the listening socket's."""

    async def run() -> None:
        came: list[socket.socket] = []

        async def login(sock: socket.socket) -> None:
            came.append(sock)

        listener = Listener("127.0.0.1", 0, login, print)
        await listener.start()
        address = ("127.0.0.1", listener.port)
        clients = [socket.create_connection(address) for _ in range(module.BURST + 8)]
        await until(lambda: len(came) == len(clients))
        for sock in came:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not sock.getblocking()
        await listener.stop()
        await listener.stop()
        with socket.socket() as late:
            assert late.connect_ex(address) == errno.ECONNREFUSED
        for sock in (*came, *clients):
            sock.close()

    asyncio.run(run())


def test_without_file_descriptors_it_waits_and_says_so() -> None:
    """Not a busy loop: it looks again after a pause, and does not say so each time."""

    class Exhausted(socket.socket):
        times = 0

        def accept(self) -> tuple[socket.socket, object]:
            Exhausted.times += 1
            if Exhausted.times < 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def run() -> None:
        came: list[socket.socket] = []
        told: list[str] = []

        async def login(sock: socket.socket) -> None:
            came.append(sock)

        listener = Listener("127.0.0.1", 0, login, told.append)
        listening = Exhausted()
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listener._sockets.append(listening)
        listener._attend(listening)
        began = time.monotonic()
        client = socket.create_connection(listening.getsockname())
        await until(lambda: came)
        assert time.monotonic() - began >= module._PAUSE * 2.9
        assert told == ["cannot accept a connection: Too many open files"]
        await listener.stop()
        came[0].close()
        client.close()

    asyncio.run(run())


# A name of two addresses, as `localhost` is on most machines; the third is nobody's (RFC 5737).
SEVERAL = ("127.0.0.1", "127.0.0.2", "192.0.2.1")


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        # Files of hosts name an address twice.
        found = (*SEVERAL, SEVERAL[0])
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


async def greet(sock: socket.socket) -> None:
    sock.close()


@pytest.mark.usefixtures("several")
def test_a_name_is_listened_on_at_each_of_its_addresses_with_one_port() -> None:
    """As libpq tries them: the first that it finds may be ::1."""

    async def run() -> None:
        reservation = Reservation("name", 0, greet, print)
        await reservation.start()
        listener = Listener("name", reservation.port, greet, print, shared=True)
        await listener.start()
        assert listener.port == reservation.port
        for host in SEVERAL[:2]:
            with socket.create_connection((host, listener.port)) as client:
                client.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        await listener.stop()
        await reservation.stop()
        for host in SEVERAL[:2]:
            with socket.socket() as late:
                assert late.connect_ex((host, listener.port)) == errno.ECONNREFUSED

    asyncio.run(run())


@pytest.mark.usefixtures("several")
def test_a_port_that_is_taken_at_one_of_them_is_an_error_which_names_it() -> None:
    async def run() -> None:
        with socket.create_server((SEVERAL[1], 0)) as theirs:
            port = theirs.getsockname()[1]
            expected = f"cannot listen on name:{port}: {os.strerror(errno.EADDRINUSE)}"
            with pytest.raises(OSError, match=expected):
                await Listener("name", port, greet, print).start()
            # And nothing is kept of those that were free.
            socket.create_server((SEVERAL[0], port)).close()

    asyncio.run(run())


@pytest.mark.usefixtures("several")
def test_a_free_port_is_one_that_is_free_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = [errno.EADDRINUSE]

    class Crowded(socket.socket):
        def bind(self, address: object) -> None:
            assert isinstance(address, tuple)
            if address[0] == SEVERAL[1] and refusals:
                raise OSError(refusals.pop(), "taken")
            super().bind(address)

    async def run() -> None:
        listener = Listener("name", 0, greet, print)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Crowded)
            await listener.start()
        assert not refusals
        assert {sock.getsockname() for sock in listener._sockets} == {
            (host, listener.port) for host in SEVERAL[:2]
        }
        await listener.stop()

    asyncio.run(run())


def test_a_name_that_nobody_knows_is_an_error_which_names_it() -> None:
    async def run() -> None:
        await Listener("nobody.invalid", 6432, greet, print).start()

    with pytest.raises(OSError, match=r"^\[Errno -?\d+\] cannot listen on nobody.invalid:6432: "):
        asyncio.run(run())


def test_every_address_is_that_of_both_families() -> None:
    async def run() -> None:
        listener = Listener("", 0, greet, print)
        await listener.start()
        families = {sock.family for sock in listener._sockets}
        assert socket.AF_INET in families
        if socket.AF_INET6 in families:
            socket.create_connection(("::1", listener.port)).close()
        await listener.stop()

    asyncio.run(run())
