"""Several processes that are one proxy (`workers: N`): real PostgreSQL, real drivers."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from protocol.postgres.startup import CancelRequest
from tests.support.messages import Query
from tests.support.postgres import Postgres, own_postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import errors_of
from tests.support.workers import (
    BUDGET,
    CONNECTIONS,
    Watcher,
    alive,
    all_at_once,
    asking,
    clients_at,
    pid_of_worker,
    replaced,
    worker_of,
    workers,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

_SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'"
    " AND wait_event = 'PgSleep'"
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Of this file alone: its connections are counted."""
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(autouse=True)
def nobody_else(postgres: Postgres) -> None:
    """The database has let go of what the test before had."""
    with postgres.admin() as admin:
        wait_until(lambda: admin.value(CONNECTIONS) == "0", 40)


@pytest.fixture
def crew(postgres: Postgres) -> Iterator[Proxy]:
    """A proxy of two workers with four database connections."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, workers=2, extensions=["cancel_requests"]) as proxy,
    ):
        yield proxy


def test_both_workers_serve_and_are_shown_as_one(crew: Proxy) -> None:
    with clients_at(crew, {1: 5, 2: 5}) as clients:
        for number, wires in clients.items():
            for wire in wires:
                assert wire.value(f"SELECT {number}") == str(number)
        rows = crew.api("clients")["clients"]
        assert len(rows) == len({row["id"] for row in rows}) == 10
        assert {worker_of(row) for row in rows} == {1, 2}
        summary = crew.api("proxy")
        assert summary["clients"] == 10
        assert summary["max_connections"] == BUDGET
        assert summary["servers"] == len(crew.api("servers")["servers"]) <= BUDGET
        assert crew.metric("pyproxy_client_connections") == 10
        pools = [row for row in crew.api("pools")["pools"] if row["pool"] == "app@app"]
        assert [row["servers"] for row in pools] == [summary["servers"]]
        assert crew.get("/readyz")[0] == 200


def test_metrics_are_the_sums_of_all_workers(postgres: Postgres, tmp_path: Path) -> None:
    """M-02, M-07, M-12, M-14, M-16, M-20, M-24, M-27: as of one process."""
    with (
        start_proxy(tmp_path, postgres, workers=2) as proxy,
        clients_at(proxy, {1: 3, 2: 3}) as clients,
    ):
        wires = [wire for group in clients.values() for wire in group]
        queries = proxy.metric("pyproxy_query_requests_total")
        for wire in wires:
            for _ in range(7):
                wire.query("SELECT 1")
        assert proxy.metric("pyproxy_query_requests_total") - queries == 42
        assert proxy.metric("pyproxy_query_response_latency_seconds_count") == queries + 42
        for group in clients.values():
            group[0].query("SET work_mem = '5MB'")
        assert proxy.metric("pyproxy_database_connections_currently_session_pinned") == 2
        assert proxy.metric("pyproxy_pins_total", rule="PIN-PG-01") == 2
        assert proxy.metric("pyproxy_max_database_connections_allowed") == BUDGET
        assert proxy.metric("pyproxy_client_connections") == 6
        opened = proxy.metric("pyproxy_client_connections_received_total")
        assert opened - proxy.metric("pyproxy_client_connections_closed_total") == 6
        pins = proxy.api("pins")
        # Of one statement, but the applications have names of their own.
        assert [(r["rule"], r["count"], r["held"]) for r in pins["pins"]] == [
            ("PIN-PG-01", 1, 1)
        ] * 2
        assert len(pins["sessions"]) == 2


def test_the_budget_holds_whatever_the_clients_do(crew: Proxy, postgres: Postgres) -> None:
    """Invariant 8; and nobody times out at one worker while the other's servers idle."""
    with clients_at(crew, {1: 20, 2: 2}) as clients, Watcher(postgres) as watcher:
        for heavy, light in ((1, 2), (2, 1), (1, 2)):
            # First one worker takes all that there is, then the other needs some of it.
            all_at_once(clients[heavy], "SELECT pg_sleep(0.02)", 5)
            began = time.monotonic()
            all_at_once(clients[light], "SELECT pg_sleep(0.02)", 5)
            assert time.monotonic() - began < 10
    assert 1 <= watcher.most <= BUDGET


def test_a_busy_worker_passes_places_on(crew: Proxy, postgres: Postgres) -> None:
    """A worker whose clients never pause must not starve the other's."""
    with (
        clients_at(crew, {1: 20, 2: 3}) as clients,
        Watcher(postgres) as watcher,
        asking(clients[1]),
    ):
        time.sleep(0.5)
        waits = []
        for _ in range(5):
            began = time.monotonic()
            all_at_once(clients[2], "SELECT pg_sleep(0.01)", 3)
            waits.append(time.monotonic() - began)
    assert max(waits) < 10, waits
    assert watcher.most <= BUDGET


def test_places_stay_with_workers_that_need_them(crew: Proxy) -> None:
    """M-10: beside a busy worker another's servers are not spare between two transactions."""
    requests = "pyproxy_database_connection_requests_total"
    with clients_at(crew, {1: 5, 2: 1}) as clients, asking([*clients[1], *clients[2]]):
        # Until each worker has what it needs.
        time.sleep(1.5)
        opened = crew.metric(requests)
        time.sleep(2)
        opened = crew.metric(requests) - opened
        owners = [worker_of(row) for row in crew.api("servers")["servers"]]
    # It was forty a second.
    assert opened <= 6
    assert (owners.count(1), owners.count(2)) == (3, 1)


def test_fewer_places_than_workers(postgres: Postgres, tmp_path: Path) -> None:
    """One connection for two workers: each gets it in turn."""
    with (
        start_proxy(tmp_path, postgres, workers=2, max_connections_percent=1) as proxy,
        Watcher(postgres) as watcher,
        clients_at(proxy, {1: 3, 2: 3}) as clients,
    ):
        all_at_once([*clients[1], *clients[2]], "SELECT pg_sleep(0.005)", 10)
    assert watcher.most == 1


def test_a_cancel_request_reaches_its_client_through_any_worker(
    crew: Proxy, postgres: Postgres
) -> None:
    """LIM-PG-01 (extension): the key names the worker; nobody else is hit."""
    with clients_at(crew, {1: 1, 2: 1}) as clients, contextlib.ExitStack() as stack:
        victims = [wires[0] for wires in clients.values()]
        admin = stack.enter_context(postgres.admin())
        bystander = stack.enter_context(psycopg.connect(crew.dsn(), autocommit=True))
        assert all(victim.key for victim in victims)
        for _ in range(50):
            for victim in victims:
                victim.send(Query("SELECT pg_sleep(30)"))
                # PostgreSQL itself ignores a cancel request that comes before the query runs.
                wait_until(lambda: admin.value(_SLEEPING) == "1")
                _cancel(crew, victim.key)
                assert [code for code, _ in errors_of(victim.read_ready())] == ["57014"]
                assert bystander.execute("SELECT 42").fetchone() == (42,)


def test_cancels_at_random_hit_nobody_else(crew: Proxy) -> None:
    """A key that nobody has is ignored, whichever worker it seems to name."""
    with crew.wire() as wire:
        for number in range(80):
            _cancel(crew, (number << 24 | 77, os.urandom(4)))
        assert wire.value("SELECT 1") == "1"


def test_a_reload_reaches_all_workers(postgres: Postgres, tmp_path: Path) -> None:
    with start_proxy(tmp_path, postgres, workers=2) as proxy:
        with clients_at(proxy, {1: 1, 2: 1}):
            text = proxy.config_file.read_text()
            proxy.config_file.write_text(
                text.replace("max_connections_percent: 4", "max_connections_percent: 7")
                + "\nextensions: [cancel_requests]\n"
            )
            proxy.signal(signal.SIGHUP)
            proxy.wait_for_log("The configuration was reloaded")
            assert proxy.metric("pyproxy_max_database_connections_allowed") == 7
        # New clients of both have keys now.
        wait_until(lambda: all(_has_key(proxy) for _ in range(6)))
        assert proxy.log.count("The configuration was reloaded") == 1
        events = json.loads(proxy.get("/api/v1/events?category=configuration+change")[1])["events"]
        # EV: the workers have nothing to add.
        assert [event["event"] for event in events] == ["RDS-EVENT-0204"]


def test_a_worker_that_comes_after_a_reload_listens_where_the_others_do(
    postgres: Postgres, tmp_path: Path
) -> None:
    with start_proxy(tmp_path, postgres, workers=2) as proxy:
        text = proxy.config_file.read_text()
        proxy.config_file.write_text(text.replace("- port: 0", "- {db_proxy_endpoint_name: b}"))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("was reloaded: needs a restart: endpoints")
        before = set(workers(proxy))
        os.kill(pid_of_worker(proxy, 1), signal.SIGKILL)
        wait_until(functools.partial(replaced, proxy, before))
        with clients_at(proxy, {1: 1, 2: 1}) as clients:
            assert all(wires[0].value("SELECT 1") == "1" for wires in clients.values())


def test_a_smaller_budget_is_carried_out(postgres: Postgres, tmp_path: Path) -> None:
    """S-02: a reload that takes places away is obeyed by the workers together."""
    with (
        start_proxy(tmp_path, postgres, workers=2) as proxy,
        clients_at(proxy, {1: 4, 2: 4}) as clients,
    ):
        all_at_once([*clients[1], *clients[2]], "SELECT pg_sleep(0.05)", 2)
        text = proxy.config_file.read_text()
        proxy.config_file.write_text(
            text.replace("max_connections_percent: 4", "max_connections_percent: 2")
        )
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: len(proxy.api("servers")["servers"]) <= 2)
        with Watcher(postgres) as watcher:
            all_at_once([*clients[1], *clients[2]], "SELECT pg_sleep(0.02)", 3)
        assert watcher.most <= 2


def test_draining_lets_transactions_of_all_workers_finish(
    postgres: Postgres, tmp_path: Path
) -> None:
    with start_proxy(tmp_path, postgres, workers=2) as proxy:
        with clients_at(proxy, {1: 2, 2: 2}) as clients:
            for wires in clients.values():
                wires[0].query("BEGIN")
            proxy.signal(signal.SIGTERM)
            proxy.wait_for_log("Draining")
            wait_until(lambda: not _connects(proxy), 5)
            for wires in clients.values():
                assert wires[0].value("SELECT 7") == "7"
                wires[0].query("COMMIT")
            pids = workers(proxy)
        proxy.process.wait(20)
        assert not any(alive(pid) for pid in pids)


def test_a_second_proxy_cannot_take_the_port(
    crew: Proxy, postgres: Postgres, tmp_path: Path
) -> None:
    """SO_REUSEPORT would let it in, and half of the clients would go astray."""
    endpoints = [{"port": crew.port}]
    with (
        pytest.raises(AssertionError, match="cannot listen on"),
        start_proxy(tmp_path, postgres, workers=2, endpoints=endpoints),
    ):
        pass


def test_log_lines_are_whole(postgres: Postgres, tmp_path: Path) -> None:
    """Of all workers in one stream, also long ones: each line is one JSON object."""
    with start_proxy(tmp_path, postgres, workers=2, log_format="json") as proxy:
        with clients_at(proxy, {1: 6, 2: 6}) as clients:
            filler = "x" * 20_000
            for wires in clients.values():
                for wire in wires[:2]:
                    wire.query(f"SET work_mem = '4MB' /* {filler} */")
        # A worker's lines come through a pipe: the last may be behind its client's answer.
        wait_until(lambda: proxy.log.count("was pinned") == 4)
    assert all(isinstance(json.loads(line), dict) for line in proxy.log.splitlines())


def test_a_rotated_secret_reaches_all_workers(postgres: Postgres, tmp_path: Path) -> None:
    """AU-11: new logins at each of them need the new password."""
    with start_proxy(tmp_path, postgres, workers=2, secrets={"refresh_interval": 0.2}) as proxy:
        file = tmp_path / "secrets.yaml"
        file.write_text(file.read_text().replace("username: app", "username: nobody-else"))

        def refused() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(proxy.dsn()).close()
                return False
            return True

        wait_until(lambda: all(refused() for _ in range(8)))
        # The supervisor says it, who reads the file as well, and may be the last to do so.
        proxy.wait_for_log("changed its user")
        assert len(re.findall("changed its user", proxy.log)) == 1


# -- doing ---------------------------------------------------------------------------------------


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=2)


def _connects(proxy: Proxy) -> bool:
    try:
        _connect(proxy).close()
    except OSError:
        return False
    return True


def _has_key(proxy: Proxy) -> bool:
    with proxy.wire() as wire:
        return wire.key is not None


def _cancel(proxy: Proxy, key: tuple[int, bytes] | None) -> None:
    """Send a CancelRequest and wait until the proxy has dealt with it."""
    assert key is not None
    with contextlib.closing(_connect(proxy)) as sock:
        sock.settimeout(20)
        sock.sendall(CancelRequest(*key).encode())
        assert sock.recv(1) == b""
