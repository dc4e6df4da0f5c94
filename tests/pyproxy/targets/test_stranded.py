"""FO-04: the standbys that do not follow a new writer, and those that only seem not to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyproxy.config import TargetConfig
from pyproxy.targets.failover import FOLLOW_PATIENCE, Observations, State, decide
from pyproxy.targets.probe import INVALID_REPLICATION_STATE, ProbeError, Sighting
from pyproxy.targets.target import Target
from pyproxy.targets.watch import Watch
from tests.support.observations import (
    DOWN,
    NOW,
    SUSPECT,
    Case,
    blind,
    check,
    primary,
    standby,
)

LATE = NOW - FOLLOW_PATIENCE


def seen(*targets: Any, **more: Any) -> Observations:
    """Long after `b` has taken over, in the second timeline."""
    return Observations(targets, **({"writer": "b", "timeline": 2, "since": LATE} | more))


B = primary("b", timeline=2)

CASES = [
    ("it does not follow", seen(B, standby("c")), "", "c"),
    ("another does", seen(B, standby("a", timeline=2), standby("c")), "a", "c"),
    ("it may be on its way", seen(B, standby("c"), since=LATE + 0.1), "c", ""),
    ("nobody has written in this run yet", seen(B, standby("c"), since=float("inf")), "c", ""),
    ("at the start it had its time", seen(B, standby("c"), since=float("-inf")), "", "c"),
    ("what it receives can't be seen", seen(B, standby("c", untold=NOW)), "c", ""),
    ("nothing was received for as long", seen(B, standby("c", untold=LATE)), "", "c"),
    ("the writer is suspect", seen(B._replace(health=SUSPECT), standby("c")), "", "c"),
    ("the writer may not be looked at", seen(blind("b"), standby("c")), "", "c"),
    ("it follows now", seen(B, standby("c", timeline=2), stranded=("c",)), "c", ""),
    (
        "it does not follow the next writer either, from the first moment",
        seen(primary("a", timeline=3), standby("b", timeline=2), standby("c"), stranded=("c",)),
        "b",
        "c",
    ),
    (
        "the same, and the others may be on their way",
        seen(
            primary("a", timeline=3),
            standby("b", timeline=2),
            standby("c"),
            writer="a",
            timeline=3,
            since=NOW,
            stranded=("c",),
        ),
        "b",
        "c",
    ),
    (
        "it misses a probe, and is no other for that",
        seen(B, standby("c", SUSPECT), since=NOW, stranded=("c",)),
        "",
        "c",
    ),
    ("it was promoted", seen(B, primary("c"), stranded=("c",)), "", ""),
    ("it is of another cluster", seen(B._replace(system="1"), standby("c", system="2")), "", ""),
]


@pytest.mark.parametrize(
    ("given", "readers", "stranded"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_who_is_left_behind(given: Observations, readers: str, stranded: str) -> None:
    decision = decide(given, NOW)
    assert ("".join(decision.readers), "".join(decision.stranded)) == (readers, stranded)
    # It may follow yet: who wants to read there waits.
    assert not (stranded and decision.readerless)


@pytest.mark.parametrize("health", [SUSPECT, DOWN])
def test_the_readers_of_a_writer_that_is_down_go_on(health: Any) -> None:
    """Nobody has taken over: they are in its timeline."""
    given = seen(primary("a", health), standby("c"), writer="a", timeline=1, may_promote=False)
    assert decide(given, NOW).readers == ("c",)


@pytest.mark.parametrize(
    "case",
    [
        Case(
            "one that does not follow is not promoted",
            seen(B._replace(health=DOWN), standby("c"), stranded=("c",)),
            State.UNPROVEN,
            None,
        ),
        Case(
            "nor is it when it is the one with the most WAL",
            seen(
                B._replace(health=DOWN),
                standby("a", timeline=2),
                standby("c", position=2000),
                stranded=("c",),
            ),
            State.PROMOTING,
            None,
            "a",
            "b",
            promote="a",
        ),
    ],
    ids=lambda case: case.name,
)
def test_who_takes_over(case: Case) -> None:
    check(case)


# -- what is seen of one target ------------------------------------------------------------------


def sighting(**changes: Any) -> Sighting:
    seen = Sighting(True, False, 2, 1000, 0.0, "7", 100, 3, True, 0.1, 1000, False)
    return seen._replace(**changes)


def watch_of(*sightings: Sighting) -> Watch:
    """A watch that has seen these, at NOW, NOW + 1 and so on."""
    watch = Watch(Target(TargetConfig("c")), NoProbe())
    for seconds, sighting in enumerate(sightings):
        watch.seen(sighting, NOW + seconds, NOW + seconds)
    return watch


class NoProbe:
    """Is not asked here."""

    async def look(self) -> Sighting:
        await asyncio.Event().wait()
        raise ProbeError("", "", alive=False)

    async def promote(self) -> None: ...

    async def make_slot(self) -> str:
        return ""

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("later", "timeline"),
    [
        ({}, 2),
        ({"replayed": 2000}, 2),
        ({"replayed": 999}, 1),
        ({"system": "8"}, 1),
        ({"in_recovery": False}, 1),
    ],
    ids=["reconnects", "goes on", "an older backup", "another cluster", "promoted"],
)
def test_one_that_has_followed_a_timeline_is_not_back_in_an_older_one(
    later: dict[str, Any], timeline: int
) -> None:
    """The timeline that it receives is shown only while it is connected."""
    watch = watch_of(sighting(), sighting(timeline=1, silence=None, **later))
    assert watch.observe().timeline == timeline


def test_when_it_was_last_untold_is_known() -> None:
    watch = watch_of(sighting(untold=True), sighting(untold=True), sighting())
    assert watch.observe().untold == NOW + 1


def test_it_is_told_in_the_words_of_aws() -> None:
    """TH-02: INVALID_REPLICATION_STATE; that it is a standby is known."""
    watch = watch_of(sighting(timeline=1))
    target = watch.observe()
    well = decide(seen(B._replace(system="7"), target, since=NOW), NOW)
    assert watch.describe(target, well, None) is None
    late = decide(seen(B._replace(system="7"), target), NOW)
    level, event, message = watch.describe(target, late, None) or ("", "", "")
    assert (level, event) == ("WARN", "target-unavailable")
    assert message.startswith(
        "Target c is unavailable. INVALID_REPLICATION_STATE: it does not follow the writer and is "
        "left behind in timeline 1"
    )
    health = watch.target.in_aws_words
    assert health[:3] == ("UNAVAILABLE", "READ_ONLY", INVALID_REPLICATION_STATE)
    assert watch.describe(target, well, None) == (
        "INFO",
        "target-available",
        "Target c is available, READ_ONLY.",
    )
