"""FO-07: when a group of standbys is known to have its writer elsewhere, and when it is not (FO-01)."""

from __future__ import annotations

from typing import Any

import pytest

from pyproxy.targets.elsewhere import Feed, follow
from pyproxy.targets.failover import Decision, Observation, Observations, State
from tests.support.observations import DOWN, NOW, SUSPECT, blind, primary, standby


def fed(name: str, position: int, looked: float, **more: Any) -> Observation:
    """A standby that streams."""
    return standby(name, position=position, looked=looked, streaming=True)._replace(**more)


class Watch:
    """One decision after the other, at NOW, NOW + 1 and so on."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.now = NOW

    def sees(self, *targets: Observation, state: State = State.UNPROVEN) -> bool:
        """What is seen and decided; returns whether the writer is elsewhere."""
        self.feed = follow(self.feed, Decision(state, None), Observations(targets), self.now)
        self.now += 1
        return self.feed.proven

    def sees_them(self, a: int, b: int, **more: Any) -> bool:
        """Both stream, were looked at just now, and have so much."""
        return self.sees(fed("a", a, self.now), fed("b", b, self.now), **more)


@pytest.mark.parametrize("state", [State.UNPROVEN, State.DEMOTED])
def test_more_than_all_have_had_comes_from_elsewhere(state: State) -> None:
    watch = Watch()
    assert not watch.sees_them(1000, 900, state=state)
    assert not watch.sees_them(1000, 1001, state=state)
    assert watch.sees_them(1000, 1001, state=state)
    assert watch.sees_them(1001, 1001, state=state)


def test_what_one_lacks_it_may_get_from_the_other() -> None:
    """FO-01: the old primary is back as a standby, and whoever did that promotes another now."""
    watch = Watch()
    watch.sees_them(1000, 900)
    for position in (950, 1000, 1000):
        assert not watch.sees_them(1000, position)
    assert watch.feed.grown is None


def test_one_that_was_promoted_a_moment_ago_is_not_elsewhere() -> None:
    """It has not been looked at since it feeds the other."""
    watch = Watch()
    watch.sees_them(1000, 1000)
    before = fed("a", 1000, NOW)
    assert not watch.sees(before, fed("b", 1001, NOW + 1))
    assert not watch.sees(before, fed("b", 1001, NOW + 2))
    assert not watch.sees(primary("a", position=1002, looked=NOW + 3), fed("b", 1001, NOW + 3))
    assert watch.feed == Feed()


@pytest.mark.parametrize(
    "other",
    [
        fed("b", 1001, NOW + 9, health=SUSPECT),
        fed("b", 1001, NOW + 9, health=DOWN),
        fed("b", 1001, NOW + 9, streaming=False),
        primary("b", position=1001, refuses_writes=True),
        blind("b"),
    ],
    ids=["suspect", "down", "streams no more", "set to be read-only", "not to be seen"],
)
def test_it_begins_anew_when_one_may_be_the_writer(other: Observation) -> None:
    watch = Watch()
    watch.sees_them(1000, 1000)
    watch.sees_them(1001, 1000)
    assert watch.sees_them(1001, 1001)
    assert not watch.sees(fed("a", 1001, NOW + 9), other)
    assert not watch.sees_them(1001, 1001)
    assert not watch.sees_them(1001, 1001)


@pytest.mark.parametrize("state", [s for s in State if s not in (State.UNPROVEN, State.DEMOTED)])
def test_where_somebody_writes_or_is_about_to_clients_wait(state: State) -> None:
    watch = Watch()
    for position in (1000, 1001, 1002, 1003):
        assert not watch.sees_them(position, 1000, state=state)
