"""The budget of one target over several workers."""

from __future__ import annotations

import random

import pytest

from pyproxy.workers.budget import Budget, Claimed, Granted, Refused


def budget_of(total: int, *shares: int) -> Budget:
    """A budget whose workers 1, 2, ... have these shares."""
    budget = Budget(total)
    for worker, share in enumerate(shares, 1):
        budget.joined(worker)
        if share:
            budget.want(worker, share)
    budget.settle()
    return budget


def test_who_wants_places_gets_them_while_there_are_some() -> None:
    budget = budget_of(10, 0, 0)
    budget.want(1, 3)
    assert budget.settle() == [(1, Granted(3))]
    assert (budget.shares, budget.free) == ({2: 0, 1: 3}, 7)


def test_before_anything_is_known_there_is_one_place() -> None:
    budget = Budget()
    for worker in (1, 2):
        budget.joined(worker)
        budget.want(worker, 5)
    assert [order for _, order in budget.settle() if isinstance(order, Granted)] == [Granted(1)]


def test_free_places_go_to_the_smallest_share() -> None:
    budget = budget_of(8, 4, 0)
    budget.want(1, 4)
    budget.want(2, 3)
    assert dict(budget.settle()[:2]) == {2: Granted(3), 1: Granted(1)}


def test_what_a_worker_does_not_need_is_asked_for() -> None:
    budget = budget_of(4, 4, 0)
    budget.want(2, 1)
    assert budget.settle() == [(2, Refused()), (1, Claimed(1, 1))]


def test_above_a_fair_share_nothing_is_taken_from_who_needs_it() -> None:
    budget = budget_of(4, 2, 2)
    budget.want(2, 3)
    assert budget.settle() == [(2, Refused()), (1, Claimed(2, 0))]
    budget.want(1, 1)
    assert (1, Claimed(0, 0)) in budget.settle()


def test_who_has_some_gets_its_fair_share_when_its_wish_lasts() -> None:
    """In the time that a place takes to move, a moment's line is served without it."""
    budget = budget_of(4, 3, 1)
    budget.want(1, 1)
    budget.want(2, 1)
    assert budget.settle() == [(1, Refused()), (2, Refused())]
    budget.want(2, 1, lasting=True)
    assert budget.settle() == [(1, Claimed(1, 1))]
    budget.want(2, 1)
    assert budget.settle() == [(1, Claimed(0, 0))]


def test_while_somebody_waits_for_long_a_place_goes_from_who_has_nobody_waiting() -> None:
    """Its own share may be pinned, and none of the others' may ever idle for long."""
    budget = budget_of(4, 2, 2)
    budget.want(2, 2, lasting=True)
    assert budget.settle() == [(2, Refused()), (1, Claimed(2, 0))]
    budget.want(2, 2, lasting=True, pressing=True)
    assert budget.settle() == [(1, Claimed(2, 1))]
    budget.gave(1, 1)
    assert budget.settle() == [(2, Granted(1)), (2, Refused())]
    assert budget.shares == {1: 1, 2: 3}


def test_a_wish_does_not_count_what_was_granted_meanwhile() -> None:
    """Else it would stand for ever, and its worker keep what idles from others."""
    budget = budget_of(4, 0, 0)
    budget.want(1, 1, share=0)
    assert budget.settle() == [(1, Granted(1))]
    budget.want(1, 2, share=0)
    assert budget.settle() == [(1, Granted(1))]
    assert budget.wants == {}


def test_pinned_places_are_asked_of_nobody() -> None:
    """Who has most may have nothing to give."""
    budget = budget_of(8, 2, 4, 2)
    budget.want(2, 0, kept=4)
    budget.want(1, 1, lasting=True, pressing=True, kept=2)
    assert (3, Claimed(1, 1)) in budget.settle()


def test_what_is_fair_is_reckoned_without_pinned_places() -> None:
    """Clients of one worker must not starve because some of them are pinned there."""
    budget = budget_of(8, 4, 4)
    budget.want(1, 9, lasting=True, kept=4)
    budget.want(2, 9, lasting=True)
    assert (2, Claimed(2, 2)) in budget.settle()
    budget.gave(2, 2)
    assert budget.settle() == [(1, Granted(2)), (1, Refused())]


def test_one_place_goes_round_though_another_is_pinned() -> None:
    budget = budget_of(2, 1, 1, 0)
    budget.want(1, 0, kept=1)
    budget.want(2, 1)
    budget.want(3, 1)
    assert (2, Claimed(1, 1)) in budget.settle()


def test_a_place_given_goes_to_who_wanted_it_and_the_claim_ends() -> None:
    budget = budget_of(4, 4, 0)
    budget.want(2, 1)
    budget.settle()
    budget.gave(1, 1)
    assert budget.settle() == [(2, Granted(1))]
    assert budget.shares == {1: 3, 2: 1}


def test_a_claim_ends_when_nobody_wants_any_more() -> None:
    budget = budget_of(4, 4, 0)
    budget.want(2, 1)
    budget.settle()
    budget.want(2, 0)
    assert budget.settle() == [(1, Claimed(0, 0))]


def test_the_places_of_a_dead_worker_are_free_only_when_the_database_has_let_go() -> None:
    budget = budget_of(4, 4, 0)
    budget.want(2, 2)
    assert budget.died(1) == 4
    assert not [o for _, o in budget.settle() if isinstance(o, Granted)]
    budget.restored(4)
    assert budget.settle() == [(2, Granted(2))]


def test_one_place_goes_round() -> None:
    budget = budget_of(1, 1, 0)
    budget.want(1, 2)
    budget.want(2, 2)
    assert (1, Claimed(1, 1)) in budget.settle()
    budget.gave(1, 1)
    orders = budget.settle()
    assert (2, Granted(1)) in orders
    assert (2, Claimed(1, 1)) in orders


def test_a_smaller_total_is_claimed_from_everybody_who_has_places() -> None:
    budget = budget_of(8, 4, 4)
    budget.total = 6
    assert budget.settle() == [(1, Claimed(2, 2)), (2, Claimed(2, 2))]


@pytest.mark.parametrize("seed", range(50))
def test_whatever_happens_the_total_is_kept_and_nobody_starves(seed: int) -> None:
    """Invariant 8, for any order of wishes, gifts and deaths; and claims do free what is wanted."""
    dice = random.Random(seed)
    budget = budget_of(dice.randint(1, 12), 0, 0, 0)
    owed: dict[int, Claimed] = {}
    held: list[int] = []
    for _ in range(400):
        worker = dice.choice(sorted(budget.shares))
        match dice.randrange(6):
            case 0 | 1:
                moods = dice.random() < 0.5, dice.random() < 0.2
                budget.want(worker, dice.randint(0, 6), *moods)
            case 2 | 3:
                places = min(owed.get(worker, Claimed(0, 0)).spare, budget.shares[worker])
                if places:
                    budget.gave(worker, places)
            case 4 if dice.random() < 0.1:
                held.append(budget.died(worker))
                budget.joined(worker)
                owed.pop(worker, None)
            case 5 if held:
                budget.restored(held.pop())
        owed |= {told: order for told, order in budget.settle() if isinstance(order, Claimed)}
        assert budget.free >= 0
        assert all(share >= 0 for share in budget.shares.values())
        assert not (budget.free and budget.wants)
        starving = [w for w in budget.wants if not budget.shares[w]]
        if starving and any(budget.shares.values()):
            assert any(claim.must for claim in budget._claims.values())
