"""The decision when a proxy starts: what is remembered of the writer, what is not, and why it waits."""

from __future__ import annotations

import itertools

import pytest

from pyproxy.targets.failover import Health, Observations, State, decide
from tests.support.observations import (
    NOW,
    SUSPECT,
    Case,
    blind,
    check,
    never,
    primary,
    remembered,
    seen,
    standby,
)

CASES = [
    # -- the start, with the writer remembered
    Case(
        "the remembered writer is dead, and the standby has it all",
        seen(remembered(), standby()),
        State.PROMOTING,
        None,
        "b",
        "a",
        promote="b",
    ),
    Case(
        "it has missed fewer probes than the threshold",
        seen(remembered(health=SUSPECT), standby()),
        State.SUSPECT,
        None,
        "b",
    ),
    Case(
        "it is dead, and the standby lacks too much",
        seen(remembered(position=3 << 20), standby()),
        State.BEHIND,
        None,
        "b",
    ),
    Case(
        "it is dead for us, and the standby is connected to it",
        seen(remembered(), standby(streaming=True)),
        State.ISOLATED,
        None,
        "b",
    ),
    Case(
        "it is dead, and the standby follows a newer timeline: somebody has promoted since",
        seen(remembered(), standby(timeline=2), standby("c")),
        State.UNPROVEN,
        None,
        "bc",
    ),
    Case(
        "it is dead, and the standby has never followed its timeline",
        seen(remembered(timeline=2), standby(timeline=1), timeline=2),
        State.UNPROVEN,
        None,
        "b",
    ),
    Case(
        "it is dead, and of two standbys one has followed its timeline",
        seen(
            remembered(timeline=2),
            standby(timeline=1, position=2000),
            standby("c", timeline=2),
            timeline=2,
        ),
        State.PROMOTING,
        None,
        "bc",
        "a",
        promote="c",
    ),
    Case(
        "it is dead, and the standby is of another initdb",
        seen(remembered(system="1"), standby(system="2"), system="1"),
        State.NO_STANDBY,
        None,
        readerless=True,
    ),
    Case(
        "it is dead, and others promote",
        seen(remembered(), standby(), may_promote=False),
        State.DOWN,
        None,
        "b",
    ),
    Case(
        "it is dead, and the one that it replaced is back as it was: never used",
        seen(primary("a"), remembered("b", timeline=2), writer="b", timeline=2, deposed=("a",)),
        State.NO_STANDBY,
        None,
        fenced="a",
        readerless=True,
    ),
    Case(
        "somebody has promoted another while the proxy was stopped",
        seen(standby("a", timeline=2), primary("b", timeline=2)),
        State.HEALTHY,
        "b",
        "a",
    ),
    Case(
        "all databases were made anew: what is remembered is of others",
        seen(
            primary("a", system="2"),
            standby("b", system="2"),
            writer="b",
            timeline=2,
            system="1",
            deposed=("a",),
        ),
        State.HEALTHY,
        "a",
        "b",
    ),
    Case(
        "one database was made anew, the writer is dead: that is no writer",
        seen(
            primary("a", system="2"),
            remembered("b", timeline=2, system="1"),
            writer="b",
            timeline=2,
            system="1",
        ),
        State.NO_STANDBY,
        None,
        fenced="a",
        readerless=True,
    ),
    # -- an orchestrator is asked
    Case(
        "the probe may not log in, and an orchestrator says who is the leader",
        seen(blind("a"), blind("b"), writer=None, timeline=0, leader="b"),
        State.BLIND,
        "b",
    ),
    Case(
        "an orchestrator says that nobody is the leader yet",
        seen(primary("a"), standby("b"), writer=None, timeline=0, leader=""),
        State.STARTING,
        None,
        "b",
        "a",
    ),
    Case(
        "nobody is the leader yet, and the probe may not log in",
        seen(blind("a"), blind("b"), writer=None, timeline=0, leader=""),
        State.STARTING,
        None,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_table(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            seen(never("a"), standby(), writer=None, timeline=0),
            (
                "b is a standby, a is not to be reached, and who wrote last is not known, so nobody can "
                "tell what a standby lacks: start the primary, or promote b by pg_promote() if it has "
                "all that it should"
            ),
        ),
        (
            seen(never("a"), standby(), writer=None, timeline=0, may_promote=False),
            (
                "b is a standby, a is not to be reached, and who wrote last is not known, so nobody can "
                "tell what a standby lacks: whoever is in charge promotes"
            ),
        ),
        (
            seen(remembered(), standby(timeline=2)),
            (
                "a is down and was last seen writing in timeline 1, but b follows timeline 2: somebody "
                "has promoted another since. Start that one, or promote by pg_promote() whichever has "
                "all of it"
            ),
        ),
        (
            seen(remembered(timeline=2), standby(timeline=1), timeline=2),
            (
                "a is down and was last seen writing in timeline 2, but b is still in timeline 1. "
                "Start a, or promote b by pg_promote() if what it lacks does not matter"
            ),
        ),
        (
            seen(remembered(system="1"), standby(system="2"), system="1"),
            "a is down, and no standby of it answers; b is of another cluster (system 2, not 1)",
        ),
        (
            seen(primary("a"), remembered("b", timeline=2), writer="b", timeline=2),
            (
                "b is down, and no standby of it answers; a can be written to, but is an old primary "
                "(timeline 1, b was the last to write, in 2)"
            ),
        ),
    ],
)
def test_why_nobody_is_promoted_and_what_would_be_right(given: Observations, told: str) -> None:
    assert decide(given, NOW).why == told


def test_a_remembered_writer_is_replaced_if_and_only_if_all_is_as_it_should_be() -> None:
    """Every standby that there may be, and whether or not we may promote."""
    for health, timeline, system, streaming, position, promotable, may in itertools.product(
        Health,
        (1, 2, 3),
        ("1", "2"),
        (False, True),
        (1 << 20, 2 << 20),
        (True, False),
        (True, False),
    ):
        given = seen(
            remembered(timeline=2, position=3 << 20, system="1"),
            standby(
                health=health,
                timeline=timeline,
                system=system,
                streaming=streaming,
                position=position,
                promotable=promotable,
            ),
            timeline=2,
            system="1",
            may_promote=may,
        )
        decision = decide(given, NOW)
        fits = health is Health.UP and (timeline, system, position) == (2, "1", 2 << 20)
        assert (decision.promote == "b") == (fits and promotable and may and not streaming)
        assert decision.writer is None
        assert decision.why
