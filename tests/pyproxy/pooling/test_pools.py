"""The pools: who gets which server, and what that costs the others."""

from __future__ import annotations

import random

import pytest

from pyproxy.errors import ProxyError, no_reader
from pyproxy.pooling.pools import IDLE_MARK, LONG, MAX_LIFE, OPENING, REST, STAY, PoolLimits
from tests.support.pools import Client, House


def test_a_server_is_opened_for_the_first_client_and_kept() -> None:
    house = House(10)
    pool = house.pool()
    client = house.borrow(pool)
    assert client.server is None
    house.settle()
    assert client.server is not None
    first = client.server
    house.release(client)
    assert house.borrow(pool).server is first
    assert house.made == 1


def test_the_server_used_last_is_lent_first() -> None:
    house = House(10)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(3)]
    house.settle()
    for client in clients:
        house.release(client)
    assert house.borrow(pool).server is pool.lent.copy().pop()
    assert [server.number for server in pool.idle] == [1, 2]


def test_waiting_is_first_come_first_served() -> None:
    house = House(1)
    pool = house.pool()
    holder = house.borrow(pool)
    house.settle()
    waiting = [house.borrow(pool, str(number)) for number in range(5)]
    for client in waiting:
        assert client.server is None
        house.release(holder)
        assert client.server is not None
        holder = client


def test_the_budget_is_never_exceeded() -> None:
    """Invariant 8."""
    house = House(3)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(10)]
    house.settle()
    assert house.made == 3
    assert house.pools.used == 3
    assert sum(client.server is not None for client in clients) == 3


def test_a_burst_opens_some_servers_at_a_time() -> None:
    """The first of them serve meanwhile: who asks for little has been served by then."""
    house = House(100)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(120)]
    assert len(house.opening) == OPENING
    house.open_one()
    assert clients[0].server is not None
    assert len(house.opening) == OPENING
    for client in clients:
        house.release(client)
    house.settle()
    assert house.made == 1 + OPENING


def test_a_burst_that_lasts_gets_all_that_it_may_have() -> None:
    house = House(100)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(120)]
    house.settle()
    assert (house.made, sum(client.server is not None for client in clients)) == (100, 100)


def test_an_idle_server_of_another_pool_makes_room() -> None:
    """C-06: many users make many small pools, which share the budget."""
    house = House(2)
    for user in ("a", "b"):
        client = house.borrow(house.pool(user))
        house.settle()
        house.now += 1
        house.release(client)
    client = house.borrow(house.pool("c"))
    assert [server.number for server in house.closing] == [1], "the one idle for longest"
    assert not house.opening, "its place is not free before the database has let go"
    house.settle()
    assert client.server is not None
    assert house.pools.used == 2


def test_a_busy_pool_does_not_starve_another() -> None:
    house = House(1)
    busy, other = house.pool("busy"), house.pool("other")
    holder = house.borrow(busy)
    house.settle()
    starving = house.borrow(other)
    house.now += 1
    behind = [house.borrow(busy) for _ in range(3)]
    house.release(holder)
    house.settle()
    assert starving.server is not None, "it has waited longest"
    house.release(starving)
    house.settle()
    assert behind[0].server is not None


def two_pools(mine: int, theirs: int) -> tuple[House, list[Client], list[Client]]:
    """Two pools that have the whole budget between them, with all servers lent."""
    house = House(mine + theirs)
    ours = [house.borrow(house.pool("mine")) for _ in range(mine)]
    others = [house.borrow(house.pool("theirs")) for _ in range(theirs)]
    house.settle()
    return house, ours, others


def test_a_server_between_two_transactions_makes_no_room_for_a_pool_that_has_some() -> None:
    """Its place would be wanted back a moment later; one that nobody has used for REST does."""
    house, ours, _ = two_pools(2, 2)
    waiting = house.borrow(house.pool("theirs"))
    house.release(ours[0])
    again = house.borrow(house.pool("mine"))
    house.release(again)
    assert not house.closing
    house.now += 2 * REST
    house.pools.expire()
    house.settle()
    assert waiting.server is not None


def test_a_server_between_two_transactions_makes_room_for_a_pool_that_has_none() -> None:
    house, ours, _ = two_pools(2, 0)
    house.release(ours[0])
    first = house.borrow(house.pool("theirs"))
    house.settle()
    assert first.server is not None


def test_one_comes_back_for_one_that_waits_in_a_pool_that_has_none() -> None:
    house, ours, _ = two_pools(3, 0)
    house.borrow(house.pool("theirs"))
    house.now += 2 * STAY
    for _ in range(3):
        house.borrow(house.pool("mine"))
    for client in ours:
        house.release(client)
    assert len(house.closing) == 1


def test_a_fair_share_is_for_those_who_wait_from_one_look_to_the_next() -> None:
    house, ours, _ = two_pools(3, 1)
    waiting = house.borrow(house.pool("theirs"))
    house.release(ours[0])
    assert not house.closing, "it may be a moment's line"
    house.pools.expire()
    house.settle()
    assert waiting.server is not None
    assert (house.pool("mine").size, house.pool("theirs").size) == (2, 2)
    house.borrow(house.pool("theirs"))
    house.pools.expire()
    house.release(ours[1])
    assert not house.closing, "nor is more than that taken from who has used it just now"


def test_a_line_that_was_empty_since_the_last_look_does_not_last() -> None:
    house, ours, others = two_pools(3, 1)
    house.release(others[0])
    others = [house.borrow(house.pool("theirs")) for _ in range(2)]
    house.pools.expire()
    house.release(ours[0])
    assert not house.closing


def test_who_has_waited_for_long_gets_the_first_that_idles() -> None:
    """What its own pool has may be pinned, and none of the other's may ever idle for long."""
    house, ours, _ = two_pools(1, 1)
    waiting = house.borrow(house.pool("theirs"))
    house.now += 2 * LONG
    house.release(ours[0])
    house.settle()
    assert waiting.server is not None


def test_a_new_server_stays_with_those_in_line_for_a_moment() -> None:
    """Pools that pass one place round must not spend their time on opening connections."""
    house, (holder,), _ = two_pools(1, 0)
    starving = house.borrow(house.pool("theirs"))
    house.now += STAY / 2
    second, third = house.borrow(house.pool("mine")), house.borrow(house.pool("mine"))
    house.release(holder)
    assert (second.server is not None, house.closing) == (True, [])
    house.now += STAY
    house.release(second)
    house.settle()
    assert (starving.server is not None, third.server) == (True, None)


def test_waiting_longer_than_the_borrow_timeout_is_refused() -> None:
    """E-PG-16, S-04."""
    house = House(1, timeout=10)
    pool = house.pool()
    house.borrow(pool)
    house.settle()
    early = house.borrow(pool)
    house.now += 5
    late = house.borrow(pool)
    house.now += 5
    house.pools.expire()
    assert early.error is not None and early.error.sqlstate == "08000"
    assert late.error is None
    assert list(pool.waiting) == [late]


def test_a_borrow_timeout_of_zero_refuses_at_once() -> None:
    """Q-17."""
    house = House(5, timeout=0)
    pool = house.pool()
    assert house.borrow(pool).error is not None
    # Somebody has to be the first: whoever asks after that finds a server, and one is enough.
    assert house.borrow(pool).error is not None
    assert house.opening == [pool]
    house.settle()
    assert house.borrow(pool).server is not None


def test_a_login_waits_for_the_first_server_even_where_nobody_may_wait() -> None:
    """Q-17: a login borrows nothing yet, and without a server there is nothing to tell a client."""
    house = House(5, timeout=0)
    pool = house.pool()
    visitor = Client()
    house.pools.wait(pool, visitor, at_login=True)
    house.now += 5
    house.pools.expire()
    assert visitor.error is None
    house.settle()
    assert visitor.server is not None
    late = Client()
    house.pools.wait(house.pool("other"), late, at_login=True)
    house.now += 11
    house.pools.expire()
    assert late.error is not None


def test_a_client_that_leaves_the_line_gets_nothing() -> None:
    house = House(1)
    pool = house.pool()
    holder = house.borrow(pool)
    house.settle()
    gone, next_one = house.borrow(pool), house.borrow(pool)
    house.pools.leave(pool, gone)
    house.release(holder)
    assert gone.server is None and next_one.server is not None


def test_a_failed_attempt_is_tried_again_later_for_those_who_wait() -> None:
    house = House(1)
    pool = house.pool()
    client = house.borrow(pool)
    house.pools.open_failed(house.opening.pop(), "connection refused", None)
    assert not house.opening and client.error is None and house.pools.used == 0
    house.now += 1
    house.pools.serve()
    house.settle()
    assert client.server is not None


def test_a_refusal_that_waiting_cannot_mend_reaches_all_who_wait() -> None:
    """E-PG-17."""
    house = House(1)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(3)]
    error = ProxyError("FATAL", "XX000", "Request returned an error")
    house.pools.open_failed(house.opening.pop(), "no such database", error)
    assert [client.error for client in clients] == [error] * 3
    assert not pool.waiting and not house.opening


def test_a_smaller_budget_is_kept_to_as_soon_as_servers_come_back() -> None:
    """S-02, invariant 8: a reload may have lowered the percentage."""
    house = House(6)
    busy, calm = house.pool("busy"), house.pool("calm")
    clients = [house.borrow(pool) for pool in (busy, busy, busy, calm, calm, calm)]
    house.settle()
    for client in clients[3:]:
        house.release(client)
    house.pools.limits = PoolLimits(2, 2, 120.0)
    house.pools.care()
    house.close_all()
    assert house.pools.used == 3, "what idles is closed, what is lent is not"
    waiting = [house.borrow(busy) for _ in range(2)]
    for client in clients[:3]:
        house.release(client)
    house.close_all()
    assert house.pools.used == 2
    assert all(client.server is not None for client in waiting)
    house.check()


def test_idle_servers_beyond_the_percentage_are_closed_after_five_minutes() -> None:
    """S-03, S-15."""
    house = House(10, idle=1)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(3)]
    house.settle()
    for client in clients:
        house.now += 1
        house.release(client)
    house.now += IDLE_MARK - 3
    house.pools.care()
    assert not house.closing
    house.now += 10
    house.pools.care()
    assert [server.number for server in house.closing] == [1, 2]


def test_servers_of_several_pools_may_be_idle_since_the_same_moment() -> None:
    """As they are after a failover: all come back in one turn of the loop."""
    house = House(10, idle=1)
    clients = [house.borrow(house.pool(user)) for user in ("one", "two", "one", "two")]
    house.settle()
    for client in clients:
        house.release(client)
    house.now += IDLE_MARK + 1
    house.pools.care()
    assert len(house.closing) == 3


def test_an_old_server_is_closed_when_idle_and_not_with_the_others_of_its_age() -> None:
    """S-14; the jitter keeps them from dying together."""
    house = House(50, idle=50)
    pool = house.pool()
    clients = []
    for _ in range(20):
        house.now += 0.37
        clients.append(house.borrow(pool))
        house.settle()
    for client in clients:
        house.release(client)
    ages = []
    for _ in range(100):
        house.now += MAX_LIFE / 500
        before = len(house.closing)
        if house.now > 1000 + MAX_LIFE * 0.99:
            house.pools.care()
        ages += [house.now] * (len(house.closing) - before)
    house.now = 1000 + MAX_LIFE
    for _ in range(60):
        house.now += MAX_LIFE / 500
        before = len(house.closing)
        house.pools.care()
        ages += [house.now] * (len(house.closing) - before)
    assert len(house.closing) == 20
    assert len(set(ages)) > 5


def test_paused_pools_lend_and_open_nothing_and_go_on_where_they_stopped() -> None:
    """A target under suspicion: whoever comes waits, and nobody gets a server meanwhile."""
    house = House(2)
    pool = house.pool()
    first, second = house.borrow(pool), house.borrow(pool)
    house.settle()
    house.release(first)
    house.pools.pause()
    third = house.borrow(pool)
    house.release(second)
    assert third.server is None and not pool.idle and len(pool.shelf) == 2
    house.pools.resume()
    assert third.server is not None
    assert len(pool.idle) == 1 and not pool.shelf


def test_resuming_opens_at_once_whatever_failed_before() -> None:
    house = House(1)
    pool = house.pool()
    client = house.borrow(pool)
    house.opening.clear()
    house.pools.pause()
    house.pools.open_failed(pool, "connection refused", None)
    assert not house.opening
    house.pools.resume()
    assert house.opening == [pool]
    house.settle()
    assert client.server is not None


def test_a_wait_that_began_elsewhere_keeps_its_time() -> None:
    house = House(1, timeout=10.0)
    pool = house.pool()
    house.pools.pause()
    client = Client()
    client.waiting_since = house.now - 9
    house.pools.stand(pool, client)
    house.now += 2
    house.pools.expire()
    assert client.error is not None and client.error.sqlstate == "08000"


def test_where_nobody_can_be_helped_those_who_wait_and_those_who_come_are_refused() -> None:
    """FO-04: no readers at all are an immediate error."""
    house = House(1)
    pool = house.pool()
    house.pools.pause()
    early = house.borrow(pool)
    house.pools.refuse(no_reader())
    late = house.borrow(pool)
    assert early.error is not None and late.error is not None
    house.pools.refuse(None)
    assert house.borrow(pool).error is None


def test_that_nobody_can_be_helped_is_said_before_that_nobody_may_wait() -> None:
    """Q-17: who may not wait is told why it would have been in vain."""
    house = House(1, timeout=0)
    pool = house.pool()
    house.pools.pause()
    house.pools.refuse(no_reader())
    error = house.borrow(pool).error
    assert error is not None and str(error) == str(no_reader())


def test_a_shelved_server_that_dies_is_gone() -> None:
    house = House(1)
    pool = house.pool()
    client = house.borrow(pool)
    house.settle()
    server = client.server
    assert server is not None
    house.release(client)
    house.pools.pause()
    house.pools.closed(pool, server)
    house.pools.resume()
    assert not pool.idle and not pool.size


def test_an_unused_pool_is_forgotten_and_a_used_one_is_not() -> None:
    house = House(1)
    used, unused = house.pool("used"), house.pool("unused")
    used.clients = 1
    house.pools.care()
    assert list(house.pools) == [used]
    assert house.pool("unused") is not unused


@pytest.mark.parametrize("seed", range(30))
def test_invariants_hold_whatever_happens(seed: int) -> None:
    """Lesson 36: a random walk with the invariants checked after each step."""
    rng = random.Random(seed)
    house = House(rng.randint(1, 6), idle=rng.randint(0, 6), timeout=30)
    house.defers = True
    users = [f"user{number}" for number in range(rng.randint(1, 5))]
    clients: list[Client] = []
    for _ in range(400):
        # Mostly within the same tick of the clock; now and then long enough to be idle.
        house.now += rng.choice((0, 0, rng.random(), IDLE_MARK))
        holders = [client for client in clients if client.server is not None]
        waiting = [client for client in clients if client.server is None and client.error is None]
        match rng.randrange(9):
            case 0 | 1 | 2:
                clients.append(house.borrow(house.pool(rng.choice(users))))
            case 3 | 4 if holders:
                client = rng.choice(holders)
                clients.remove(client)
                house.release(client)
            case 5:
                house.open_all()
            case 6:
                house.close_all()
            case 7 if waiting:
                client = rng.choice(waiting)
                clients.remove(client)
                for pool in house.pools:
                    house.pools.leave(pool, client)
            case 8:
                house.turn()
            case _:
                house.pools.expire()
                house.pools.care()
        held = [client.server for client in clients if client.server is not None]
        assert len(held) == len(set(held)), "a server is lent twice"
        house.check()
    for _ in range(200):
        house.settle()
        house.turn()
        for client in clients:
            if client.server is not None:
                house.release(client)
        house.now += 0.1
    assert all(client.error is not None or client.server is None for client in clients)
    assert not any(pool.waiting for pool in house.pools), "somebody waits though servers are free"
