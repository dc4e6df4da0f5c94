"""The end of the event loop's turn: what is put off until all that has arrived is read.

One turn of the loop reads what has come on every connection. A message written in the middle of it
wakes its reader at once, who takes the processor, and the caches, from the rest of the turn. So
what the relay writes goes out together, after free servers have found those who wait for one, and
requests ahead of answers: a database has work to do while the answers are written.

    read, read, read ─▶ lend ─▶ ask, ask, ask, answer, answer, answer ─▶ wait for more

Where all are busy it brings 6 % more transactions than to write at once, for less processor time
(decision record 0010).

Nothing is written past what waits here: whoever closes a connection calls `flush` before.

No turn belongs to one connection: from one on which they come fast enough libuv reads 32 buffers of
256 KiB in a row, and of small messages these are hundreds of thousands. So a connection that has
filled a buffer, and has been long at it, is read no further until the others have been heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

# More than that goes out at once, in bytes: putting it off would only hold memory.
_MUCH: Final = 16 * 1024
# So many of a kind are written in the middle of a turn: nobody idles to the end of a long one.
_MANY: Final = 16
# So many bytes at once are a buffer of the loop's that was full, or as good as full (TLS).
BUFFERFUL: Final = 128 * 1024
# What one may take, in seconds. Of large messages all 32 take less than that each.
_LONG: Final = 0.001


class Turn:
    """The turn of the moment. `soon` runs something when all that has arrived is read."""

    __slots__ = ("_answers", "_clock", "_due", "_ending", "_requests", "_soon", "_tasks")

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._soon: Final = soon
        self._clock: Final = clock
        # Bound once, not for each turn.
        self._ending: Final = self._end
        # Has the end of this turn been asked for?
        self._due = False
        self._tasks: Final[list[Callable[[], None]]] = []
        # What is to be written, and to whom, in its order: to databases, and to clients.
        self._requests: list[tuple[asyncio.Transport, bytes]] = []
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def ask(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` to a database at the end of the turn, behind what it was asked before."""
        requests = self._requests
        requests.append((transport, data))
        if len(requests) >= _MANY or len(data) > _MUCH:
            self.flush()
        elif not self._due:
            self._begin()

    def answer(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` to a client at the end of the turn, behind what it was answered before."""
        answers = self._answers
        answers.append((transport, data))
        if len(answers) >= _MANY or len(data) > _MUCH:
            self.flush()
        elif not self._due:
            self._begin()

    def at_end(self, task: Callable[[], None]) -> None:
        """Do `task` at the end of the turn, before what it sends is written."""
        self._tasks.append(task)
        if not self._due:
            self._begin()

    def bufferful(
        self,
        transport: asyncio.Transport,
        walk: Callable[[bytes], None],
        data: bytes,
        read_on: Callable[[], None],
    ) -> None:
        """Walk what it has brought; if that took long, the others come before `read_on`."""
        begun = self._clock()
        walk(data)
        if self._clock() - begun > _LONG and not transport.is_closing():
            transport.pause_reading()
            self.at_end(read_on)

    def flush(self) -> None:
        """Write now what was put off."""
        words = self._requests + self._answers
        if not words:
            return
        self._requests, self._answers = [], []
        for transport, data in words:
            try:
                transport.write(data)
            except RuntimeError:
                # It was lost in this turn, and that has been told already: nobody hears it.
                continue

    def _begin(self) -> None:
        """Ask for the end of this turn."""
        self._due = True
        self._soon(self._ending)

    def _end(self) -> None:
        tasks = self._tasks
        try:
            while tasks:
                tasks.pop(0)()
        finally:
            # One that fails takes nothing from the others.
            self._due = False
            if tasks:
                self._begin()
            self.flush()
