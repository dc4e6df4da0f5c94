"""Accept: listening sockets, and a login for each connection that comes in.

The sockets are accepted here rather than by the event loop, because TLS is negotiated before
there is a transport (`stream`). A burst is taken in one go, as far as the kernel has it ready.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Final

from pyproxy import binding

BACKLOG: Final = 4096
# How many connections are accepted before others get a turn.
BURST: Final = 64
# Out of file descriptors or memory: wait that long, in seconds, for somebody to leave.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 0.1
# Somebody else may need what there is for long; that is told so often, in seconds.
_REPEAT: Final = 60.0


class Listener:
    """One host and port, and the tasks of the logins that came in there."""

    def __init__(
        self,
        host: str,
        port: int,
        login: Callable[[socket.socket], Coroutine[None, None, None]],
        complain: Callable[[str], None],
        *,
        shared: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self._login = login
        self._complain = complain
        # Other processes of ours listen there too; the kernel spreads the clients.
        self._shared = shared
        # One for each address that the host has.
        self._sockets: list[socket.socket] = []
        # While nothing is accepted, because there is nothing to accept it with.
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._complained = float("-inf")
        self._logins: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and listen; port 0 becomes the port that the kernel gave. Raises OSError."""
        await self._bind()
        for sock in self._sockets:
            # What is accepted inherits both: two calls into the kernel less for each client.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.listen(BACKLOG)
            self._attend(sock)

    async def _bind(self) -> None:
        self._sockets = await binding.bind(self.host, self.port, shared=self._shared)
        self.port = self._sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more; logins under way go on."""
        for pause in self._pauses.values():
            pause.cancel()
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
        binding.close(self._sockets)
        self._sockets.clear()

    async def abandon_logins(self) -> None:
        """End the logins under way."""
        for task in self._logins:
            task.cancel()
        if self._logins:
            await asyncio.wait(self._logins)

    def _attend(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Somebody is there. What is left of a burst is told again in the next turn of the loop."""
        for _ in range(BURST):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(listening, error)
                # Else it is this one that has gone again.
                return
            self._welcome(sock)

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._pauses[listening] = loop.call_later(_PAUSE, self._attend, listening)
        if loop.time() - self._complained >= _REPEAT:
            self._complained = loop.time()
            self._complain(f"cannot accept a connection: {error.strerror}")

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._login(sock))
        self._logins.add(task)
        task.add_done_callback(self._logins.discard)


class Reservation(Listener):
    """An address kept for other processes of ours, which listen there: nobody is accepted here.

    The port stays the same while they come and go, and one that is taken is told at the start.
    """

    async def start(self) -> None:
        """Bind. Raises OSError, also when somebody else shares the port with others of theirs."""
        await self._bind()
        binding.close(self._sockets)
        self._shared = True
        await self._bind()
