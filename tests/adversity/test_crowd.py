"""A hundred clients on ten servers: never more, nothing lost, doubled or crossed, waiting fair."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.messages import Query
from tests.support.postgres import Postgres, own_postgres
from tests.support.proxy import Proxy, proxy_of, start_proxy
from tests.support.wire import errors_of

pytestmark = pytest.mark.adversity

CLIENTS = 100
SERVERS = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Of this file alone: its connections are counted."""
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def crowded(postgres: Postgres) -> Iterator[Proxy]:
    """Ten of the hundred connections that the database allows."""
    with proxy_of(SERVERS, postgres, connection_borrow_timeout=60) as proxy:
        yield proxy


async def watch(postgres: Postgres, stop: asyncio.Event, but: str) -> int:
    """The most connections of the user that the database has seen, `but` one by its process id."""
    most = 0
    url = postgres.dsn("postgres", "postgres")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        while not stop.is_set():
            cursor = await admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND pid <> %s", (but,)
            )
            row = await cursor.fetchone()
            assert row is not None
            most = max(most, row[0])
            await asyncio.sleep(0.01)
    return most


async def client(url: str, number: int, turns: int, rng: random.Random) -> int:
    """Does a bit of everything, and checks that every answer is its own."""
    answers = 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for turn in range(turns):
            mine = f"{number}/{turn}"
            kind = rng.randrange(4)
            if kind == 0:
                cursor = await connection.execute("SELECT %s::text, pg_sleep(0.001)", (mine,))
            elif kind == 1:
                cursor = await connection.execute("SELECT %s::text", (mine,), prepare=True)
            elif kind == 2:
                async with connection.transaction():
                    await connection.execute("INSERT INTO a_crowd VALUES (%s)", (mine,))
                    cursor = await connection.execute("SELECT %s::text", (mine,))
            else:
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await connection.execute("SELECT 1/0")
                cursor = await connection.execute(f"SELECT '{mine}'")
            row = await cursor.fetchone()
            assert row is not None
            assert row[0] == mine
            answers += kind == 2
    return answers


async def test_a_hundred_clients_share_ten_servers(postgres: Postgres, crowded: Proxy) -> None:
    """Invariant 8, and every answer belongs to its question."""
    with postgres.wire() as setup:
        setup.query("DROP TABLE IF EXISTS a_crowd; CREATE TABLE a_crowd (mine text PRIMARY KEY)")
        # It goes straight to the database, and may still be on its way out when the crowd comes.
        own = setup.value("SELECT pg_backend_pid()")
    stop = asyncio.Event()
    watcher = asyncio.create_task(watch(postgres, stop, own))
    rng = random.Random(1)
    inserted = await asyncio.gather(
        *(client(crowded.dsn(), n, 25, random.Random(rng.random())) for n in range(CLIENTS))
    )
    stop.set()
    assert await watcher <= SERVERS
    with postgres.wire() as check:
        assert check.value("SELECT count(*) FROM a_crowd") == str(sum(inserted))
    crowded.await_rest()
    assert crowded.metric("pyproxy_database_connections_currently_borrowed") == 0


def test_waiting_is_first_come_first_served(crowded: Proxy) -> None:
    """C-18: nobody overtakes in the line."""
    holders = [crowded.wire() for _ in range(SERVERS)]
    for holder in holders:
        holder.query("BEGIN")
    waiters = [crowded.wire() for _ in range(20)]
    for number, waiter in enumerate(waiters):
        waiter.send(Query(f"SELECT {number}, clock_timestamp()"))
        while crowded.api("pools")["pools"][0]["waiting"] <= number:
            time.sleep(0.005)
    # One server for all of them: they are served in turn.
    holders[0].query("COMMIT")
    times = [next(r.values[1] for r in w.read_ready() if r.tag == "D") for w in waiters]
    assert times == sorted(times)
    for wire in (*holders, *waiters):
        wire.terminate()


def test_a_crowd_that_leaves_leaves_nothing(crowded: Proxy) -> None:
    """Hang up in the middle of everything, all at once."""
    for _ in range(3):
        crowd = [crowded.wire() for _ in range(30)]
        for number, wire in enumerate(crowd):
            wire.send(Query(("BEGIN", "SELECT pg_sleep(1)", "SET work_mem = '1MB'")[number % 3]))
        for number, wire in enumerate(crowd):
            if number % 2:
                wire.vanish()
            else:
                wire.close()
    crowded.await_rest(20)
    with crowded.wire() as after:
        assert after.value("SHOW work_mem") == "4MB"


def test_a_borrow_timeout_of_zero_serves_whoever_finds_a_server(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Q-17: an error at once where none is free, and never a wait; a proxy is of use all the same."""
    with (
        start_proxy(
            tmp_path, postgres, max_connections_percent=1, connection_borrow_timeout=0
        ) as proxy,
        proxy.wire() as first,
        proxy.wire() as second,
    ):
        assert first.value("SELECT 1") == "1"
        first.query("BEGIN")
        second.send(Query("SELECT 1"))
        assert errors_of(second.read_to_end()) == [
            ("08000", "Timed-out waiting to acquire database connection.")
        ]
        first.query("COMMIT")
