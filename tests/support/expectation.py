"""What a client still waits for: a small model of who answers what.

    expecting = Expectation()
    expecting.sent(messages)
    expecting.received("C")         # the tag of each reply
    expecting.done                  # may the client say the next thing?

PostgreSQL manual, "Message Flow". It serves only to know when a step is over; what the answers
should have been is told by the direct connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tests.support.messages import (
    Bind,
    Bloated,
    Bogus,
    Close,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    Query,
    Sendable,
    Sync,
)

# What answers each message, by the tag of the message; of several, any one. After a bogus one there
# is only the end of the connection.
_ANSWERS = {"!": "", "P": "1", "B": "2", "C": "3", "D": "Tn", "E": "CIs", "S": "Z", "Q": "Z"}
_KINDS: dict[type, str] = {
    Parse: "P",
    Bind: "B",
    Close: "C",
    Describe: "D",
    Execute: "E",
    Sync: "S",
    Query: "Q",
    Bogus: "!",
    FunctionCall: "Q",
    CopyDone: "c",
    CopyFail: "c",
}


def _kind_of(message: Sendable) -> str:
    if isinstance(message, Bloated):
        # A Flush is answered only with an error, as a Parse may be.
        return "P" if isinstance(message.message, Flush) else _KINDS[type(message.message)]
    return _KINDS.get(type(message), "")


class Expectation:
    """The replies that one connection owes its client."""

    def __init__(self) -> None:
        self._owed: deque[str] = deque()
        # After an error in a pipeline nothing is answered until Sync.
        self._failed = False
        # The server takes COPY data, and nothing has ended them yet.
        self._copying = False

    def sent(self, messages: Iterable[Sendable]) -> None:
        """These were sent."""
        for message in messages:
            kind = _kind_of(message)
            if not kind:
                continue
            if self._copying and kind != "!":
                # Sync and Flush are passed over while the server takes COPY data.
                self._copying = kind != "c"
            elif kind in "S!" or not self._failed:
                self._owed.append(kind)
                self._failed = False
        self._pass_over_late_ends()

    def received(self, tag: str) -> None:
        """A reply came."""
        head = self._owed[0] if self._owed else ""
        if tag == "E" and head and head not in "Q!":
            self._discard_until_sync()
        elif tag == "G":
            self._copy_begins()
        elif head and tag in _ANSWERS[head]:
            self._owed.popleft()
        if tag == "E":
            self._copying = False
        self._pass_over_late_ends()

    def _discard_until_sync(self) -> None:
        while self._owed and self._owed[0] not in "S!":
            self._owed.popleft()
        self._failed = not self._owed

    def _copy_begins(self) -> None:
        """The end of the data may have been sent already, with Syncs before it passed over."""
        self._copying = True
        while len(self._owed) > 1 and self._owed[1] != "!":
            kind = self._owed[1]
            del self._owed[1]
            if kind == "c":
                self._copying = False
                return

    def _pass_over_late_ends(self) -> None:
        # PostgreSQL accepts and ignores copy messages after the COPY is over.
        while self._owed and self._owed[0] == "c":
            self._owed.popleft()

    @property
    def done(self) -> bool:
        """Nothing more comes unless the client says something."""
        return (self._copying and "!" not in self._owed) or not self._owed
