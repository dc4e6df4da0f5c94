"""The pools of a worker: places are asked for, granted, claimed and given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pyproxy.errors import ProxyError
from pyproxy.pooling.leased import KEPT, LeasedPools
from pyproxy.pooling.pool import Pool, PoolKey
from pyproxy.pooling.pools import LONG, REST, STAY, PoolLimits

KEY = PoolKey("app", "app")
OTHER = PoolKey("app", "other")


@dataclass(eq=False)
class Server:
    pool: Pool[Server]
    born: float = 0.0
    idle_since: float = 0.0


@dataclass(eq=False)
class Client:
    waiting_since: float = 0.0
    server: Server | None = None
    error: ProxyError | None = None

    def lent(self, server: Server) -> bool:
        self.server = server
        return True

    def refused(self, error: ProxyError) -> None:
        self.error = error


@dataclass
class Worker:
    """Pools with a supervisor, databases and a clock that do as the test says."""

    timeout: float = 20.0
    now: float = 100.0
    wants: list[int] = field(default_factory=list)
    # Does the last of them last, and for long?
    lasting: bool = False
    pressing: bool = False
    # And how many servers did not come back then?
    kept: int = 0
    gifts: list[int] = field(default_factory=list)
    opening: list[Pool[Server]] = field(default_factory=list)
    closing: list[Server] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pools: LeasedPools[Server] = LeasedPools(
            PoolLimits(0, 10, self.timeout),
            open_server=self.opening.append,
            close_server=lambda server, why: self.closing.append(server),
            clock=lambda: self.now,
            want=self.wanted,
            give=self.gifts.append,
            soon=self.later.append,
        )
        self.pool = self.pools.pool(KEY)

    def wanted(self, places: int, lasting: bool, pressing: bool, share: int, kept: int) -> None:
        assert share == self.pools.share
        self.wants.append(places)
        self.lasting, self.pressing, self.kept = lasting, pressing, kept

    def borrow(self, pool: Pool[Server] | None = None) -> Client:
        client = Client()
        pool = pool or self.pool
        client.server = pool.take()
        if client.server is None:
            self.pools.wait(pool, client)
        return client

    def turn(self) -> None:
        """What was put off is done."""
        while self.later:
            self.later.pop(0)()

    def open(self) -> None:
        """The database lets in whoever is at the door."""
        while self.opening:
            pool = self.opening.pop(0)
            self.pools.opened(pool, Server(pool, born=self.now))

    def close(self) -> None:
        """The database lets go of what is being closed."""
        while self.closing:
            server = self.closing.pop(0)
            self.pools.closed(server.pool, server)

    def release(self, client: Client) -> None:
        assert client.server is not None
        self.pools.release(client.server.pool, client.server)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def stocked(count: int) -> tuple[Worker, list[Client]]:
    """A worker with so many servers, all lent."""
    worker = Worker()
    clients = [worker.borrow() for _ in range(count)]
    worker.turn()
    worker.pools.granted(count)
    worker.open()
    assert all(client.server for client in clients)
    return worker, clients


def test_nothing_is_opened_before_a_place_is_granted(worker: Worker) -> None:
    client = worker.borrow()
    assert (worker.opening, client.server) == ([], None)
    worker.turn()
    assert worker.wants == [1]
    worker.pools.granted(1)
    worker.open()
    assert client.server is not None


def test_a_burst_asks_once(worker: Worker) -> None:
    for _ in range(500):
        worker.borrow()
    worker.turn()
    assert worker.wants == [500]


def test_a_wish_is_taken_back_when_the_clients_have_gone(worker: Worker) -> None:
    client = worker.borrow()
    worker.turn()
    worker.pools.leave(worker.pool, client)
    worker.pools.expire()
    assert worker.wants == [1, 0]


def test_an_idle_server_of_another_pool_makes_room_only_when_there_are_no_places() -> None:
    worker, (client,) = stocked(1)
    worker.release(client)
    other = worker.borrow(worker.pools.pool(OTHER))
    worker.turn()
    assert (worker.wants[-1], worker.closing) == (1, [])
    worker.pools.refused()
    assert len(worker.closing) == 1
    worker.close()
    worker.open()
    assert other.server is not None


def test_an_empty_place_is_given_at_once() -> None:
    worker, _ = stocked(1)
    worker.pools.granted(2)
    worker.pools.claimed(1, 0)
    assert (worker.gifts, worker.pools.share) == ([1], 2)


def test_an_idle_server_is_closed_and_its_place_given_when_the_database_has_let_go() -> None:
    worker, (first, second) = stocked(2)
    worker.release(first)
    worker.now += 2 * REST
    worker.pools.claimed(1, 0)
    assert (len(worker.closing), worker.gifts, worker.pools.share) == (1, [], 2)
    worker.close()
    assert (worker.gifts, worker.pools.share, worker.pools.used) == ([1], 1, 1)
    worker.release(second)
    assert worker.closing == []


def test_a_busy_worker_keeps_what_it_needs_unless_it_must_give() -> None:
    worker, clients = stocked(2)
    waiting = worker.borrow()
    worker.pools.claimed(2, 0)
    worker.release(clients[0])
    worker.turn()
    assert (waiting.server is not None, worker.closing) == (True, [])
    behind = worker.borrow()
    worker.now += 2 * STAY
    worker.pools.claimed(2, 1)
    worker.release(clients[1])
    assert (behind.server, len(worker.closing)) == (None, 1)
    worker.close()
    assert (worker.gifts, worker.pools.share) == ([1], 1)


def test_a_server_between_two_transactions_is_not_spare() -> None:
    """Its place would be wanted back a moment later."""
    worker, clients = stocked(2)
    worker.pools.claimed(2, 0)
    for client in clients:
        worker.release(client)
    worker.now += 0.6 * REST
    # The one that was used last is used again.
    again = worker.borrow()
    worker.release(again)
    worker.now += 0.6 * REST
    worker.pools.expire()
    assert worker.closing == [clients[0].server]
    worker.now += 2 * REST
    worker.pools.expire()
    assert worker.closing == [clients[0].server, clients[1].server]


def test_where_a_place_must_go_it_does_so_between_two_transactions() -> None:
    worker, (client,) = stocked(1)
    worker.pools.claimed(1, 1)
    worker.release(client)
    assert worker.closing == [client.server]


def test_an_idle_server_goes_at_once_where_one_must() -> None:
    worker, (client,) = stocked(1)
    worker.release(client)
    worker.pools.claimed(1, 1)
    assert worker.closing == [client.server]


def test_a_new_server_stays_with_those_in_line_for_a_moment() -> None:
    """Workers that pass one place round must not spend their time on opening connections."""
    worker, (client,) = stocked(1)
    second, third = worker.borrow(), worker.borrow()
    worker.pools.claimed(1, 1)
    worker.release(client)
    worker.turn()
    assert (second.server is not None, worker.closing) == (True, [])
    worker.now += 2 * STAY
    worker.release(second)
    assert (third.server, worker.closing) == (None, [second.server])


def test_a_wish_lasts_when_no_server_has_idled_between_two_looks() -> None:
    worker, (first,) = stocked(1)
    second = worker.borrow()
    worker.turn()
    assert (worker.wants[-1], worker.lasting) == (1, False)
    worker.pools.expire()
    assert (worker.wants[-1], worker.lasting) == (1, True)
    worker.release(first)
    worker.turn()
    worker.release(second)
    worker.borrow()
    third = worker.borrow()
    worker.pools.expire()
    assert (worker.wants[-1], worker.lasting) == (1, False)
    worker.pools.leave(worker.pool, third)
    worker.pools.expire()
    assert (worker.wants[-1], worker.lasting) == (0, False)


def test_a_wish_presses_when_somebody_has_waited_for_long() -> None:
    """What there is may be pinned."""
    worker, _ = stocked(1)
    worker.borrow()
    worker.turn()
    worker.pools.expire()
    assert (worker.wants[-1], worker.pressing) == (1, False)
    worker.now += 2 * LONG
    worker.pools.expire()
    assert (worker.wants[-1], worker.pressing) == (1, True)


def test_a_new_server_serves_once_before_its_place_goes(worker: Worker) -> None:
    """Two workers with one place must not open servers only to close them."""
    client = worker.borrow()
    worker.turn()
    worker.pools.granted(1)
    worker.pools.claimed(1, 1)
    worker.open()
    assert client.server is not None
    worker.release(client)
    worker.close()
    assert worker.gifts == [1]


def test_a_claim_that_is_over_changes_nothing() -> None:
    worker, (client,) = stocked(1)
    worker.pools.claimed(1, 0)
    worker.pools.claimed(0, 0)
    worker.release(client)
    assert worker.closing == []


def test_who_may_not_wait_leaves_a_wish() -> None:
    """Q-17: connection_borrow_timeout 0 refuses at once; the next one finds a server."""
    worker = Worker(timeout=0)
    assert worker.borrow().error is not None
    worker.turn()
    assert (worker.wants, worker.lasting) == ([1], True)
    worker.pools.granted(1)
    assert worker.borrow().error is not None
    worker.open()
    assert worker.borrow().server is not None


def test_who_was_refused_at_once_and_does_not_come_again_wants_nothing() -> None:
    """Else its worker would keep what idles from those of others."""
    worker = Worker(timeout=0)
    worker.borrow()
    worker.turn()
    worker.now += LONG
    worker.pools.expire()
    assert worker.wants == [1, 0]


def test_no_place_is_wanted_for_who_could_not_use_it() -> None:
    """A role may have a CONNECTION LIMIT: others would give what they need."""
    worker, _ = stocked(1)
    worker.borrow()
    worker.turn()
    worker.pools.granted(1)
    worker.pools.open_failed(worker.opening.pop(), "too many connections for role", None)
    worker.pools.claimed(1, 1)
    assert worker.gifts == [1]
    told = len(worker.wants)
    worker.pools.expire()
    assert len(worker.wants) == told
    worker.now += 1
    worker.pools.serve()
    worker.turn()
    assert worker.wants[told:] == [1]


def test_servers_that_do_not_come_back_are_kept() -> None:
    """They are pinned, or as good as that: their places are in nobody's gift."""
    worker, clients = stocked(3)
    worker.pools.expire()
    for _ in range(4):
        worker.now += KEPT / 4
        worker.release(clients[0])
        clients[0] = worker.borrow()
        worker.pools.expire()
    assert worker.kept == 2
    worker.release(clients[1])
    worker.pools.expire()
    assert worker.kept == 1


def test_servers_of_several_pools_that_idle_since_the_same_moment_can_be_claimed() -> None:
    worker = Worker()
    clients = [worker.borrow(), worker.borrow(worker.pools.pool(OTHER))]
    worker.turn()
    worker.pools.granted(2)
    worker.open()
    for client in clients:
        worker.release(client)
    worker.now += 2 * REST
    worker.pools.claimed(spare=1, must=0)
    assert len(worker.closing) == 1
