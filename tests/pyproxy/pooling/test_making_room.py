"""Whose server goes for whom: only for who can use its place, and for everybody who can."""

from __future__ import annotations

from pyproxy.pooling.pools import FIRST_RETRY, LAST_RETRY, REST
from tests.support.pools import House


def test_who_cannot_open_a_server_takes_none_from_others() -> None:
    """A role may have a CONNECTION LIMIT: what is closed for it is opened for nothing."""
    house = House(2)
    mine, sick = house.pool("mine"), house.pool("sick")
    ours = [house.borrow(mine) for _ in range(2)]
    house.settle()
    house.borrow(sick)
    house.release(ours[0])
    house.close_all()
    house.pools.open_failed(house.opening.pop(), "too many connections for role", None)
    again = house.borrow(mine)
    house.settle()
    house.release(again)
    assert not house.closing
    house.now += FIRST_RETRY
    house.pools.serve()
    assert len(house.closing) == 1, "it may try again"


def test_several_that_fail_at_once_are_one_failure() -> None:
    """A database may be full for a moment: the second attempt is soon, the third later."""
    house = House(3)
    pool = house.pool()
    for _ in range(3):
        house.borrow(pool)
    for wait in (FIRST_RETRY, LAST_RETRY):
        for _ in range(3):
            house.pools.open_failed(house.opening.pop(), "too many connections", None)
        house.now += wait / 2
        house.pools.serve()
        assert not house.opening
        house.now += wait
        house.pools.serve()
        assert len(house.opening) == 3


def test_what_is_opened_for_those_who_have_left_is_no_others() -> None:
    house = House(3)
    calm, moody = house.pool("calm"), house.pool("moody")
    client = house.borrow(calm)
    house.settle()
    house.release(client)
    house.now += 2 * REST
    _, gone = house.borrow(moody), house.borrow(moody)
    assert house.opening == [moody, moody]
    house.pools.leave(moody, gone)
    house.borrow(house.pool("other"))
    assert len(house.closing) == 1


def test_room_is_made_for_the_next_who_asks_where_nobody_may_wait() -> None:
    """Q-17: else a pool whose neighbours have the whole budget would never serve anybody."""
    house = House(2, timeout=0)
    mine, theirs = house.pool("mine"), house.pool("theirs")
    for _ in range(2):
        house.borrow(theirs)
        house.settle()
        house.borrow(theirs)
    others = [client for client in map(house.borrow, (theirs, theirs)) if client.server]
    assert not others and len(theirs.lent) == 2
    for server in list(theirs.lent):
        house.pools.release(theirs, server)
    house.now += 2 * REST
    assert house.borrow(mine).error is not None
    house.close_all()
    assert house.borrow(mine).error is not None
    house.settle()
    assert house.borrow(mine).server is not None
