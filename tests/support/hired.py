"""Workers that a test plays: no processes, but each at its end of a real channel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from pyproxy.workers.channel import Channel
from pyproxy.workers.messages import Look, Message, Ready, Stop


class Hired:
    """One worker: it listens at once, notes what it is told, and ends when it is told to."""

    def __init__(self, sock: socket.socket, answer: Callable[[Channel, Look], None]) -> None:
        self.told: asyncio.Queue[Message | None] = asyncio.Queue()
        self.stderr = asyncio.StreamReader()
        self.stderr.feed_eof()
        self.returncode: int | None = None
        self._sock = sock
        self._answer = answer
        self._over = asyncio.Event()
        self._life = asyncio.create_task(self._live())
        self._life.add_done_callback(self._end)

    async def _live(self) -> None:
        channel = await Channel.over(self._sock)
        channel.send(Ready())
        try:
            while (message := await channel.receive()) is not None:
                self.told.put_nowait(message)
                if isinstance(message, Stop):
                    return
                if isinstance(message, Look):
                    self._answer(channel, message)
        finally:
            channel.close()

    def _end(self, _: asyncio.Task[None]) -> None:
        self._sock.close()
        self.told.put_nowait(None)
        self.returncode = 0
        self._over.set()

    def kill(self) -> None:
        """As a process."""
        self._life.cancel()

    async def wait(self) -> int:
        """As a process."""
        await self._over.wait()
        return 0


class Agency:
    """Where the workers come from: `start` stands for asyncio.create_subprocess_exec."""

    def __init__(self) -> None:
        self.hired: asyncio.Queue[Hired] = asyncio.Queue()
        # Somebody has been asked for.
        self.asked = asyncio.Event()
        # While it is not set nobody comes.
        self.open = asyncio.Event()
        self.open.set()

    async def start(self, *_: str, pass_fds: tuple[int], **__: object) -> Hired:
        """Another one."""
        sock = socket.socket(fileno=os.dup(pass_fds[0]))
        self.asked.set()
        await self.open.wait()
        hired = Hired(sock, self.answer)
        self.hired.put_nowait(hired)
        return hired

    def answer(self, channel: Channel, look: Look) -> None:
        """What a worker has to show."""
