"""The only clock of pools and sessions: waits are checked, servers and idle clients cared for.

Each step stands alone: one that fails neither stops nor hides the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from traceback import walk_tb
from typing import TYPE_CHECKING, Final

from pyproxy.pooling.pools import MAX_LIFE
from pyproxy.postgres.session import Session

if TYPE_CHECKING:
    from pyproxy.app import App

# How often waits are checked, and servers and idle clients cared for, in seconds.
TICK: Final = 0.25
CARE: Final = 1.0
# A fault that comes with every tick is reported so often, in seconds.
REPEAT: Final = 60.0

# A fault is known by its kind and by the line that raised it.
Fault = tuple[type[Exception], str, int]


class Upkeep:
    """What an App does again and again."""

    def __init__(self, app: App) -> None:
        self._app: Final = app
        self._next_care = float("-inf")
        # When each was reported last; no more than there are lines.
        self._reported: dict[Fault, float] = {}

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.tick(self._app.now())

    def tick(self, now: float) -> None:
        """Do all that is due."""
        for servers in self._app.fleet.everywhere():
            self._step(now, servers.pools.expire)
        self._step(now, partial(self._app.ledger.observe, now))
        if now >= self._next_care:
            self._next_care = now + CARE
            self._care(now)

    def _care(self, now: float) -> None:
        self._step(now, self._app.end_enhanced_logging)
        for servers in self._app.fleet.everywhere():
            self._step(now, servers.care)
        idle_timeout = self._app.config.proxy.idle_client_timeout
        for endpoint in self._app.endpoints.values():
            for session in list(endpoint.sessions):
                self._step(now, partial(_end_overdue, session, now, idle_timeout))

    def _step(self, now: float, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            fault = _fault(error)
            if now - self._reported.get(fault, float("-inf")) >= REPEAT:
                self._reported[fault] = now
                self._app.log.failure(None)


def _end_overdue(session: Session, now: float, idle_timeout: float) -> None:
    """Close one that was idle or there for too long; never in the middle of a request (S-01, S-13).

    AWS documents no message (Q-04): the channel is closed.
    """
    if now - session.born >= MAX_LIFE and session.quiet:
        # However busy it is between two looks.
        session.end(None, "it has reached the maximum lifetime of a client connection")
    elif session.busy or session.touched:
        session.touched = False
        session.idle_since = now
    elif now - session.idle_since >= idle_timeout:
        session.end(None, "it was idle for longer than idle_client_timeout")


def _fault(error: Exception) -> Fault:
    """Which one it is."""
    *_, (frame, line) = walk_tb(error.__traceback__)
    return type(error), frame.f_code.co_filename, line
