"""Places move between workers when it helps, and stay otherwise: each move is a new connection."""

from __future__ import annotations

import random

import pytest

from pyproxy.pooling.leased import REST, STAY
from pyproxy.upkeep import TICK
from tests.support.crew import TRANSACTION, Crew, Habit, between, busy, pausing

SELDOM = pausing(0.1, 0.5)


def settled(total: int, *habits: list[Habit], seed: int = 1) -> Crew:
    """Workers 1, 2, ... that have found their shares."""
    crew = Crew(total, dict(enumerate(habits, 1)), seed)
    crew.play(3)
    crew.forget()
    return crew


@pytest.mark.parametrize("counts", [(7, 3), (6, 6), (5, 4), (5, 3), (20, 2), (20, 1), (9, 2, 2)])
def test_the_places_of_busy_workers_stay(counts: tuple[int, ...]) -> None:
    crew = settled(8, *([busy] * count for count in counts))
    crew.play(10)
    assert crew.opened == 0
    assert sum(crew.shares.values()) == 8


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
def test_few_places_move_for_clients_that_pause(ours: list[Habit], theirs: list[Habit]) -> None:
    crew = settled(8, ours, theirs)
    crew.play(10)
    assert crew.opened <= 20
    assert max(crew.longest(1), crew.longest(2)) < 0.1


def test_the_places_of_those_who_pause_go_to_those_who_are_busy() -> None:
    """One or two are enough for clients that seldom ask: their wishes are a moment's."""
    crew = settled(8, [busy] * 10, [SELDOM] * 9)
    crew.play(10)
    assert crew.served > 0.8 * 8 * 10 / TRANSACTION


def test_a_worker_whose_clients_have_gone_quiet_gives_its_places_up() -> None:
    crew = settled(8, [between(0, 4)] * 8, [between(4, 99)] * 8)
    assert crew.shares == {1: 8, 2: 0}
    crew.play(1 + REST + 2 * TICK + 0.1)
    assert crew.shares == {1: 0, 2: 8}


def test_a_worker_that_wakes_gets_its_fair_share() -> None:
    crew = settled(8, [busy] * 20, [between(4, 99)] * 20)
    assert crew.shares == {1: 8, 2: 0}
    crew.play(1 + 2 * TICK + 0.1)
    assert crew.shares == {1: 4, 2: 4}
    assert crew.longest(2) < 0.4
    crew.forget()
    crew.play(5)
    assert crew.opened == 0
    assert max(crew.longest(1), crew.longest(2)) < 10 * TRANSACTION


def test_a_place_for_two_workers_goes_round() -> None:
    """It works for most of the time, and nobody waits for more than a few turns."""
    crew = settled(1, [busy] * 3, [busy] * 3)
    crew.play(10)
    assert crew.opened <= 10 / STAY
    assert crew.served > 0.7 * 10 / TRANSACTION
    assert max(crew.longest(1), crew.longest(2)) < 2.5 * STAY


@pytest.mark.parametrize("seed", range(20))
def test_whatever_clients_do_nobody_waits_long_and_little_is_opened(seed: int) -> None:
    """Invariant 8 at every step; the pauses are such that what is needed changes all the time."""
    dice = random.Random(seed)
    total = dice.randint(4, 16)
    habits = [busy, pausing(0, 0.02), pausing(0, 0.05), pausing(0, 0.2), pausing(0, 1)]
    crew = settled(
        total,
        *(
            [dice.choice(habits)] * dice.randint(1, total + total // 2)
            for _ in range(dice.randint(2, 4))
        ),
        seed=seed,
    )
    crew.play(4)
    assert crew.opened <= 4 * 8
    assert max(map(crew.longest, crew.workers)) < 0.2
