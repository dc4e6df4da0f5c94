"""What becomes free is lent on at the end of the loop's turn: what can happen until then."""

from __future__ import annotations

from pyproxy.pooling.pool import Pool
from tests.support.pools import Client, House, Server


def busy(servers: int) -> tuple[House, Pool[Server], list[Client]]:
    """A house whose servers are all lent, and who has them."""
    house = House(servers)
    pool = house.pool()
    holders = [house.borrow(pool) for _ in range(servers)]
    house.settle()
    return house, pool, holders


def test_what_becomes_free_is_lent_at_the_end_of_the_turn() -> None:
    house, pool, holders = busy(2)
    waiting = [house.borrow(pool) for _ in range(3)]
    house.defers = True
    for holder in holders:
        house.release(holder)
    assert [client.server for client in waiting] == [None] * 3
    assert len(house.later) == 1
    house.turn()
    assert [client.server is not None for client in waiting] == [True, True, False]
    assert (len(pool.lent), pool.idle) == (2, [])


def test_nobody_overtakes_those_in_line_before_the_turn_is_over() -> None:
    house, pool, (holder,) = busy(1)
    first = house.borrow(pool)
    house.defers = True
    house.release(holder)
    second = house.borrow(pool)
    assert (second.server, house.opening) == (None, [])
    house.turn()
    assert (first.server is not None, second.server) == (True, None)
    house.release(first)
    house.turn()
    assert second.server is not None


def test_what_nobody_gets_at_the_end_of_the_turn_idles_since_it_came_back() -> None:
    """Not since it idled last: it would seem spare to other pools and workers."""
    house, pool, holders = busy(2)
    house.borrow(pool)
    house.defers = True
    house.now += 60
    for holder in holders:
        house.release(holder)
    house.turn()
    assert [server.idle_since for server in pool.idle] == [house.now]


def test_what_ends_before_the_turn_is_over_is_lent_to_nobody() -> None:
    house, pool, holders = busy(2)
    first, second = house.borrow(pool), house.borrow(pool)
    house.defers = True
    sound, ended = (holder.server for holder in holders)
    for holder in holders:
        house.release(holder)
    assert sound is not None and ended is not None
    ended.ended = True
    house.turn()
    # Who was the first in line is it still, and has got the one that is left.
    assert (first.server, second.server) == (sound, None)
    house.pools.closed(pool, ended)
    house.settle()
    assert second.server is not None and second.server.number == 3


def test_who_comes_from_another_target_gets_what_is_idle() -> None:
    house, pool, (client,) = busy(1)
    house.release(client)
    moved = Client("moved")
    house.pools.stand(pool, moved)
    assert (moved.server is not None, house.opening, house.pools.waits) == (True, [], 0)


def test_those_in_line_may_leave_before_the_turn_is_over() -> None:
    house, pool, (holder,) = busy(1)
    waiting = house.borrow(pool)
    house.defers = True
    house.release(holder)
    house.pools.leave(pool, waiting)
    house.turn()
    assert (waiting.server, len(pool.idle), len(pool.lent)) == (None, 1, 0)
    assert house.borrow(pool).server is not None
