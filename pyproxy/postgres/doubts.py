"""A doubt about a database: has it refused because it takes no writes any more?

The servers at hand cannot be asked: they are in the middle of something, in a failed transaction,
or set to be read-only by their client. So a connection is made for the question, beside the pools
(all of their places may be lent), as the monitor's is. One at a time, and whoever has had a doubt
before it was made gets its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyproxy.pooling.pool import Pool
    from pyproxy.postgres.server import ServerConnection


class Doubt:
    """One question, until it is answered."""

    __slots__ = ("_then", "settled", "turned")

    def __init__(self, then: Callable[[], None]) -> None:
        # Called once `turned` is known.
        self._then = then
        self.settled = False
        # Does the database take no writes any more? None: it could not be asked.
        self.turned: bool | None = None

    def settle(self, turned: bool | None) -> None:
        """The database has been asked."""
        self.settled = True
        self.turned = turned
        self._then()


class Doubts:
    """The open questions about one database."""

    def __init__(
        self,
        look: Callable[[Pool[ServerConnection]], Awaitable[bool | None]],
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        # Makes a connection as the pool's are, and tells what it shows.
        self._look: Final = look
        self._spawn: Final = spawn
        self._open: list[Doubt] = []
        self._asking = False

    def enter(self, pool: Pool[ServerConnection], doubt: Doubt) -> None:
        """Have it settled soon, by a connection as those of `pool`."""
        self._open.append(doubt)
        if not self._asking:
            self._asking = True
            self._spawn(self._ask(pool))

    async def _ask(self, pool: Pool[ServerConnection]) -> None:
        try:
            while self._open:
                doubts, self._open = self._open, []
                turned = await self._look(pool)
                for doubt in doubts:
                    doubt.settle(turned)
        finally:
            self._asking = False
