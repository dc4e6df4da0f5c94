"""A target group of standbys only: its clients are told so, unless a failover may be under way."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.messages import Query
from tests.support.pair import Pair
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import Proxy, start_proxy
from tests.support.trio import ENDPOINTS, Readers, Trio
from tests.support.wire import LoginFailed, Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]

NO_WRITER = ("08000", "The target group doesn't have any associated read/write instances")
TOLD = "all targets are standbys of a primary that is none of them"


def before(
    folder: Path, *targets: Postgres, **changes: Any
) -> contextlib.AbstractContextManager[Proxy]:
    """A proxy before these only, which promotes nobody."""
    rows = [{"id": f"db-{number}", "port": t.port} for number, t in enumerate(targets, 1)]
    pool = {"max_connections_percent": 40, "connection_borrow_timeout": 60}
    settings: dict[str, Any] = {
        "monitoring": {"secret": "rdsproxyadmin"},
        "failover": {"promote": False},
        "endpoints": ENDPOINTS,
        "target_group": {"connection_pool_config": pool, "targets": rows},
    } | changes
    return start_proxy(folder, targets[0], **settings)


def refused(proxy: Proxy) -> list[str]:
    """What a client is told that wants to log in."""
    with Wire(proxy.host, proxy.port, timeout=60.0) as wire, pytest.raises(LoginFailed) as told:
        wire.login("app", PASSWORD, "app")
    fields = told.value.fields
    return [fields[name] for name in "SCM"]


def write(postgres: Postgres) -> None:
    with postgres.wire() as wire:
        wire.query("CREATE TABLE IF NOT EXISTS e_rows (n int); INSERT INTO e_rows VALUES (1)")


@pytest.mark.parametrize("workers", [1, 2])
def test_where_the_writer_is_elsewhere_clients_are_told_so_at_once(
    trio: Trio, tmp_path: Path, workers: int
) -> None:
    """FO-07, E-PG-22; requests wait while that one is silent, and go to its successor."""
    primary, standby = trio.pair.primary, trio.pair.standby
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(before(tmp_path, standby, trio.second, workers=workers))
        pool = stack.enter_context(ThreadPoolExecutor(4))
        proxy.wait_for_log("UNPROVEN: db-1 and db-2 are each a standby")
        # Until somebody is seen to write they wait: one of the two may be about to be promoted.
        early = [pool.submit(refused, proxy) for _ in range(4)]
        write(primary)
        assert [client.result() for client in early] == [["FATAL", *NO_WRITER]] * 4
        proxy.wait_for_log(f"UNPROVEN: {TOLD}")
        messages = [row["message"] for row in proxy.api("events")["events"]]
        assert any(TOLD in message for message in messages)
        for _ in range(4):
            assert refused(proxy) == ["FATAL", *NO_WRITER]
        # Who reads has nothing to do with it.
        reader = Readers(proxy, stack).come()
        await_value(reader, "SELECT count(*) FROM pg_class WHERE relname = 'e_rows'", "1")
        await_value(reader, "SELECT count(*) FROM e_rows", "1")
        primary.cluster.kill()
        await_silence(proxy)
        late = pool.submit(proxy.wire)
        assert reader.value("SELECT pg_sleep(1)") == ""
        assert not late.done()
        standby.cluster.promote()
        with late.result() as writer:
            writer.query("INSERT INTO e_rows VALUES (2)")
            assert writer.value("SELECT count(*) FROM e_rows") == "2"


def test_after_a_switchover_to_elsewhere_writes_to_the_old_primary_fail(
    trio: Trio, tmp_path: Path
) -> None:
    """FO-07: they wait while it is under way."""
    primary, successor = trio.pair.primary, trio.pair.standby
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(before(tmp_path, primary, trio.second))
        client, waiting = (stack.enter_context(proxy.wire()) for _ in range(2))
        write(primary)
        primary.cluster.stop()
        waiting.send(Query("INSERT INTO e_rows VALUES (2)"))
        primary.cluster.rejoin(successor.cluster)
        proxy.wait_for_log("DEMOTED: db-1 takes no writes any more")
        assert waiting.read_quiet(1.0) == []
        successor.cluster.promote()
        with successor.admin() as admin:
            await_value(admin, "SELECT pg_is_in_recovery()", "f")
        write(successor)
        assert errors_of(waiting.read_to_end()) == [NO_WRITER]
        proxy.wait_for_log(f"DEMOTED: {TOLD}")
        client.send(Query("INSERT INTO e_rows VALUES (3)"))
        assert errors_of(client.read_to_end()) == [NO_WRITER]


def test_while_two_standbys_stream_from_each_other_clients_wait(pair: Pair, tmp_path: Path) -> None:
    """FO-01: a planned switchover by hand, between its steps; nobody writes elsewhere."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(before(tmp_path, pair.primary, pair.standby))
        client = stack.enter_context(proxy.wire())
        client.query("CREATE TABLE e_rows (n int)")
        pair.primary.cluster.stop()
        pair.primary.cluster.rejoin(pair.standby.cluster)
        proxy.wait_for_log("DEMOTED: db-1 takes no writes any more")
        for postgres in (pair.primary, pair.standby):
            with postgres.admin("postgres") as admin:
                await_value(admin, "SELECT count(*) FROM pg_stat_wal_receiver", "1")
        client.send(Query("INSERT INTO e_rows VALUES (1)"))
        assert client.read_quiet(3.0) == []
        pair.standby.cluster.promote()
        assert errors_of(client.read_ready()) == []
        proxy.await_writer("db-2")
        assert TOLD not in proxy.log


def await_silence(proxy: Proxy) -> None:
    """Wait until the proxy notices that nobody is known to write any more."""
    deadline = time.monotonic() + 20
    while TOLD in [line for line in proxy.log.splitlines() if "UNPROVEN" in line][-1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def await_value(admin: Wire, query: str, value: str) -> None:
    deadline = time.monotonic() + 20
    while admin.value(query) != value:
        assert time.monotonic() < deadline
        time.sleep(0.05)
