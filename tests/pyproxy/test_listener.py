"""The listening socket: who comes in, what their sockets are like, and its end."""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from pyproxy import listener as module
from pyproxy.listener import Listener


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
    """Not a busy loop: it looks again after a pause."""

    class Exhausted(socket.socket):
        times = 0

        def accept(self) -> tuple[socket.socket, object]:
            Exhausted.times += 1
            if Exhausted.times == 1:
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
        listener._socket = listening
        listener._attend(listening)
        began = time.monotonic()
        client = socket.create_connection(listening.getsockname())
        await until(lambda: came)
        assert time.monotonic() - began >= module._PAUSE * 0.9
        assert told == ["cannot accept a connection: Too many open files"]
        await listener.stop()
        came[0].close()
        client.close()

    asyncio.run(run())
