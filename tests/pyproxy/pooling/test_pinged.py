"""Servers that are taken out of the idle ones for a moment, to be asked whether they are there."""

from __future__ import annotations

from tests.support.pools import House


def test_a_server_that_was_taken_out_for_a_moment_goes_back_to_its_place() -> None:
    """C-11: to be pinged is not to be used, so the warm ones still work and the others age."""
    house = House(10)
    pool = house.pool()
    clients = [house.borrow(pool) for _ in range(3)]
    house.settle()
    for client in clients:
        house.now += 1
        house.release(client)
    cold, *warm = pool.idle
    since = cold.idle_since
    house.now += 100
    pool.withdraw(cold)
    house.pools.put_down(pool, cold, since)
    assert pool.idle == [cold, *warm]
    assert cold.idle_since == since
    # Who waits gets it, as any that comes back.
    for server in (*warm, cold):
        pool.withdraw(server)
    waiting = house.borrow(pool)
    house.pools.put_down(pool, cold, since)
    house.settle()
    assert waiting.server is cold
