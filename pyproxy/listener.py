"""Accept: a listening socket, and a login for each connection that comes in.

The sockets are accepted here rather than by the event loop, because TLS is negotiated before
there is a transport (`stream`). A burst is taken in one go, as far as the kernel has it ready.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Final

BACKLOG: Final = 4096
# How many connections are accepted before others get a turn.
BURST: Final = 64
# Out of file descriptors or memory: wait that long, in seconds, for somebody to leave.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 0.1


class Listener:
    """One address, and the tasks of the logins that came in there."""

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
        self._socket: socket.socket | None = None
        # While nothing is accepted, because there is nothing to accept it with.
        self._pause: asyncio.TimerHandle | None = None
        self._logins: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and listen; port 0 becomes the port that the kernel gave. Raises OSError."""
        sock = await self._bind(shared=self._shared)
        # What is accepted inherits both: two calls into the kernel less for each client.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.listen(BACKLOG)
        self._socket = sock
        self._attend(sock)

    async def _bind(self, *, shared: bool) -> socket.socket:
        """A socket at the address, which becomes exact."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, proto, _, address = found[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setblocking(False)
            sock.bind(address)
        except OSError as error:
            sock.close()
            place = f"{self.host or '*'}:{self.port}"
            raise OSError(error.errno, f"cannot listen on {place}: {error.strerror}") from None
        self.port = sock.getsockname()[1]
        return sock

    async def stop(self) -> None:
        """Accept no more; logins under way go on."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

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
                    self._complain(f"cannot accept a connection: {error.strerror}")
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(listening)
                    self._pause = loop.call_later(_PAUSE, self._attend, listening)
                # Else it is this one that has gone again.
                return
            self._welcome(sock)

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
        alone = await self._bind(shared=False)
        alone.close()
        self._socket = await self._bind(shared=True)
