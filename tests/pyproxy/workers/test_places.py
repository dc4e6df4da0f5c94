"""Places move when it helps, and stay otherwise: each move is a new connection.

Between two workers, and as well between two pools of one.
"""

from __future__ import annotations

import random
from typing import Protocol

import pytest

from pyproxy.pooling.leased import KEPT
from pyproxy.pooling.pools import LONG, REST, STAY
from pyproxy.upkeep import TICK
from tests.support.crew import TRANSACTION, Alone, Crew, Habit, Play, between, busy, pausing

SELDOM = pausing(0.1, 0.5)


class Settled(Protocol):
    """Groups of clients 1, 2, ... that have had three seconds to find their shares."""

    def __call__(self, total: int, *habits: list[Habit], seed: int = 1) -> Play: ...


@pytest.fixture(params=[Crew, Alone])
def settled(request: pytest.FixtureRequest) -> Settled:
    def settle(total: int, *habits: list[Habit], seed: int = 1) -> Play:
        play: Play = request.param(total, dict(enumerate(habits, 1)), seed)
        play.play(3)
        play.forget()
        return play

    return settle


@pytest.mark.parametrize("counts", [(7, 3), (6, 6), (5, 4), (5, 3), (20, 2), (20, 1), (9, 2, 2)])
def test_the_places_of_busy_workers_stay(settled: Settled, counts: tuple[int, ...]) -> None:
    play = settled(8, *([busy] * count for count in counts))
    play.play(10)
    assert play.opened <= 2
    assert sum(play.shares.values()) == 8


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([busy] * 10, [SELDOM] * 2),
        ([busy] * 10, [SELDOM] * 9),
        ([busy] * 8, [pausing(0, 0.1)] * 8),
        ([pausing(0, 0.02)] * 10, [pausing(0, 0.02)] * 4),
        ([pausing(0, 0.02)] * 8, [pausing(0, 0.02)] * 8),
    ],
)
def test_few_places_move_for_clients_that_pause(
    settled: Settled, ours: list[Habit], theirs: list[Habit]
) -> None:
    play = settled(8, ours, theirs)
    play.play(10)
    assert play.opened <= 40
    assert max(play.longest(1), play.longest(2)) < 0.1


def test_the_places_of_those_who_pause_go_to_those_who_are_busy(settled: Settled) -> None:
    """One or two are enough for clients that seldom ask: their wishes are a moment's."""
    play = settled(8, [busy] * 10, [SELDOM] * 9)
    play.play(10)
    assert play.served > 0.8 * 8 * 10 / TRANSACTION


def test_a_worker_whose_clients_have_gone_quiet_gives_its_places_up(settled: Settled) -> None:
    play = settled(8, [between(0, 4)] * 8, [between(4, 99)] * 8)
    assert play.shares == {1: 8, 2: 0}
    play.play(1 + REST + 2 * TICK + 0.1)
    assert play.shares == {1: 0, 2: 8}


def test_a_worker_that_wakes_gets_its_fair_share(settled: Settled) -> None:
    play = settled(8, [busy] * 20, [between(4, 99)] * 20)
    assert play.shares == {1: 8, 2: 0}
    play.play(1 + 2 * TICK + 0.1)
    assert play.shares == {1: 4, 2: 4}
    assert play.longest(2) < 0.4
    play.forget()
    play.play(5)
    assert play.opened == 0
    assert max(play.longest(1), play.longest(2)) < 10 * TRANSACTION


@pytest.mark.parametrize("kind", [Crew, Alone])
def test_beside_a_pinned_server_nobody_waits_for_long(kind: type[Play]) -> None:
    """Its share is used up, and no server of the others idles for longer than a moment."""
    play = kind(3, {1: [busy] * 2, 2: [busy]})
    play.pin(2)
    play.play(60)
    assert play.longest(2) < LONG + 2 * TICK
    assert play.opened < 60


def test_where_one_workers_servers_are_pinned_another_one_gives() -> None:
    """It is not asked in vain, and nobody else, because it has most."""
    play = Crew(7, {1: [between(8, 99)], 2: [between(99, 99)], 3: [pausing(0, 0.1)] * 3})
    for number in (2, 2, 2, 2, 1):
        play.pin(number)
    play.play(30)
    assert max(map(play.longest, play.clients)) < 2 * LONG


def test_beside_pinned_servers_nobody_starves_though_all_are_busy() -> None:
    """The kernel deals the clients: those who pin may all be at one worker."""
    play = Crew(8, {1: [busy] * 20, 2: [busy] * 20})
    for _ in range(4):
        play.pin(1)
    play.play(KEPT + 1)
    play.forget()
    play.play(20)
    assert max(play.longest(1), play.longest(2)) < 0.5
    assert play.opened <= 4


def test_a_place_for_two_workers_goes_round(settled: Settled) -> None:
    """It works for most of the time, and nobody waits for more than a few turns."""
    play = settled(1, [busy] * 3, [busy] * 3)
    play.play(10)
    assert play.opened <= 10 / STAY
    assert play.served > 0.7 * 10 / TRANSACTION
    assert max(play.longest(1), play.longest(2)) < 2.5 * STAY


@pytest.mark.parametrize("seed", range(20))
def test_whatever_clients_do_nobody_waits_long_and_little_is_opened(
    settled: Settled, seed: int
) -> None:
    """Invariant 8 at every step; the pauses are such that what is needed changes all the time."""
    dice = random.Random(seed)
    total = dice.randint(4, 16)
    habits = [busy, pausing(0, 0.02), pausing(0, 0.05), pausing(0, 0.2), pausing(0, 1)]
    play = settled(
        total,
        *(
            [dice.choice(habits)] * dice.randint(1, total + total // 2)
            for _ in range(dice.randint(2, 4))
        ),
        seed=seed,
    )
    play.play(4)
    assert play.opened <= 4 * 10
    assert max(map(play.longest, play.clients)) < 0.2
