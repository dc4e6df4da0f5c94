"""Whatever clients, databases, workers and operators do: `tests.support.playbook` says what holds."""

from __future__ import annotations

import random

import pytest

from tests.support.playbook import Playbook


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("workers", [0, 1, 2, 4], ids=["one process", "1", "2", "4"])
def test_nobody_is_overlooked_and_nothing_is_left_behind(workers: int, seed: int) -> None:
    dice = random.Random(seed)
    book = Playbook(
        dice,
        total=dice.randint(1, 12),
        workers=workers,
        users=dice.randint(1, 5),
        pinning=dice.choice((0.0, 0.002, 0.02)),
        crowd=dice.choice((6, 20, 60)),
    )
    book.play(20)
    book.end()


@pytest.mark.parametrize("seed", range(40))
def test_of_one_user_all_are_served_in_turn_wherever_they_are(seed: int) -> None:
    """In calmer times: what one worker knows of another must not become stale."""
    dice = random.Random(seed)
    book = Playbook(
        dice,
        total=dice.randint(1, 12),
        workers=dice.randint(2, 5),
        users=1,
        pinning=dice.choice((0.0, 0.003, 0.02)),
        crowd=dice.choice((8, 16, 40)),
        unrest=0.04,
    )
    book.play(90)
    book.end()
