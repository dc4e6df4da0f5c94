"""CloudWatch's 27 metrics of a real proxy under a scripted load: each with the number it must have.

One script, step by step; behind every step stands what it makes of which metric (M-01 … M-27).
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pyproxy.lab import ownership
from pyproxy.metrics.catalog import CATALOG, LATENCY
from tests.support.certificates import make_certificates
from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import PASSWORD, Postgres, start_postgres, temporary_folder
from tests.support.proxy import ROOT, Proxy, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import LoginFailed, Wire, errors_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Postgres]:
    """A PostgreSQL that offers TLS, of this module alone: its connections are counted."""
    with temporary_folder() as folder:
        postgres = start_postgres(folder)
        files = make_certificates(folder / "tls")
        for name, source in (("s.pem", files.certificate), ("s.key", files.private_key)):
            path = postgres.cluster.data / name
            path.touch(0o600)
            path.write_bytes(source.read_bytes())
            ownership.give(path, postgres.cluster.programs.owner)
        postgres.cluster.configure({"ssl": "on", "ssl_cert_file": "s.pem", "ssl_key_file": "s.key"})
        with contextlib.closing(postgres.admin("postgres")) as admin:
            admin.query("SELECT pg_reload_conf()")
        yield postgres
        postgres.cluster.kill()


@contextlib.contextmanager
def counted(postgres: Postgres, **changes: object) -> Iterator[Proxy]:
    """A proxy with at most four database connections, which one waits for a second for."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, connection_borrow_timeout=1, **changes) as proxy,
    ):
        yield proxy


def metrics(proxy: Proxy) -> dict[str, float]:
    """CloudWatch's metrics by their names; of a latency how many observations it has."""
    families = {f.name: f for f in text_string_to_metric_families(proxy.get("/metrics")[1])}
    return {
        metric.name: sum(
            sample.value
            for sample in families[metric.family].samples
            if metric.kind is not LATENCY or sample.name.endswith("_count")
        )
        for metric in CATALOG
        if not metric.ours
    }


def expect(proxy: Proxy, **expected: float) -> None:
    """Wait until these metrics have these values; says which have others."""
    deadline = time.monotonic() + 15
    while True:
        found = metrics(proxy)
        wrong = {name: found[name] for name in expected if found[name] != expected[name]}
        if not wrong:
            return
        assert time.monotonic() < deadline, f"{wrong} where {expected} was expected"
        time.sleep(0.05)


def tls_wire(proxy: Proxy) -> Wire:
    client = Wire(proxy.host, proxy.port)
    context = ssl.create_default_context(cafile=str(proxy.certificate_authority))
    client.start_tls(context)
    return client.login("app", PASSWORD, "app")


def test_connections_of_clients(encrypted: Postgres) -> None:
    """M-02 to M-09."""
    with counted(encrypted) as proxy:
        expect(
            proxy, ClientConnections=0, ClientConnectionsReceived=0, ClientConnectionsClosed=0,
            ClientConnectionsInSetup=0, ClientConnectionsNoTLS=0, ClientConnectionsTLS=0,
        )  # fmt: skip
        plain = [proxy.wire() for _ in range(3)]
        secure = [tls_wire(proxy) for _ in range(2)]
        expect(
            proxy, ClientConnections=5, ClientConnectionsReceived=5, ClientConnectionsClosed=0,
            ClientConnectionsInSetup=0, ClientConnectionsNoTLS=3, ClientConnectionsTLS=2,
            ClientConnectionsSetupSucceeded=5, ClientConnectionsSetupFailedAuth=0,
        )  # fmt: skip
        with socket.create_connection((proxy.host, proxy.port)):
            # It has not said yet whether it wants TLS.
            expect(
                proxy, ClientConnections=6, ClientConnectionsInSetup=1, ClientConnectionsNoTLS=3,
                ClientConnectionsTLS=2,
            )  # fmt: skip
        expect(
            proxy, ClientConnections=5, ClientConnectionsInSetup=0, ClientConnectionsReceived=6,
            ClientConnectionsClosed=1, ClientConnectionsSetupFailedAuth=0,
        )  # fmt: skip
        for user, password in (("app", "wrong"), ("nobody", PASSWORD)):
            with pytest.raises(LoginFailed):
                Wire(proxy.host, proxy.port).login(user, password, "app")
        plain.pop().terminate()
        secure.pop().vanish()
        expect(
            proxy, ClientConnections=3, ClientConnectionsReceived=8, ClientConnectionsClosed=5,
            ClientConnectionsNoTLS=2, ClientConnectionsTLS=1, ClientConnectionsInSetup=0,
            ClientConnectionsSetupSucceeded=5, ClientConnectionsSetupFailedAuth=2,
        )  # fmt: skip
        for client in (*plain, *secure):
            client.close()


def test_a_login_that_tls_prevents_has_failed(encrypted: Postgres) -> None:
    """M-08: "authentication or TLS misconfiguration"; a client that just goes away has not."""
    with counted(encrypted, proxy={"require_tls": True}) as proxy:
        with pytest.raises(LoginFailed):
            proxy.wire()
        expect(proxy, ClientConnectionsSetupFailedAuth=1)
        # A client that does not believe our certificate.
        with pytest.raises(ssl.SSLError):
            Wire(proxy.host, proxy.port).start_tls(ssl.create_default_context())
        expect(proxy, ClientConnectionsSetupFailedAuth=2, ClientConnectionsClosed=2)
        tls_wire(proxy).terminate()
        expect(proxy, ClientConnectionsSetupFailedAuth=2, ClientConnectionsClosed=3)


def test_database_connections_and_their_limit(encrypted: Postgres) -> None:
    """M-10 to M-12, M-14 to M-20."""
    with counted(encrypted) as proxy, contextlib.ExitStack() as clients:
        expect(proxy, DatabaseConnections=0, DatabaseConnectionRequests=0)
        idle, busy, pinned, both = (clients.enter_context(proxy.wire()) for _ in range(4))
        for client in (idle, busy, pinned, both):
            client.query("SELECT 1")
        expect(
            proxy, DatabaseConnections=1, DatabaseConnectionRequests=1,
            DatabaseConnectionsSetupSucceeded=1, DatabaseConnectionsSetupFailed=0,
            DatabaseConnectionRequestsWithTLS=1, DatabaseConnectionsWithTLS=1,
            DatabaseConnectionsCurrentlyBorrowed=0, MaxDatabaseConnectionsAllowed=4,
        )  # fmt: skip
        busy.query("BEGIN")
        pinned.query("SET work_mem = '8MB'")
        both.query("BEGIN; SET work_mem = '8MB'")
        # A pinned one is borrowed (M-32), one in a transaction too; a transaction alone pins
        # nothing, and who does both counts in both.
        expect(
            proxy, DatabaseConnections=3, DatabaseConnectionsCurrentlyBorrowed=3,
            DatabaseConnectionsCurrentlyInTransaction=2,
            DatabaseConnectionsCurrentlySessionPinned=2, DatabaseConnectionsWithTLS=3,
        )  # fmt: skip
        busy.ask(Query("SELECT 1/0"))
        busy.query("ROLLBACK")
        both.query("ROLLBACK")
        expect(
            proxy, DatabaseConnectionsCurrentlyBorrowed=2,
            DatabaseConnectionsCurrentlyInTransaction=0,
            DatabaseConnectionsCurrentlySessionPinned=2,
        )  # fmt: skip
        with pytest.raises(LoginFailed):
            proxy.wire(database="nowhere")
        # The database has refused it after TLS stood.
        expect(
            proxy, DatabaseConnections=3, DatabaseConnectionRequests=4,
            DatabaseConnectionsSetupSucceeded=3, DatabaseConnectionsSetupFailed=1,
            DatabaseConnectionRequestsWithTLS=4,
        )  # fmt: skip


def test_borrowing_and_what_comes_of_it(encrypted: Postgres) -> None:
    """M-13, M-21, M-22: at once, after a wait, in vain, and given up."""
    with counted(encrypted) as proxy, contextlib.ExitStack() as clients:
        holders = [clients.enter_context(proxy.wire()) for _ in range(4)]
        late = clients.enter_context(proxy.wire())
        for holder in holders:
            holder.query("BEGIN")
        expect(
            proxy, DatabaseConnectionsBorrowRequests=4, DatabaseConnectionsBorrowLatency=4,
            DatabaseConnectionsBorrowRequestsAborted=0,
        )  # fmt: skip
        late.send(Query("SELECT 1"))
        wait_until(lambda: proxy.metric("pyproxy_borrow_requests_waiting") == 1, 15)
        holders[0].query("COMMIT")
        late.read_ready()
        expect(
            proxy, DatabaseConnectionsBorrowRequests=5, DatabaseConnectionsBorrowLatency=5,
            DatabaseConnectionsBorrowRequestsAborted=0,
        )  # fmt: skip
        holders[0].query("BEGIN")
        # Nobody gives one back within the second.
        late.send(Query("SELECT 1"))
        assert errors_of(late.read_to_end())[0][0] == "08000"
        expect(
            proxy, DatabaseConnectionsBorrowRequests=7, DatabaseConnectionsBorrowLatency=6,
            DatabaseConnectionsBorrowRequestsAborted=1,
        )  # fmt: skip
        with proxy.wire() as impatient:
            impatient.send(Query("SELECT 1"))
            wait_until(lambda: proxy.metric("pyproxy_borrow_requests_waiting") == 1, 15)
        expect(
            proxy, DatabaseConnectionsBorrowRequests=8, DatabaseConnectionsBorrowLatency=6,
            DatabaseConnectionsBorrowRequestsAborted=2,
        )  # fmt: skip


def load(plain: Wire, secure: Wire) -> None:
    """Five simple queries in clear, two over TLS; four executions by the extended protocol."""
    for sql in ("SELECT 1", "SELECT 1; SELECT 2; SELECT 3", "", "SELECT 1/0", "BEGIN; COMMIT"):
        plain.ask(Query(sql))
    for _ in range(2):
        secure.ask(Query("SELECT pg_sleep(0.2)"))
    plain.ask(Parse("s", "SELECT 1"), Bind("", "s"), Execute(), Bind("", "s"), Execute(), Sync())
    secure.ask(Parse("", "SELECT 1"), Bind(), Execute(), Sync(), Bind(), Execute(), Sync(), ready=2)


def seconds(proxy: Proxy, name: str) -> float:
    return proxy.metric(f"{name}_seconds_sum")


def test_queries_and_their_latencies(encrypted: Postgres) -> None:
    """M-23 to M-27; a multi-statement query counts once, the extended protocol not (M-31)."""
    with counted(encrypted) as proxy, proxy.wire() as plain, tls_wire(proxy) as secure:
        load(plain, secure)
        expect(
            proxy, QueryRequests=7, QueryRequestsNoTLS=5, QueryRequestsTLS=2,
            QueryResponseLatency=7, QueryDatabaseResponseLatency=7,
        )  # fmt: skip
        for name in ("pyproxy_query_response_latency", "pyproxy_query_database_response_latency"):
            assert 0.4 <= seconds(proxy, name) < 5
        assert proxy.metric("pyproxy_extended_query_requests_total") == 4
        # One Sync, one latency.
        assert proxy.metric("pyproxy_extended_query_response_latency_seconds_count") == 3


def test_the_extended_protocol_is_counted_in_when_told_to(encrypted: Postgres) -> None:
    """M-31, the other way."""
    with (
        counted(encrypted, compatibility={"extended_query_metrics": True}) as proxy,
        proxy.wire() as plain,
        tls_wire(proxy) as secure,
    ):
        load(plain, secure)
        expect(
            proxy, QueryRequests=11, QueryRequestsNoTLS=7, QueryRequestsTLS=4,
            QueryResponseLatency=10, QueryDatabaseResponseLatency=10,
        )  # fmt: skip


def test_availability_is_there_once_it_is_known(encrypted: Postgres) -> None:
    """M-01; "some appear only after the first successful connection" (M-00): never a false alarm."""
    name = "pyproxy_availability_percentage"
    with counted(encrypted) as proxy:
        assert f"\n{name}{{" not in proxy.get("/metrics")[1]
        with proxy.wire() as client:
            client.query("SELECT 1")
            expect(proxy, AvailabilityPercentage=100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = {"targets": [{"id": "db-a", "port": taken.getsockname()[1], "tls": "disable"}]}
        taken.close()
        with counted(encrypted, target_group=nowhere) as proxy:
            with pytest.raises(LoginFailed):
                proxy.wire()
            expect(proxy, AvailabilityPercentage=0, DatabaseConnectionsSetupSucceeded=0)
            assert f"\n{name}{{" in proxy.get("/metrics")[1]


def test_named_statements_are_those_that_clients_hold(encrypted: Postgres) -> None:
    """Ours: unnamed ones do not count, and who leaves takes his with him."""

    def held() -> float:
        return proxy.metric("pyproxy_prepared_statements")

    with counted(encrypted) as proxy:
        with proxy.wire() as client:
            for name in ("a", "b", "", ""):
                client.ask(Parse(name, "SELECT 1"), Bind("", name), Execute(), Sync())
            assert errors_of(client.ask(Parse("c", "SELEC"), Sync()))
            assert held() == 2
        wait_until(lambda: held() == 0, 15)
        assert proxy.metric("pyproxy_prepared_statements_parsed_total") == 3


def test_the_embedded_metric_format_has_the_same_numbers(encrypted: Postgres) -> None:
    """`pyproxy metrics --format emf`, in each of AWS's dimension sets."""
    with counted(encrypted) as proxy, proxy.wire() as plain, tls_wire(proxy) as secure:
        load(plain, secure)
        plain.query("SET work_mem = '8MB'")
        url = f"http://{proxy.host}:{proxy.http_port}"
        command = [sys.executable, "-m", "pyproxy", "metrics", "--format", "emf", "--url", url]
        lines = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    documents = [json.loads(line) for line in lines]
    found = {
        tuple(sorted(document["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0])): document
        for document in documents
    }
    proxy_wide = found["ProxyName",]
    assert proxy_wide["ProxyName"] == "pyproxy"
    assert (proxy_wide["QueryRequests"], proxy_wide["ClientConnections"]) == (8, 2)
    assert proxy_wide["DatabaseConnectionsCurrentlySessionPinned"] == 1
    assert 50_000 <= proxy_wide["QueryResponseLatency"] < 600_000, "the mean, in microseconds"
    by_endpoint = found["EndpointName", "ProxyName"]
    assert (by_endpoint["EndpointName"], by_endpoint["QueryRequestsTLS"]) == ("default", 2)
    by_role = found["ProxyName", "TargetGroup", "TargetRole"]
    assert by_role["TargetRole"] == "READ_WRITE"
    assert by_role["AvailabilityPercentage"] == 100
    assert by_role["DatabaseConnectionsBorrowRequests"] > 0
    by_target = found["ProxyName", "Target", "TargetGroup"]
    assert (by_target["Target"], by_target["DatabaseConnectionsWithTLS"]) == ("db-a", 1)
    named = {name for document in documents for name in document}
    assert {metric.name for metric in CATALOG if not metric.ours} <= named
