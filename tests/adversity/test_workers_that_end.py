"""Workers that are killed or freeze, and a supervisor that is: the rest goes on, or ends with it."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pyproxy.workers.messages import BEAT
from pyproxy.workers.supervisor import SILENCE
from tests.support.messages import Query
from tests.support.postgres import Postgres, own_postgres
from tests.support.proxy import Proxy, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import ClosedByPeer
from tests.support.workers import (
    BUDGET,
    CONNECTIONS,
    Watcher,
    alive,
    all_at_once,
    clients_at,
    pid_of_worker,
    replaced,
    workers,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Of this file alone: its connections are counted."""
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture
def proxy(postgres: Postgres, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of two workers with four database connections, and the database has no others."""
    with postgres.admin() as admin:
        wait_until(lambda: admin.value(CONNECTIONS) == "0", 40)
    with start_proxy(tmp_path, postgres, workers=2) as proxy:
        yield proxy


def test_a_killed_worker_is_replaced_and_the_others_go_on(proxy: Proxy, postgres: Postgres) -> None:
    """With its queries running: the budget is kept, counters never fall, an event tells."""
    with clients_at(proxy, {1: 3, 2: 3}) as clients, Watcher(postgres) as watcher:
        for wires in clients.values():
            wires[0].send(Query("SELECT pg_sleep(10)"))
        proxy.await_borrowed(2)
        received = proxy.metric("pyproxy_client_connections_received_total")
        before = workers(proxy)
        first = pid_of_worker(proxy, 1)
        os.kill(first, signal.SIGKILL)
        proxy.wait_for_log(r"Worker 1 has ended \(signal 9\)")
        assert clients[2][1].value("SELECT 5") == "5"
        wait_until(functools.partial(replaced, proxy, set(before)))
        # Its clients are gone, the other's are there, and new ones come to both.
        with clients_at(proxy, {1: 3, 2: 1}) as fresh:
            all_at_once([*fresh[1], *fresh[2], *clients[2][1:]], "SELECT pg_sleep(0.02)", 5)
        wait_until(lambda: proxy.metric("pyproxy_client_connections") == 3)
        assert proxy.metric("pyproxy_client_connections_received_total") >= received
        events = proxy.api("events")["events"]
        assert [row["event"] for row in events].count("worker-ended") == 1
    assert watcher.most <= BUDGET


def test_a_frozen_worker_is_replaced_and_the_others_go_on(proxy: Proxy) -> None:
    with clients_at(proxy, {1: 1, 2: 1}) as clients:
        before = workers(proxy)
        clients[1][0].query("BEGIN")
        os.kill(pid_of_worker(proxy, 1), signal.SIGSTOP)
        proxy.wait_for_log(r"Worker 1 is frozen\. It is ended\.", 3 * SILENCE * BEAT)
        wait_until(functools.partial(replaced, proxy, set(before)))
        assert clients[2][0].value("SELECT 5") == "5"
        with pytest.raises(ClosedByPeer):
            clients[1][0].query("SELECT 6")
        # The place that it had is free again.
        with clients_at(proxy, {2: BUDGET}) as fresh:
            all_at_once(fresh[2], "SELECT pg_sleep(0.2)", 5)


@pytest.mark.slow
def test_workers_that_are_stopped_with_all_the_rest_are_not_frozen(proxy: Proxy) -> None:
    with clients_at(proxy, {1: 1, 2: 1}) as clients:
        everybody = [proxy.pid, *workers(proxy)]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(BEAT * (SILENCE + 1))
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(BEAT * 3)
        assert [proxy.pid, *workers(proxy)] == everybody
        for wires in clients.values():
            assert wires[0].value("SELECT 5") == "5"


def test_the_budget_holds_while_workers_are_killed_under_load(
    proxy: Proxy, postgres: Postgres
) -> None:
    """Invariant 8; and whoever is let in is served again each time."""
    with Watcher(postgres) as watcher:
        over = threading.Event()

        def insist() -> None:
            while not over.is_set():
                with contextlib.suppress(psycopg.Error), psycopg.connect(proxy.dsn()) as client:
                    for _ in range(50):
                        client.execute("SELECT pg_sleep(0.01)")
                        client.commit()

        threads = [threading.Thread(target=insist) for _ in range(16)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                time.sleep(0.7)
                before = set(workers(proxy))
                os.kill(random.choice(sorted(before)), signal.SIGKILL)
                wait_until(functools.partial(replaced, proxy, before))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        with clients_at(proxy, {1: 1, 2: 1}) as clients:
            assert all(wires[0].value("SELECT 1") == "1" for wires in clients.values())
        assert proxy.log.count("has ended (signal 9)") == 4
    assert watcher.most <= BUDGET


def test_the_workers_end_with_a_killed_supervisor(postgres: Postgres, tmp_path: Path) -> None:
    with contextlib.suppress(AssertionError), start_proxy(tmp_path, postgres, workers=2) as proxy:
        pids = workers(proxy)
        assert len(pids) == 2
        proxy.process.kill()
        proxy.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids))
    assert not any(alive(pid) for pid in pids)
