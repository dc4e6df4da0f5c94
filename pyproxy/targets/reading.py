"""Where reading goes on when a reader is lost: never back in time (FO-04). Pure.

    reading = follow(reading, decision, seen, now)      # after each decision
    caught_up(reading, decision, seen)                  # who may have the sessions of a lost reader

A standby shows what it has replayed, and that is never more than the writer has written. So what a
session may have seen at a reader is bounded by the position of the writer, by a look that began
when nothing was read there any more. Who has replayed as much shows nothing older.
"""

from __future__ import annotations

from typing import NamedTuple

from pyproxy.targets.failover import Decision, Health, Observation, Observations
from pyproxy.targets.target import READ_WRITE


class Reading(NamedTuple):
    """What is known of the sessions that have been at lost readers."""

    readers: tuple[str, ...] = ()
    """Who serves, and who did and is suspect: what runs there still reads."""

    shown: int | None = 0
    """The position in the WAL that they may have seen at most; None: not known yet."""

    since: float = 0.0
    """Where it is not: it is known by a look at the writer that began after this."""


def follow(before: Reading, decision: Decision, seen: Observations, now: float) -> Reading:
    """What a decision about `seen` makes of it."""
    suspect = tuple(
        t.id
        for t in seen.targets
        if t.id in before.readers and t.id not in decision.readers and t.health is Health.SUSPECT
    )
    readers = decision.readers + suspect
    writer = next((t for t in seen.targets if t.id == decision.writer), None)
    shown, since = before.shown, before.since
    if set(before.readers) - set(readers) or (shown and _is_new(writer, seen)):
        # Of a new writer: what was shown beyond its timeline's beginning nobody has any more.
        shown, since = None, now
    if shown is None and writer is not None and writer.role == READ_WRITE and writer.looked > since:
        shown = writer.position
    return Reading(readers, shown, since)


def _is_new(writer: Observation | None, seen: Observations) -> bool:
    return writer is not None and (writer.id, writer.timeline) != (seen.writer, seen.timeline)


def caught_up(reading: Reading, decision: Decision, seen: Observations) -> tuple[str, ...]:
    """The readers that show at least as much as any lost one has."""
    shown = reading.shown
    if shown is None or reading.readers != decision.readers:
        return ()
    return tuple(t.id for t in seen.targets if t.id in decision.readers and t.replayed >= shown)
