"""The ledger: every pin, whose it is, what it costs, and how to avoid it.

Pins are counted by rule, digest and application, and those that still hold a server are kept one
by one. Bounded: beyond LIMIT groups the ones with the fewest pins make room, under one row that
says so. Pure; the caller brings the time, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from pyproxy.pinning.rules import RULES

LIMIT: Final = 1_000
# What groups that had to make room are counted under.
OTHERS: Final = "(others)"

# How drivers introduce themselves by application_name when nobody sets it.
_DRIVERS: Final = (
    ("psql", "psql"),
    ("PostgreSQL JDBC", "JDBC"),
    ("pgAdmin", "pgAdmin"),
    ("pgbench", "pgbench"),
    ("pg_dump", "pg_dump"),
    ("DBeaver", "DBeaver"),
    ("Npgsql", "Npgsql"),
    ("node-postgres", "node-postgres"),
)


class Held(NamedTuple):
    """A session that holds its server."""

    session: int
    group: tuple[str, str, str]
    statement: str
    number: int
    """Which statement of the session it was, counted from 1."""

    user: str
    database: str
    since: float


class Group:
    """Pins of one rule, digest and application."""

    __slots__ = ("application", "count", "digest", "driver", "held", "reason", "rule", "seconds")

    def __init__(self, rule: str, digest: str, application: str, reason: str) -> None:
        self.rule = rule
        self.digest = digest
        self.application = application
        self.driver = driver_of(application)
        self.reason = reason
        self.count = 0
        self.held = 0
        # Of those that have ended.
        self.seconds = 0.0


class Ledger:
    """Every pin of the proxy."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit: Final = limit
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._held: dict[int, Held] = {}

    def pinned(
        self,
        session: int,
        *,
        rule: str,
        reason: str,
        statement: str,
        digest: str,
        index: int,
        user: str,
        database: str,
        application_name: str,
        now: float,
    ) -> None:
        """A session keeps its server from now on."""
        key = (rule, digest, application_name)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(rule, digest, application_name, reason)
            self._make_room()
        group.count += 1
        group.held += 1
        self._held[session] = Held(session, key, statement, index, user, database, now)

    def ended(self, session: int, now: float) -> None:
        """It has ended; its server is free."""
        held = self._held.pop(session, None)
        if held is not None:
            group = self._groups[held.group]
            group.held -= 1
            group.seconds += now - held.since

    def held(self) -> Iterator[Held]:
        """The sessions that hold their server, the longest first."""
        return iter(self._held.values())

    def groups(self) -> list[Group]:
        """All groups, those with the most pins first."""
        return sorted(self._groups.values(), key=lambda g: (-g.count, g.rule, g.digest))

    def seconds(self, group: Group, now: float) -> float:
        """How long servers have been held in a group, those that are held now included."""
        if not group.held:
            return group.seconds
        key = (group.rule, group.digest, group.application)
        return group.seconds + sum(now - h.since for h in self._held.values() if h.group == key)

    def _make_room(self) -> None:
        resting = (
            (group.count, key)
            for key, group in self._groups.items()
            if group.count and not group.held and group.digest != OTHERS
        )
        smallest = min(resting, default=None) if len(self._groups) > self._limit else None
        if smallest is None:
            return
        gone = self._groups.pop(smallest[1])
        key = (gone.rule, OTHERS, OTHERS)
        others = self._groups.get(key)
        if others is None:
            others = self._groups[key] = Group(gone.rule, OTHERS, OTHERS, gone.reason)
        others.count += gone.count
        others.seconds += gone.seconds


def remedy(rule: str) -> str:
    """How to avoid a rule's pins."""
    return RULES[rule].remedy


def driver_of(application_name: str) -> str:
    """The driver, as far as its application_name tells; "" when it doesn't."""
    for beginning, driver in _DRIVERS:
        if application_name.lower().startswith(beginning.lower()):
            return driver
    return ""
