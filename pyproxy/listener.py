"""Accept: a listening socket, and a login for each connection that comes in.

The sockets are accepted here rather than by the event loop, because TLS is negotiated before
there is a transport (`stream`). A burst is taken in one go, as far as the kernel has it ready.
"""

from __future__ import annotations

import asyncio
import contextlib
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
        self._accepting: asyncio.Task[None] | None = None
        self._logins: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and listen; port 0 becomes the port that the kernel gave. Raises OSError."""
        sock = await self._bind(shared=self._shared)
        sock.listen(BACKLOG)
        self._socket = sock
        self._accepting = asyncio.get_running_loop().create_task(self._accept(sock))

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
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        if self._socket is not None:
            self._socket.close()

    async def abandon_logins(self) -> None:
        """End the logins under way."""
        for task in self._logins:
            task.cancel()
        if self._logins:
            await asyncio.wait(self._logins)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
                self._welcome(sock)
                for _ in range(BURST):
                    sock, _ = listening.accept()
                    self._welcome(sock)
                await asyncio.sleep(0)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._complain(f"cannot accept a connection: {error.strerror}")
                    await asyncio.sleep(_PAUSE)

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # A client that has gone again already has no options to be set.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
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
