"""Five hundred clients at once: everybody gets in, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import Proxy, proxy_of

pytestmark = pytest.mark.adversity

CLIENTS = 500


@pytest.fixture(scope="module")
def stormy(postgres: Postgres) -> Iterator[Proxy]:
    with proxy_of(10, postgres) as proxy:
        yield proxy


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "TLS"])
@pytest.mark.parametrize("user", ["app", "md5"])
async def test_five_hundred_logins_at_once(stormy: Proxy, user: str, *, encrypted: bool) -> None:
    """They all stay until the last one is in; the database sees ten of them at most."""
    context = ssl.create_default_context(cafile=str(stormy.certificate_authority))
    everybody = asyncio.Event()
    inside = 0

    async def come() -> None:
        nonlocal inside
        connection = await asyncpg.connect(
            host="localhost",
            port=stormy.port,
            user=user,
            password=PASSWORD,
            database="app",
            ssl=context if encrypted else False,
            timeout=90,
        )
        inside += 1
        if inside == CLIENTS:
            everybody.set()
        await everybody.wait()
        assert await connection.fetchval("SELECT $1::int", inside) == inside
        await connection.close()

    async with asyncio.timeout(110), asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(come())
    assert stormy.metric("pyproxy_database_connections_setup_failed_total") == 0
    assert len(stormy.api("servers")["servers"]) <= 10


async def test_a_session_is_not_kept_waiting_by_a_storm(stormy: Proxy) -> None:
    """Logins are cheap for the proxy: stored keys, no PBKDF2 (its clients do that)."""
    witness = await asyncpg.connect(stormy.dsn(), ssl=False)
    stop = asyncio.Event()
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        while not stop.is_set():
            status, _ = await asyncio.to_thread(stormy.get, "/healthz")
            assert status == 200
            begin = time.monotonic()
            assert await witness.fetchval("SELECT 1") == 1
            slowest = max(slowest, time.monotonic() - begin)

    async def come() -> None:
        connection = await asyncpg.connect(stormy.dsn(), ssl=False, timeout=60)
        await connection.close()

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(come() for _ in range(100)))
    stop.set()
    await watching
    await witness.close()
    # Not a figure to be proud of: the clients share the machine, and this process.
    assert slowest < 20
