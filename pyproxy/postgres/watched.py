"""A session under `leak_guard`: it remembers what it has run since it borrowed its server.

Only so that a finding can name the statement; whether there is one is seen on the server itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pyproxy.postgres.prepared import STALL, Rewritten
from pyproxy.postgres.relay import Relay
from pyproxy.postgres.server import ServerConnection

# The last statements of a transaction, and the beginning of each.
_STATEMENTS: Final = 16
_TEXT: Final = 2_000


class WatchedRelay(Relay):
    """A session whose statements are remembered until its server is given back."""

    __slots__ = ("_trail",)

    def adopt(self, transport: asyncio.Transport, rest: bytes) -> None:
        """Take over the transport of a finished login; from here on it is remembered."""
        self._trail: list[bytes] = []
        super().adopt(transport, rest)

    def take_trail(self) -> list[bytes]:
        """What has run since the last call."""
        trail, self._trail = self._trail, []
        return trail

    def _on_query(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        answer = super()._on_query(server, data, pos, end)
        if answer is not STALL:
            self._remember(server.asked)
        return answer

    def _on_execute(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        answer = super()._on_execute(server, data, pos, end)
        if answer is not STALL and self.naming is not None and self.naming.mentioned is not None:
            self._remember(self.naming.mentioned.definition.partition(b"\0")[0])
        return answer

    def _remember(self, text: bytes) -> None:
        self._trail.append(text[:_TEXT])
        if len(self._trail) > _STATEMENTS:
            del self._trail[0]
