"""A database on the same machine, reached by its Unix socket: as by TCP, with fewer system calls."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import Postgres, start_postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Postgres, Path]]:
    """A PostgreSQL that asks for a password at its Unix socket, and the socket's folder."""
    with temporary_folder() as folder:
        sockets = folder / "sockets"
        sockets.mkdir()
        sockets.chmod(0o777)
        postgres = start_postgres(folder, unix_socket_directories=str(sockets))
        hba = postgres.cluster.data / "pg_hba.conf"
        hba.write_text(
            hba.read_text().replace("local all all trust", "local all all scram-sha-256")
        )
        with postgres.admin() as admin:
            admin.query("SELECT pg_reload_conf()")
        try:
            yield postgres, sockets
        finally:
            postgres.cluster.kill()


@contextlib.contextmanager
def proxied(place: tuple[Postgres, Path], loop: str, tls: str) -> Iterator[Proxy]:
    postgres, sockets = place
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            postgres,
            loop=loop,
            proxy={"debug_logging": True},
            extensions=["cancel_requests"],
            target_group={
                "connection_pool_config": {"max_connections_percent": 2},
                "targets": [
                    {"id": "db-a", "host": str(sockets), "port": postgres.port, "tls": tls}
                ],
            },
        ) as proxy,
    ):
        yield proxy


# As in libpq an sslmode means nothing on a Unix socket.
@pytest.mark.parametrize(("loop", "tls"), [("uvloop", "prefer"), ("asyncio", "verify-full")])
def test_clients_are_served(place: tuple[Postgres, Path], loop: str, tls: str) -> None:
    with proxied(place, loop, tls) as proxy:
        dsn = proxy.dsn()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(psycopg.connect(dsn, autocommit=True)) for _ in range(6)]
            for number, client in enumerate(clients):
                row = client.execute("SELECT %s::int, inet_server_addr()", [number]).fetchone()
                assert row == (number, None)
        proxy.wait_for_log(
            rf"Connected to the database at {place[1]}/\.s\.PGSQL\.{place[0].port}\."
        )
        (target,) = proxy.api("targets")["targets"]
        assert target["available"] and target["host"] == str(place[1])
        assert proxy.metric("pyproxy_database_connections") <= 2


def test_a_query_is_cancelled(place: tuple[Postgres, Path]) -> None:
    with (
        proxied(place, "uvloop", "disable") as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
        place[0].admin() as admin,
    ):

        def cancel_it() -> None:
            # PostgreSQL itself ignores a cancel request that comes before the query runs.
            sleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            wait_until(lambda: bool(admin.query(sleeping)))
            client.cancel()

        began = time.monotonic()
        canceller = threading.Thread(target=cancel_it)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(60)")
        canceller.join()
        assert time.monotonic() - began < 30


def test_a_socket_that_is_not_there_is_named(place: tuple[Postgres, Path]) -> None:
    with proxied((place[0], Path("/nowhere")), "uvloop", "disable") as proxy:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.dsn(), connect_timeout=3)
        proxy.wait_for_log(r"no connection to target db-a: .*No such file.*/nowhere/\.s\.PGSQL")
