"""The servers of one target while they are opened: what happens to it, and to them, meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from pyproxy.config import TargetConfig
from pyproxy.errors import ProxyError
from pyproxy.logs import EventLog
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pooling.pool import Pool, PoolKey
from pyproxy.pooling.pools import PoolLimits
from pyproxy.postgres import inquiry
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.server_login import ServerSettings
from pyproxy.postgres.servers import Servers
from pyproxy.targets.target import READ_ONLY, READ_WRITE, Limits, Target
from pyproxy.turn import Turn
from tests.support.fake_server import LIMITS, WELCOME, FakeServer, Peer, result

PLACES = PoolLimits(10, 10, 10.0)
STANDBY = (*LIMITS[:3], b"t", b"f")


class Secrets:
    """Every user has a password, and the database asks for none."""

    class _Credential:
        class secret:  # noqa: N801 - an attribute
            password = "secret"
            salted = None

    def lookup(self, _user: str) -> Any:
        return self._Credential


class Client:
    """Waits for a server."""

    def __init__(self) -> None:
        self.waiting_since = 0.0
        self.server: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    def lent(self, server: ServerConnection) -> bool:
        self.server.set_result(server)
        return True

    def refused(self, error: ProxyError) -> None:
        self.server.set_exception(error)


class Door:
    """Of a database that lets in one after the other; what it was asked is known of each."""

    def __init__(self) -> None:
        self.opens = threading.Event()
        self.opens.set()
        # Who is asked this waits until it may answer.
        self.slow = b""
        self.answers = threading.Event()
        self.asked: dict[Peer, list[bytes]] = {}
        self.database = FakeServer(self.answer, self.welcome)

    def welcome(self, peer: Peer) -> None:
        self.opens.wait(10)
        peer.say(WELCOME)

    def answer(self, peer: Peer, tag: bytes, body: bytes) -> None:
        self.asked.setdefault(peer, []).append(body[:-1])
        if self.slow and self.slow in body:
            self.answers.wait(10)
        if tag == b"Q":
            peer.say(result(b"ok"))


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    with door.database:
        yield door
        door.opens.set()
        door.answers.set()


@contextlib.asynccontextmanager
async def servers_of(
    door: Door, init_query: str = ""
) -> AsyncIterator[tuple[Servers, Pool[ServerConnection]]]:
    """Those of a writer, with places for ten."""
    target = Target(TargetConfig(id="db", host=door.database.host, port=door.database.port))
    target.limits = Limits(100, 3, False)
    servers = Servers(
        target,
        cast(Any, Secrets()),
        ServerSettings(init_query=init_query),
        EventLog("default"),
        turn=Turn(asyncio.get_running_loop().call_soon),
        counters=ProxyCounters(),
        random_id=lambda: 1,
        tls_context=lambda _: None,
        on_trouble=lambda _: None,
    )
    servers.role = READ_WRITE
    servers.pools.limits = PLACES
    try:
        async with asyncio.timeout(15):
            yield servers, servers.pools.pool(PoolKey("app", "app"))
    finally:
        door.opens.set()
        door.answers.set()
        await servers.stop()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - a thread of the fake database is waited for
        await asyncio.sleep(0.005)


async def test_an_opening_that_is_cancelled_before_it_begins_gives_its_place_back(
    door: Door,
) -> None:
    async with servers_of(door) as (servers, pool):
        client = Client()
        servers.pools.wait(pool, client)
        assert (servers.pools.used, pool.opening) == (1, 1)
        # In the same turn of the loop, as a switchover may have it.
        servers.take_role(READ_ONLY, 1)
        servers.take_role(READ_WRITE, 2)
        servers.resume()
        servers.pools.limits = PLACES
        await client.server
        assert (servers.pools.used, pool.opening, pool.size) == (1, 0, 1)


async def test_each_connection_is_judged_by_what_it_has_been_told_itself(door: Door) -> None:
    """Lessons 26, 27: behind one name stand a standby first, and then the primary."""
    async with servers_of(door, "SELECT 'slow'") as (servers, pool):
        door.slow = b"slow"
        door.database.limits = STANDBY
        first, second = Client(), Client()
        servers.pools.wait(pool, first)
        await until(lambda: len(door.asked) == 1)
        door.slow, door.database.limits = b"", LIMITS
        servers.pools.wait(pool, second)
        lent = await first.server
        door.answers.set()
        await until(lambda: pool.opening == 0)
        assert servers.all == {lent}


async def test_a_connection_that_is_opened_while_the_init_query_changes_has_the_new_one(
    door: Door,
) -> None:
    async with servers_of(door, "SELECT 'old'") as (servers, pool):
        door.slow = b"old"
        client = Client()
        servers.pools.wait(pool, client)
        await until(lambda: bool(door.asked))
        servers.apply(ServerSettings(init_query="SELECT 'new'"))
        servers.pools.limits = PLACES
        door.answers.set()
        lent = await client.server
        assert servers.all == {lent}
        assert list(door.asked.values()) == [[b"SELECT 'old'"], [b"SELECT 'new'"]]


async def test_the_time_of_a_reset_is_over_when_the_connection_is_closed(door: Door) -> None:
    """Its timer kept a closed connection for ten seconds, and then cut it off once more."""
    async with servers_of(door) as (servers, pool):
        client = Client()
        servers.pools.wait(pool, client)
        server = await client.server
        door.slow = b"DISCARD"
        servers.reset(server, 1, EventLog("default"))
        time_limit = server._close_timer
        assert time_limit is not None
        server.close("the database ends it in the middle of that")
        assert time_limit.cancelled()
        door.answers.set()
        await until(lambda: not servers.all)


async def test_a_bug_does_not_stop_the_look_whether_a_database_answers_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is not ready gets no clients, and nobody else would ever look."""
    monkeypatch.setattr(inquiry, "_PAUSE", 0.0)
    async with servers_of(door) as (servers, pool):
        bugs = [ZeroDivisionError]

        def tls_context(_: Target) -> None:
            if bugs:
                raise bugs.pop()

        servers._login._tls_context = tls_context
        servers.target.troubled("connection refused")
        await servers._recover(pool)
        assert not servers.target.trouble
        assert not bugs


async def test_openings_that_are_given_up_are_no_failures_of_the_database(door: Door) -> None:
    """Who waits need not wait for its next chance, too; and M-10 is the sum of M-17 and M-18."""
    async with servers_of(door) as (servers, pool):
        door.opens.clear()
        clients = [Client() for _ in range(3)]
        for client in clients:
            servers.pools.wait(pool, client)
        await until(lambda: door.database.connections == 3)
        servers.apply(ServerSettings(init_query="SELECT 'new'"))
        servers.pools.limits = PLACES
        await until(lambda: door.database.connections == 6)
        assert not pool.retry_at
        door.opens.set()
        await asyncio.gather(*(client.server for client in clients))
        counters = servers.target.counters
        counted = counters.requests, counters.setup_failed, counters.setup_succeeded
        assert counted == (6, 3, 3)
