"""Is the writer elsewhere, and this group one of standbys only? (FO-07). Pure.

    feed = follow(feed, decision, seen, now)            # after each decision
    feed.proven

Where all targets are standbys, a failover may be under way: whoever does it has stopped the writer,
and promotes another in a moment. Clients wait for that (FO-01), and how long it takes nobody knows.
But while all stream, and more WAL comes than any of them has had, somebody writes it who is none of
them. A standby streams when it has come to the end of its own WAL, not before: what one gets beyond
all of that is new.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.targets.failover import Decision, Health, Observation, Observations, State
from pyproxy.targets.target import READ_ONLY

WHY: Final = (
    "all targets are standbys of a primary that is none of them, and it writes: clients of the "
    "read/write endpoints are told that there is none here, until it falls silent"
)
# Nobody is seen writing, and nobody is being made the writer by us.
_WRITERLESS: Final = (State.UNPROVEN, State.DEMOTED)


class Feed(NamedTuple):
    """What is known of the WAL that comes from elsewhere."""

    position: int | None = None
    """All that the targets had when each was seen to stream; None: not all do."""

    grown: float | None = None
    """When one was seen to have more."""

    proven: bool = False


def follow(before: Feed, decision: Decision, seen: Observations, now: float) -> Feed:
    """What a decision about `seen` makes of it."""
    if decision.state not in _WRITERLESS or not all(map(_streams, seen.targets)):
        return Feed()
    position = max(target.position for target in seen.targets)
    if before.position is None:
        return Feed(position)
    if before.grown is None:
        return Feed(before.position, now if position > before.position else None)
    # A target may have been promoted, and feed the others, since it was looked at last.
    looked = all(target.looked > before.grown for target in seen.targets)
    return before._replace(proven=before.proven or looked)


def _streams(target: Observation) -> bool:
    return target.health is Health.UP and target.role == READ_ONLY and target.streaming
