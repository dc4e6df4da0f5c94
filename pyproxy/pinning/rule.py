"""What a pinning rule is made of; the rules themselves are in `rules`."""

from __future__ import annotations

from typing import Final, NamedTuple

# L-02, word for word; the digest is filled in.
SETTINGS: Final = (
    "SQL changed session settings that the proxy doesn't track. Consider moving session "
    'configuration to the proxy\'s initialization query. Digest: "{digest}".'
)
# L-03, word for word.
TOO_LONG: Final = "The connection ran a SQL query which exceeded the 16384 byte limit."
# L-04, as it was until November 2023.
PARSE: Final = "A parse message was detected."
# L-04b: what follows was never seen, so a reason of ours does.
RUNNING: Final = "Running a prepared statement. "
# The end of every reason whose wording is not AWS's (LG-06).
MARK: Final = " [pyproxy]"


def ours(what: str) -> str:
    """A reason for which no text of AWS is known (Q-03)."""
    return f'SQL {what}. Digest: "{{digest}}".{MARK}'


class Source(NamedTuple):
    """Where a rule is known from."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


def documented(where: str) -> Source:
    """In AWS's own documents."""
    return Source("documented", where)


def observed(where: str) -> Source:
    """In logs of the real service that users have published."""
    return Source("observed", where)


def chosen(why: str) -> Source:
    """AWS is silent, or contradicts itself: PyProxy takes a side."""
    return Source("chosen", why)


class Rule(NamedTuple):
    """One row."""

    id: str
    matches: str
    """What it matches, in words."""

    reason: str
    """The text behind "Reason:", with {digest} to be filled in; empty for what never pins."""

    source: Source
    """Where it is known from."""

    begins: tuple[str, ...] = ()
    """What a statement of this rule begins with, as `patterns` reads it."""

    says: tuple[str, ...] = ()
    """What stands anywhere in a query of this rule, as `patterns` reads it."""

    calls: tuple[str, ...] = ()
    """PostgreSQL's functions that it is about; `f(…, true)`: with the literal true at the end."""

    advice: str = ""
    """How to avoid the pin, in one sentence, without its full stop."""

    ready: str = ""
    """The SQL or the driver's setting to paste."""

    switch: str = ""
    """The key under `compatibility:` that decides; its default says whether it pins."""

    default: str = "pin"
    """Without the switch, or as long as nobody turns it."""

    outlives_reset: bool = False
    """No reset undoes it: the server is closed at the session's end."""

    @property
    def pins(self) -> bool:
        """Does the session keep its database connection, unless a switch says otherwise?"""
        return bool(self.reason) and self.default == "pin"

    @property
    def ours(self) -> bool:
        """Is the reason's wording not AWS's?"""
        return self.reason.endswith(MARK)

    @property
    def remedy(self) -> str:
        """How to avoid the pin, in one sentence, with what to paste."""
        if not self.advice:
            return ""
        return f"{self.advice}: {self.ready}" if self.ready else f"{self.advice}."


class Note(NamedTuple):
    """How rules are applied: a row that is about all of them rather than about a statement."""

    id: str
    says: str
    source: Source
