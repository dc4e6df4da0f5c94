"""What a script must not say, because PostgreSQL itself does not survive it.

After a simple Query has failed in a transaction, its unnamed portal stays, and points to a text that
is gone: an Execute of the unnamed portal reads freed memory. PostgreSQL 17.10 ends with signal 11
then, on a direct connection too, and takes all sessions with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.support.messages import Bind, Describe, Execute, FunctionCall, Query, Sendable, Sync


class Guard:
    """Follows what one client says, and leaves out what would crash its database."""

    def __init__(self) -> None:
        # Was the unnamed portal made in this segment of the pipeline?
        self._bound = False
        # May there be the portal of a failed Query?
        self._queried = False

    def safe(self, messages: Iterable[Sendable]) -> Iterator[Sendable]:
        """The messages that may be sent."""
        for message in messages:
            if isinstance(message, Query | FunctionCall):
                self._bound = False
                self._queried = self._queried or message != Query("BEGIN")
            elif isinstance(message, Sync):
                self._bound = False
            elif isinstance(message, Bind) and not message.portal:
                self._bound = True
            elif self._of_unnamed_portal(message) and self._queried and not self._bound:
                continue
            yield message

    def _of_unnamed_portal(self, message: Sendable) -> bool:
        if isinstance(message, Describe):
            return message.kind == "P" and not message.name
        return isinstance(message, Execute) and not message.portal
