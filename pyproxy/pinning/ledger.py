"""The ledger: every pin, whose it is, what it costs, and how to avoid it.

Pins are kept one by one, those that hold a server and the last HISTORY of those that are over, and
are added up by rule, digest and application. Bounded: beyond LIMIT groups the ones with the fewest
pins make room, under one row that says so.

What a pin costs is the time that a server was held, how much of it nobody used, and how many
clients had to wait meanwhile. The idle time is sampled: `observe` is called at every tick and
before every reading, so no query has to ask the clock. Pure; the caller brings the time, in
seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from pyproxy.pinning.drivers import guess
from pyproxy.pinning.rules import RULES

LIMIT: Final = 1_000
# How many pins that are over are remembered one by one.
HISTORY: Final = 1_000
# What groups that had to make room are counted under.
OTHERS: Final = "(others)"
# PostgreSQL cuts an application_name here (NAMEDATALEN - 1); so the rest never identifies anybody.
_NAME_LENGTH: Final = 63

Key = tuple[str, str, str]


class Holder(Protocol):
    """The session that keeps its server, as far as the ledger has to know it."""

    @property
    def quiet(self) -> bool:
        """No request and no transaction under way: the server is held for nothing."""

    @property
    def waits(self) -> int:
        """How many clients have had to wait for a server of its target since the start."""


class PinFacts(NamedTuple):
    """What is known of a pin when it begins."""

    session: int
    server: int
    endpoint: str
    rule: str
    reason: str
    statement: str
    digest: str
    number: int
    """Which statement of the session it was, as they ran, counted from 1."""

    user: str
    database: str
    application_name: str
    startup: tuple[tuple[str, str], ...] = ()


class Held:
    """One pin: a session that holds its server, or held it."""

    __slots__ = (
        "_group",
        "_holder",
        "_sampled",
        "_waits",
        "driver",
        "ended",
        "facts",
        "idle",
        "seconds",
        "since",
        "waited",
    )

    def __init__(self, facts: PinFacts, group: Group, holder: Holder, now: float) -> None:
        self.facts = facts
        self.driver = guess(
            facts.application_name, dict(facts.startup), facts.digest, facts.statement
        )
        self.since = now
        # When it was over; None while it holds its server.
        self.ended: float | None = None
        # How long the server was held, and for how much of that nobody used it.
        self.seconds = 0.0
        self.idle = 0.0
        # Clients of the same target that began to wait meanwhile, there being no server left.
        self.waited = 0
        self._group = group
        self._holder: Holder | None = holder
        self._waits = holder.waits
        self._sampled = now

    def observe(self, now: float) -> None:
        """Add the time since the last look, as idle if nothing is under way now."""
        holder = self._holder
        if holder is None:
            return
        passed, self._sampled = max(now - self._sampled, 0.0), now
        self._group.seconds += passed
        self.seconds += passed
        if holder.quiet:
            self._group.idle += passed
            self.idle += passed
        waited = holder.waits - self._waits
        self._group.waited += waited - self.waited
        self.waited = waited

    def end(self, now: float) -> None:
        """The session has ended; its server is free."""
        self.observe(now)
        self._holder = None
        self._group.held -= 1
        self.ended = now


class Group:
    """Pins of one rule, digest and application."""

    __slots__ = (
        "application",
        "count",
        "digest",
        "driver",
        "held",
        "idle",
        "reason",
        "rule",
        "seconds",
        "waited",
    )

    def __init__(self, rule: str, digest: str, application: str, reason: str) -> None:
        self.rule = rule
        self.digest = digest
        self.application = application
        self.reason = reason
        # Of the first pin that gave its driver away.
        self.driver = ""
        self.count = 0
        self.held = 0
        # As of `Held`, added up.
        self.seconds = 0.0
        self.idle = 0.0
        self.waited = 0

    @property
    def key(self) -> Key:
        """What its pins have in common."""
        return self.rule, self.digest, self.application


class Ledger:
    """Every pin of the proxy."""

    def __init__(self, limit: int = LIMIT, history: int = HISTORY) -> None:
        self._limit: Final = limit
        self._groups: dict[Key, Group] = {}
        # By session; in the order of their beginning.
        self._held: dict[int, Held] = {}
        self._over: deque[Held] = deque(maxlen=history)

    def pinned(self, facts: PinFacts, holder: Holder, now: float) -> Held:
        """A session keeps its server from now on."""
        facts = facts._replace(application_name=facts.application_name[:_NAME_LENGTH])
        key = (facts.rule, facts.digest, facts.application_name)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key, facts.reason)
            self._make_room()
        held = self._held[facts.session] = Held(facts, group, holder, now)
        group.count += 1
        group.held += 1
        group.driver = group.driver or held.driver
        return held

    def ended(self, session: int, now: float) -> None:
        """It has ended; its server is free."""
        held = self._held.pop(session, None)
        if held is not None:
            held.end(now)
            self._over.append(held)

    def observe(self, now: float) -> None:
        """Look at every session that holds its server; call it often, and before reading."""
        for held in self._held.values():
            held.observe(now)

    def pins(self) -> Iterator[Held]:
        """Every pin that is known one by one: who holds a server, longest first; then the rest."""
        yield from self._held.values()
        yield from reversed(self._over)

    def groups(self) -> list[Group]:
        """All groups, those with the most pins first."""
        return sorted(self._groups.values(), key=lambda g: (-g.count, g.rule, g.digest))

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
            others = self._groups[key] = Group(*key, gone.reason)
        others.count += gone.count
        others.seconds += gone.seconds
        others.idle += gone.idle
        others.waited += gone.waited


def remedy(rule: str) -> str:
    """How to avoid a rule's pins."""
    return RULES[rule].remedy
