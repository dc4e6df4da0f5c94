"""The end of the event loop's turn: what is put off until all that has arrived is read.

One turn of the loop reads what has come on every connection. A message written in the middle of it
wakes its reader at once, who takes the processor, and the caches, from the rest of the turn. So
what the relay writes goes out together, after free servers have found those who wait for one:

    read, read, read ─▶ lend ─▶ write, write, write ─▶ wait for more

It saves the interpreted build a tenth of its processor time per transaction.

Nothing is written past what waits here: whoever closes a connection calls `flush` before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# More than that goes out at once, in bytes: putting it off would only hold memory.
_MUCH: Final = 16 * 1024
# So many are written in the middle of a turn: nobody waits for the end of a very long one.
_MANY: Final = 64


class Turn:
    """The turn of the moment. `soon` runs something when all that has arrived is read."""

    __slots__ = ("_due", "_soon", "_tasks", "_words")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon: Final = soon
        # Has the end of this turn been asked for?
        self._due = False
        self._tasks: Final[list[Callable[[], None]]] = []
        # What is to be written, and to whom, in its order.
        self._words: list[tuple[asyncio.Transport, bytes]] = []

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` at the end of the turn, behind what was sent before."""
        if len(data) > _MUCH:
            self.flush()
            transport.write(data)
            return
        words = self._words
        words.append((transport, data))
        if not self._due:
            self._due = True
            self._soon(self._end)
        elif len(words) >= _MANY:
            self.flush()

    def at_end(self, task: Callable[[], None]) -> None:
        """Do `task` at the end of the turn, before what it sends is written."""
        self._tasks.append(task)
        if not self._due:
            self._due = True
            self._soon(self._end)

    def flush(self) -> None:
        """Write now what was sent."""
        words = self._words
        if not words:
            return
        self._words = []
        for transport, data in words:
            try:
                transport.write(data)
            except RuntimeError:
                # It was lost in this turn, and that has been told already: nobody hears it.
                continue

    def _end(self) -> None:
        tasks = self._tasks
        try:
            while tasks:
                tasks.pop(0)()
        finally:
            # One that fails takes nothing from the others.
            self._due = bool(tasks)
            if tasks:
                self._soon(self._end)
            self.flush()
