"""Failover drills with a hundred clients, against real synchronous streaming replication.

Each breaks the primary in another way and then checks the same things: no acknowledged write is lost,
idle and waiting clients get no error, those in flight exactly one, nobody ever 25006 (lessons 26), and
nothing is written to the old primary afterwards. `make slow` runs each twenty times.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.drill import TABLE, Crowd, errors_in
from tests.support.pair import Pair, make_pair
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import Proxy
from tests.support.relay import Relay, relay_to

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(240)]

Breaking = Callable[[Pair, Relay], None]


def _switch_over(pair: Pair, relay: Relay) -> None:
    """As planned by a person: everything is shipped before the standby takes over."""
    pair.primary.cluster.stop()
    pair.standby.cluster.promote()


BREAKING: dict[str, Breaking] = {
    "kill -9": lambda pair, relay: pair.primary.cluster.kill(),
    "frozen": lambda pair, relay: pair.primary.cluster.freeze(),
    "cut network": lambda pair, relay: relay.drop(),
    "immediate shutdown": lambda pair, relay: pair.primary.cluster.stop_immediately(),
    "planned switchover": _switch_over,
}
# What a client may be told: our words, or the database's own when it had time for them.
TOLD = ("08006", "57P01", "57P02")


@pytest.mark.parametrize("how", BREAKING)
async def test_a_drill(how: str, tmp_path: Path) -> None:
    await drill(how, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("how", BREAKING)
async def test_twenty_drills(how: str, number: int, tmp_path: Path) -> None:
    await drill(how, tmp_path)


async def drill(how: str, place: Path) -> None:
    """Build a pair, break it, look at what everybody met with."""
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        pair = stack.enter_context(make_pair(folder, synchronous=True))
        with pair.primary.wire() as wire:
            wire.query(f"CREATE TABLE {TABLE} (n int)")
        relay = stack.enter_context(relay_to(pair.primary.port))
        proxy = stack.enter_context(pair.proxy(place, ports={"a": relay.port}))
        crowd = Crowd(proxy.dsn())
        try:
            await crowd.gather_up()
            crowd.write()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(BREAKING[how], pair, relay)
            await await_writer(proxy, "db-b")
            moved = time.monotonic()
            await asyncio.sleep(0.5)
            await crowd.finish()
            pair.primary.cluster.thaw()
            check_clients(crowd)
            await asyncio.to_thread(check_data, crowd, pair, moved, how)
            await asyncio.to_thread(check_pools, proxy)
        except AssertionError as error:
            # Of twenty drills it may be the one: what happened is told with it.
            error.add_note("\n".join(errors_in(crowd.verdicts)))
            error.add_note(proxy.log[-20_000:])
            raise
        finally:
            await crowd.close()


async def await_writer(proxy: Proxy, name: str, seconds: float = 60.0) -> None:
    """Wait until a target has the role of the writer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = (await asyncio.to_thread(proxy.api, "targets"))["targets"]
        if any(r["id"] == name and r["available"] and r["role"] == "READ_WRITE" for r in rows):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} is no writer: {proxy.log[-3000:]}")


def check_clients(crowd: Crowd) -> None:
    """Who got an error, and which."""
    assert errors_in(crowd.of("idle")) == []
    for kind in ("in transaction", "pinned"):
        for verdict in crowd.of(kind):
            assert len(verdict.errors) == 1, verdict
    for verdict in crowd.of("writing"):
        assert len(verdict.errors) <= 1, verdict
        assert verdict.acknowledged
    wrong = [v for v in crowd.verdicts if any(not error.startswith(TOLD) for error in v.errors)]
    assert wrong == []


def check_data(crowd: Crowd, pair: Pair, moved: float, how: str) -> None:
    """Nothing confirmed is lost, and the old primary has got nothing since."""
    kept = rows_of(pair.standby)
    assert crowd.acknowledged() <= kept
    later = crowd.acknowledged(since=moved)
    assert later
    if how in ("frozen", "cut network"):
        assert not later & rows_of(pair.primary)


def rows_of(postgres: Postgres) -> set[int]:
    """All rows, by a way of one's own."""
    with postgres.admin() as admin:
        return {int(n or 0) for (n,) in admin.query(f"SELECT n FROM {TABLE}")}


def check_pools(proxy: Proxy) -> None:
    """The pools are full again, of the new epoch only."""
    proxy.await_rest()
    servers = proxy.api("servers")["servers"]
    assert servers and {(s["target"], s["epoch"]) for s in servers} == {("db-b", 2)}
    assert proxy.metric("pyproxy_availability_percentage", target_role="READ_WRITE") == 100
    proxy.wait_for_log("Writes moved to db-b after")
