"""`make bench`: the proxy beside PgBouncer and the database itself; writes the page.

After `make compile` both builds are measured, before it the plain one.
PYPROXY_BENCH_SECONDS and PYPROXY_BENCH_ROUNDS make it longer, PYPROXY_BENCH_CLIENTS the idle crowd
larger. It measures and judges nothing but errors: a busy machine is no reason to fail.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

from tests.bench import measures, peers
from tests.bench.report import Report, figure
from tests.support.postgres import Postgres, start_postgres, temporary_folder

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

SECONDS = int(os.environ.get("PYPROXY_BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("PYPROXY_BENCH_ROUNDS", "3"))
CLIENTS = int(os.environ.get("PYPROXY_BENCH_CLIENTS", "2000"))
RATE = 1000


def test_performance() -> None:
    bouncer = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    pgbench = measures.pgbench_program()
    if bouncer is None or pgbench is None:
        pytest.skip("needs pgbouncer and pgbench: Debian's pgbouncer and postgresql packages")
    raise_file_limit()
    with temporary_folder() as folder:
        postgres = start_postgres(folder, **peers.DATABASE_SETTINGS)
        try:
            fill(postgres, pgbench)
            run(postgres, folder, bouncer)
        finally:
            postgres.cluster.kill()


def raise_file_limit() -> None:
    """Ten thousand clients here are as many there."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def fill(postgres: Postgres, pgbench: str) -> None:
    """Make pgbench's tables, and one with long results."""
    subprocess.run(
        [pgbench, "-i", "-q", "-s", "5", postgres.dsn()], check=True, capture_output=True
    )
    with postgres.wire() as wire:
        wire.query(
            "CREATE TABLE bulk AS SELECT i AS id, 'row ' || i || repeat('x', i % 40) AS t,"
            f" i * 1.5 AS v FROM generate_series(1, {measures.BULK_ROWS}) i"
        )
        wire.query("VACUUM ANALYZE")


def run(postgres: Postgres, folder: Path, bouncer: str) -> None:
    """All measurements."""
    peers.make_certificate(folder)
    compared = [
        peers.direct(postgres),
        peers.pgbouncer(postgres, folder, bouncer),
        peers.proxy(postgres, folder, "plain", peers.copy_sources(folder / "plain")),
    ]
    compiled = peers.compile_sources(folder / "compiled")
    if compiled is not None:
        compared.append(peers.proxy(postgres, folder, "compiled", compiled))
    version = subprocess.run([bouncer, "--version"], capture_output=True, text=True).stdout.split()
    report = Report(compared, ROUNDS, version[1])
    with peers.running(compared):
        for mode, clients in (
            *(("simple", 16), ("simple", 64)),
            *(("extended", 16), ("extended", 64)),
            *(("prepared", 16), ("prepared", 64)),
        ):
            report.compare(
                f"Select-only, {mode} protocol, {clients} clients",
                lambda peer, m=mode, c=clients: measures.transactions(peer, m, c, SECONDS),  # type: ignore[misc]
            )
        at_a_rate(report)
        report.compare("Results of 100,000 rows", lambda peer: measures.bulk(peer, SECONDS))
        for tls in (False, True):
            report.compare(
                "A connection per transaction, SCRAM" + (" over TLS" if tls else ""),
                lambda peer, tls=tls: measures.logins(peer, SECONDS, tls=tls),  # type: ignore[misc]
                without_direct=True,
            )
        for count in (500, 2000):
            report.compare(
                f"A storm of {count} clients at once",
                lambda peer, count=count: measures.storms(peer, count),  # type: ignore[misc]
                without_direct=True,
            )
            connections = database_connections(postgres)
            report.note(f"The database has had {connections} connections for all of them together.")
        report.compare(
            f"Select-only beside {CLIENTS} idle clients",
            lambda peer: measures.beside_idle(peer, CLIENTS, SECONDS),
            without_direct=True,
        )
        report.compare(
            f"Memory of {CLIENTS} idle clients",
            lambda peer: measures.idle(peer, CLIENTS),
            without_direct=True,
        )
        report.compare(
            f"Memory of {CLIENTS // 4} idle clients over TLS",
            lambda peer: measures.idle(peer, CLIENTS // 4, tls=True),
            without_direct=True,
        )
    report.write()


def at_a_rate(report: Report) -> None:
    """What each adds to a direct connection when nobody is in a hurry."""
    results = report.compare(
        f"{RATE} transactions a second, 16 clients",
        lambda peer: measures.transactions(peer, "simple", 16, SECONDS, "-R", str(RATE)),
    )
    added = [
        f"{name} {figure(statistics.median(r['p99 ms'] - d['p99 ms'] for r, d in pairs))}"
        for name in results
        if (pairs := list(zip(results[name], results["direct"], strict=False))) and name != "direct"
    ]
    report.note(f"Added to the direct p99, in ms: {', '.join(added)}.")


def database_connections(postgres: Postgres) -> int:
    """Those of all peers, now."""
    with postgres.admin() as admin:
        return int(admin.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") or 0)
