"""The decision of a failover, as a table: what is seen, who writes, who reads, who is fenced."""

from __future__ import annotations

import itertools

import pytest

from pyproxy.targets.failover import Health, Observations, State, decide
from pyproxy.targets.target import READ_ONLY, READ_WRITE
from tests.support.observations import (
    DOWN,
    LONG_AGO,
    NOW,
    SUSPECT,
    UP,
    Case,
    blind,
    check,
    never,
    primary,
    seen,
    standby,
)

CASES = [
    # -- healthy
    Case("all is well", seen(primary(), standby()), State.HEALTHY, "a", "b"),
    Case(
        "the first look",
        seen(primary(), standby(), writer=None, timeline=0),
        State.HEALTHY,
        "a",
        "b",
    ),
    Case(
        "the first look finds the second target writing",
        seen(standby("a"), primary("b"), writer=None, timeline=0),
        State.HEALTHY,
        "b",
        "a",
    ),
    Case(
        "a standby is down: nothing for the writer",
        seen(primary(), standby(health=DOWN)),
        State.HEALTHY,
        "a",
        fenced="b",
    ),
    Case(
        "a standby is suspect: nobody is sent there",
        seen(primary(), standby(health=SUSPECT), standby("c")),
        State.HEALTHY,
        "a",
        "c",
    ),
    Case("one target alone", seen(primary()), State.HEALTHY, "a"),
    # -- the start
    Case(
        "nobody answers yet",
        seen(never("a"), never("b"), writer=None, timeline=0),
        State.STARTING,
        None,
        fenced="ab",
    ),
    Case(
        "a standby alone is never promoted before a writer was seen",
        seen(never("a"), standby(), writer=None, timeline=0),
        State.UNPROVEN,
        None,
        "b",
        "a",
    ),
    Case(
        "only standbys, and nobody knows who wrote",
        seen(standby("a"), standby("b"), writer=None, timeline=0),
        State.UNPROVEN,
        None,
        "ab",
    ),
    Case(
        "one that may answer the next probe is waited for",
        seen(never("a")._replace(health=SUSPECT), standby(), writer=None, timeline=0),
        State.STARTING,
        None,
        "b",
    ),
    Case(
        "the probe may not log in: the first target, as configured",
        seen(blind("a"), blind("b"), writer=None, timeline=0),
        State.BLIND,
        "a",
    ),
    # -- suspect and down
    Case("it missed a probe", seen(primary(health=SUSPECT), standby()), State.SUSPECT, None, "b"),
    Case(
        "it is down, and the standby has it all",
        seen(primary(health=DOWN), standby()),
        State.PROMOTING,
        None,
        "b",
        "a",
        promote="b",
    ),
    Case(
        "it is down, and others promote",
        seen(primary(health=DOWN), standby(), may_promote=False),
        State.DOWN,
        None,
        "b",
    ),
    Case(
        "it is down, the nearest standby takes over",
        seen(primary(health=DOWN), standby("b", position=900), standby("c", position=950)),
        State.PROMOTING,
        None,
        "bc",
        "a",
        promote="c",
    ),
    Case("no standby at all", seen(primary(health=DOWN)), State.NO_STANDBY, None),
    Case(
        "no standby answers",
        seen(primary(health=DOWN), standby(health=DOWN)),
        State.NO_STANDBY,
        None,
        fenced="b",
    ),
    Case(
        "a suspect standby is not promoted",
        seen(primary(health=DOWN), standby(health=SUSPECT)),
        State.NO_STANDBY,
        None,
    ),
    Case(
        "the standby lacks too much",
        seen(primary(health=DOWN, position=3 << 20), standby()),
        State.BEHIND,
        None,
        "b",
    ),
    Case(
        "the standby lacks as much as is allowed",
        seen(primary(health=DOWN, position=1000 + (1 << 20)), standby()),
        State.PROMOTING,
        None,
        "b",
        "a",
        promote="b",
    ),
    Case(
        "we may not promote",
        seen(primary(health=DOWN), standby(promotable=False)),
        State.FORBIDDEN,
        None,
        "b",
    ),
    Case(
        "a standby heard from it a moment ago: our way to it is cut, not it",
        seen(primary(health=DOWN), standby(heard=NOW - 1.0)),
        State.ISOLATED,
        None,
        "b",
    ),
    Case(
        "a standby heard from it, but not for a while",
        seen(primary(health=DOWN), standby(heard=NOW - 2.0)),
        State.PROMOTING,
        None,
        "b",
        "a",
        promote="b",
    ),
    Case(
        "a database of another initdb is no standby of ours",
        seen(primary(health=DOWN, system="1"), standby(system="2")),
        State.NO_STANDBY,
        None,
        readerless=True,
    ),
    # -- promoting
    Case(
        "asked to promote, not done yet",
        seen(primary(health=DOWN), standby(), promoting="b", promoting_since=NOW - 1),
        State.PROMOTING,
        None,
        "b",
        "a",
    ),
    Case(
        "the old one comes back meanwhile: too late",
        seen(primary(), standby(), promoting="b", promoting_since=NOW - 1, deposed=("a",)),
        State.PROMOTING,
        None,
        "b",
        "a",
    ),
    Case(
        "the old one comes back after the promotion has come to nothing: it goes on",
        seen(primary(), standby(), promoting="b", promoting_since=LONG_AGO, deposed=("a",)),
        State.HEALTHY,
        "a",
        "b",
    ),
    Case(
        "the old one comes back, and what became of the promotion nobody knows: not used",
        seen(
            primary(),
            standby(health=DOWN),
            promoting="b",
            promoting_since=LONG_AGO,
            deposed=("a",),
        ),
        State.NO_STANDBY,
        None,
        fenced="ab",
    ),
    Case(
        "the same, and there is another standby",
        seen(
            primary(),
            standby(health=DOWN),
            standby("c"),
            promoting="b",
            promoting_since=LONG_AGO,
            deposed=("a",),
        ),
        State.PROMOTING,
        None,
        "c",
        "ab",
        promote="c",
    ),
    Case(
        "the same, and the probe may not look at the old one: no writer by configuration either",
        seen(
            blind("a"),
            standby(health=DOWN),
            promoting="b",
            promoting_since=LONG_AGO,
            deposed=("a",),
        ),
        State.NO_STANDBY,
        None,
        fenced="ab",
    ),
    Case(
        "the promotion comes to nothing: try again",
        seen(
            primary(health=DOWN),
            standby(),
            promoting="b",
            promoting_since=LONG_AGO,
        ),
        State.PROMOTING,
        None,
        "b",
        "a",
        promote="b",
    ),
    Case(
        "the one being promoted dies: the next one",
        seen(
            primary(health=DOWN),
            standby(health=DOWN),
            standby("c"),
            promoting="b",
            promoting_since=NOW - 1,
        ),
        State.PROMOTING,
        None,
        "c",
        "ab",
        promote="c",
    ),
    Case(
        "promoted",
        seen(
            primary(health=DOWN), primary("b", timeline=2), promoting="b", promoting_since=NOW - 1
        ),
        State.HEALTHY,
        "b",
        fenced="a",
    ),
    # -- after it
    Case(
        "the old primary is back as a standby",
        seen(standby("a", timeline=2), primary("b", timeline=2), writer="b", timeline=2),
        State.HEALTHY,
        "b",
        "a",
    ),
    Case(
        "the old primary is back as it was: never used",
        seen(primary("a"), primary("b", timeline=2), writer="b", timeline=2),
        State.SPLIT,
        "b",
        fenced="a",
        readerless=True,
    ),
    Case(
        "the old primary is back as it was, and the new one is gone: not used either",
        seen(primary("a"), primary("b", DOWN, timeline=2), writer="b", timeline=2),
        State.NO_STANDBY,
        None,
        fenced="a",
        readerless=True,
    ),
    Case(
        "a restart of the proxy finds both writable: the newest timeline",
        seen(primary("a"), primary("b", timeline=2), writer=None, timeline=0),
        State.SPLIT,
        "b",
        fenced="a",
        readerless=True,
    ),
    Case(
        "somebody promotes while the primary lives: the newest timeline",
        seen(primary("a"), primary("b", timeline=2)),
        State.SPLIT,
        "b",
        fenced="a",
        readerless=True,
    ),
    Case(
        "the same timeline twice: the one that it is",
        seen(primary("a"), primary("b"), writer="b", timeline=1),
        State.SPLIT,
        "b",
        fenced="a",
        readerless=True,
    ),
    Case(
        "a writable database of another initdb is no writer",
        seen(primary("a", system="1"), primary("b", timeline=9, system="2")),
        State.HEALTHY,
        "a",
        fenced="b",
        readerless=True,
    ),
    Case(
        "the old primary is back as it was, in the writer's timeline: not used either",
        seen(primary("a"), primary("b", DOWN), writer="b", timeline=1, deposed=("a",)),
        State.NO_STANDBY,
        None,
        fenced="a",
        readerless=True,
    ),
    Case(
        "the old primary was a standby and promoted while nobody looked",
        seen(
            primary("a", timeline=3),
            primary("b", timeline=2),
            writer="b",
            timeline=2,
            deposed=("a",),
        ),
        State.SPLIT,
        "a",
        fenced="b",
        readerless=True,
    ),
    Case(
        "the old primary is back as it was, and is the leader",
        seen(primary("a"), standby("b"), deposed=("a",), leader="a"),
        State.HEALTHY,
        "a",
        "b",
    ),
    # -- read-only, planned, blind
    Case(
        "it lives and is a standby: it reads, and whoever did that promotes another",
        seen(standby("a"), standby("b")),
        State.DEMOTED,
        None,
        "ab",
    ),
    Case(
        "it lives and is set to be read-only (FO-08)",
        seen(primary("a", refuses_writes=True), standby("b")),
        State.DEMOTED,
        None,
        "b",
    ),
    Case(
        "a planned switchover, seen at once",
        seen(standby("a"), primary("b", timeline=2)),
        State.HEALTHY,
        "b",
        "a",
    ),
    Case("the probe may not look any more", seen(blind("a"), standby()), State.BLIND, "a", "b"),
    Case(
        "its own timeline went backwards: an old backup was restored",
        seen(primary("a", timeline=1), standby(), timeline=2),
        State.DOWN,
        None,
        "b",
    ),
    # -- an orchestrator
    Case(
        "the leader by its word",
        seen(primary("a"), primary("b", timeline=2), leader="a"),
        State.SPLIT,
        "a",
        fenced="b",
        readerless=True,
    ),
    Case(
        "a paused old primary looks writable, and is not the leader",
        seen(primary("a"), standby("b"), leader="b"),
        State.DEMOTED,
        None,
        "b",
    ),
    Case(
        "the leader is dead",
        seen(primary("a", DOWN), standby("b"), leader="a", may_promote=False),
        State.DOWN,
        None,
        "b",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_table(case: Case) -> None:
    check(case)


def test_every_state_is_in_the_table() -> None:
    assert {case.state for case in CASES} == set(State)


def test_whatever_is_seen_there_is_one_writer_and_it_was_seen_writable() -> None:
    """Lessons 26 and 27: never 25006. Every pair of observations, whoever was the writer."""
    kinds = [
        maker(name, health, timeline=timeline, refuses_writes=refuses)
        for name in "ab"
        for maker in (primary, standby)
        for health in Health
        for timeline in (1, 2)
        for refuses in (False, True)
    ]
    first = [kind for kind in kinds if kind.id == "a"]
    second = [kind for kind in kinds if kind.id == "b"]
    for one, other, writer, leader, promoting, may, deposed in itertools.product(
        first,
        second,
        (None, "a", "b"),
        (None, "a", "b"),
        (None, "b"),
        (True, False),
        ((), ("a",)),
    ):
        timeline = 0 if writer is None else 1
        given = Observations(
            (one, other),
            writer,
            timeline,
            deposed=deposed,
            leader=leader,
            promoting=promoting,
            promoting_since=NOW - 1,
            may_promote=may,
        )
        decision = decide(given, NOW)
        targets = {"a": one, "b": other}
        if decision.writer is not None:
            chosen = targets[decision.writer]
            assert chosen.health is UP and chosen.role == READ_WRITE and not chosen.refuses_writes
            assert chosen.timeline >= timeline
            assert leader in (None, decision.writer)
            assert (
                decision.writer not in deposed
                or leader == decision.writer
                or chosen.timeline > timeline
                or (writer == "a" and promoting == "b" and other.role == READ_ONLY)
            )
        assert decision.writer not in decision.deposed
        for old in deposed:
            assert (
                old in decision.deposed or old == decision.writer or targets[old].role != READ_WRITE
            )
        assert decision.writer not in decision.readers
        assert decision.writer not in decision.fenced
        assert not set(decision.readers) & set(decision.fenced)
        for reader in decision.readers:
            assert targets[reader].health is UP and targets[reader].role == READ_ONLY
        if decision.promote is not None:
            assert may and writer is not None
            assert targets[writer].health is DOWN or writer in deposed
            assert targets[decision.promote].role == READ_ONLY
            assert decision.promote != writer and writer in decision.fenced
