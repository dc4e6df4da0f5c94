"""Statements of one session, as the transactions that hold a database connection.

A server is lent for a transaction (C-02): from its first statement to its end, and for the time of
the statement alone outside of one (C-03). What begins and ends it is read from the text here,
because a log has no ReadyForQuery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pyproxy.assessment.recording import Observed
from pyproxy.pinning import sql

_BEGINS: Final = frozenset({"begin", "start"})
_ENDS: Final = frozenset({"commit", "end", "abort"})
# Of these and of rollback and prepare; a comment may stand before them.
_FIRST_LETTERS: Final = frozenset("bscearp/-")


class Span(NamedTuple):
    """A time in which a session holds a database connection."""

    begin: float
    end: float
    statements: int

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.begin


def transactions(statements: Sequence[Observed]) -> Iterator[Span]:
    """The transactions of a session, in their order; statements without times are left out."""
    begin: float | None = None
    end = 0.0
    count = 0
    open_now = False
    for statement in statements:
        if statement.at is None:
            continue
        open_now = after(statement.text, open_now)
        begin = statement.at if begin is None else begin
        end = max(end, statement.at + (statement.seconds or 0.0))
        count += 1
        if not open_now:
            yield Span(begin, end, count)
            begin, count = None, 0
    if begin is not None:
        yield Span(begin, end, count)


def after(text: str, in_transaction: bool) -> bool:
    """Is a session in a transaction after this text?"""
    # Most texts neither begin nor end one, and that is seen at their first letter.
    if ";" not in text and text.lstrip()[:1].lower() not in _FIRST_LETTERS:
        return in_transaction
    for statement in sql.split(text):
        words = [token.text for token in statement.tokens[:4] if token.kind == sql.WORD]
        first = words[0] if words else ""
        if first in _BEGINS:
            in_transaction = True
        elif first in _ENDS:
            in_transaction = "chain" in words and "no" not in words
        elif first == "rollback":
            # ROLLBACK TO goes back inside of it.
            in_transaction = in_transaction and "to" in words
        elif first == "prepare" and words[1:2] == ["transaction"]:
            in_transaction = False
    return in_transaction
