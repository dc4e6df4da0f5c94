"""A worker as the supervisor has it: its process, its channel, and what it was asked.

Its log comes through a pipe, line by line, so that lines of several processes never mix.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from pyproxy import child
from pyproxy.logs import pass_on
from pyproxy.workers.channel import Channel
from pyproxy.workers.messages import Look, Message, Pulse, Row, Rows

# A log line may have a statement of a client's in it.
_LONGEST_LINE: Final = 1 << 24
# How long a worker whose channel has ended may take to end itself, in seconds.
_LAST_MOMENTS: Final = 2.0

Lists = dict[str, list[Row]]


class Member:
    """One worker."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number: Final = number
        self.process: Final = process
        self.channel: Final = channel
        self.ready = False
        # Beats since it was last heard.
        self.silence = 0
        # Nothing is under way there any more, or it is gone.
        self.done: Final = asyncio.Event()
        # The cancel keys of its servers, by target.
        self.keys: Final[dict[str, set[tuple[int, bytes]]]] = {}
        # Looks that have not been answered yet.
        self._looks: dict[int, tuple[asyncio.Future[Lists], Lists]] = {}
        self._lines = asyncio.get_running_loop().create_task(self._pass_lines_on())

    @classmethod
    async def hire(cls, number: int) -> Member:
        """Start a process; what it hears first has to be a Welcome."""
        ours, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            process = await asyncio.create_subprocess_exec(
                *child.command("pyproxy.workers", str(handle)),
                env=child.environment(),
                pass_fds=(handle,),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )
        return cls(number, process, await Channel.over(ours))

    def send(self, message: Message) -> None:
        """Tell it something."""
        self.channel.send(message)

    def look(self, number: int, lists: tuple[str, ...], limit: int) -> asyncio.Future[Lists]:
        """Ask for lists; the answer is what it had to say until it died, if it does."""
        answer: asyncio.Future[Lists] = asyncio.get_running_loop().create_future()
        self._looks[number] = answer, {}
        self.send(Look(number, lists, limit))
        return answer

    def showed(self, message: Rows | Pulse) -> None:
        """A part of an answer, or its end."""
        if isinstance(message, Rows):
            if message.number in self._looks:
                self._looks[message.number][1].setdefault(message.name, []).extend(message.rows)
        elif message.number is not None and message.number in self._looks:
            self._answer(message.number)

    def forget(self, look: int) -> None:
        """Nobody waits for the answer any more."""
        self._looks.pop(look, None)

    async def bury(self) -> str:
        """Its channel has ended: see to it that the process has, too. Returns how it ended."""
        self.channel.close()
        for number in list(self._looks):
            self._answer(number)
        try:
            async with asyncio.timeout(_LAST_MOMENTS):
                code = await self.process.wait()
        except TimeoutError:
            self.kill()
            code = await self.process.wait()
        await self._lines
        self.done.set()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def _answer(self, look: int) -> None:
        answer, lists = self._looks.pop(look)
        if not answer.done():
            answer.set_result(lists)

    async def _pass_lines_on(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            pass_on(line.decode(errors="replace"))
