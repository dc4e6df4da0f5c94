"""What a monitor may have seen, in few words, and the rows of a table of decisions.

    Case("they are well", seen(primary(), standby()), State.HEALTHY, "a", readers="b")

The targets are `a`, `b`, `c`; unless told otherwise `a` is the writer, in the first timeline.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pyproxy.targets.failover import (
    PROMOTION_TIMEOUT,
    Health,
    Observation,
    Observations,
    State,
    decide,
)
from pyproxy.targets.target import READ_ONLY, READ_WRITE, UNKNOWN

NOW = 1000.0
LONG_AGO = NOW - PROMOTION_TIMEOUT - 1
UP, SUSPECT, DOWN = Health.UP, Health.SUSPECT, Health.DOWN


def primary(name: str = "a", health: Health = UP, **more: Any) -> Observation:
    since = 0.0 if health is UP else NOW - 3.0
    return Observation(name, health, READ_WRITE, position=1000, failing_since=since)._replace(
        **more
    )


def standby(name: str = "b", health: Health = UP, **more: Any) -> Observation:
    return Observation(name, health, READ_ONLY, position=1000)._replace(**more)


def remembered(name: str = "a", health: Health = DOWN, **more: Any) -> Observation:
    """The writer by the file in state_dir; it has not answered since the start."""
    return primary(name, health, remembered=True, **more)


def blind(name: str = "a") -> Observation:
    return Observation(name, UP, UNKNOWN, timeline=0)


def never(name: str) -> Observation:
    """A target that has not answered since the start."""
    return Observation(name, DOWN, UNKNOWN, timeline=0)


class Case(NamedTuple):
    name: str
    seen: Observations
    state: State
    writer: str | None
    readers: str = ""
    fenced: str = ""
    promote: str | None = None
    readerless: bool = False


def seen(*targets: Observation, **more: Any) -> Observations:
    """After a start with `a` as the writer, unless told otherwise."""
    return Observations(targets, **({"writer": "a", "timeline": 1} | more))


def check(case: Case) -> None:
    """Is it decided as the row says?"""
    decision = decide(case.seen, NOW)
    assert decision.state is case.state
    assert decision.writer == case.writer
    assert "".join(decision.readers) == case.readers
    assert "".join(sorted(decision.fenced)) == case.fenced
    assert decision.promote == case.promote
    assert decision.readerless == case.readerless
    assert bool(decision.why) == (decision.state not in (State.HEALTHY, State.STARTING))
