"""`make bench`: the proxy beside PgBouncer and the database itself; writes the page.

After `make compile` both builds are measured, before it the plain one.
PYPROXY_BENCH_SECONDS and PYPROXY_BENCH_ROUNDS make it longer, PYPROXY_BENCH_CLIENTS the idle crowd
larger; PYPROXY_BENCH_ONLY is a pattern of titles, and writes no page; PYPROXY_BENCH_PGBOUNCER names
other PgBouncers than the installed one, with a colon between two. It measures and judges nothing but
errors: a busy machine is no reason to fail.
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
from tests.bench.report import Goal, Report, figure
from tests.support.postgres import Postgres, start_postgres, temporary_folder

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

SECONDS = int(os.environ.get("PYPROXY_BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("PYPROXY_BENCH_ROUNDS", "3"))
CLIENTS = int(os.environ.get("PYPROXY_BENCH_CLIENTS", "2000"))
ONLY = os.environ.get("PYPROXY_BENCH_ONLY", "")
RATE = 1000
# What was promised: see the rows.
SELECTS = {
    ("simple", 16): (Goal("CPU µs/tx", False, 1.45, 1.2),),
    ("simple", 64): (
        Goal("CPU µs/tx", False, 1.15, 0.95),
        Goal("tps", True, 1.0, 1.05),
    ),
    ("extended", 16): (Goal("CPU µs/tx", False, 1.45, 1.2),),
    ("extended", 64): (),
    ("prepared", 16): (Goal("CPU µs/tx", False, 1.1, 0.9),),
    ("prepared", 64): (Goal("CPU µs/tx", False, 1.1, 0.9),),
}


def test_performance() -> None:
    bouncers = (
        os.environ.get("PYPROXY_BENCH_PGBOUNCER")
        or shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        or ""
    )
    pgbench = measures.pgbench_program()
    if not bouncers or pgbench is None:
        pytest.skip("needs pgbouncer and pgbench: Debian's pgbouncer and postgresql packages")
    raise_file_limit()
    with temporary_folder() as folder:
        sockets = folder / "sockets"
        sockets.mkdir()
        sockets.chmod(0o777)
        settings = peers.DATABASE_SETTINGS | {"unix_socket_directories": str(sockets)}
        postgres = start_postgres(folder, **settings)
        try:
            fill(postgres, pgbench)
            run(postgres, folder, bouncers.split(os.pathsep))
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


def run(postgres: Postgres, folder: Path, bouncers: list[str]) -> None:
    """All measurements."""
    peers.make_certificate(folder)
    trees = {"plain": peers.copy_sources(folder / "plain")}
    compiled = peers.compile_sources(folder / "compiled")
    if compiled is not None:
        trees["compiled"] = compiled
    by_tcp, by_socket, with_workers = (
        [
            *(peers.pgbouncer(postgres, folder, program, host) for program in bouncers),
            *(
                peers.proxy(postgres, folder, name, tree, host, workers=workers)
                for name, tree in trees.items()
            ),
        ]
        for host, workers in ((peers.HOST, 1), (str(folder / "sockets"), 1), (peers.HOST, 2))
    )
    compared = [peers.direct(postgres), *by_tcp]
    report = Report(compared, ROUNDS, ONLY)
    with peers.running(compared):
        for (mode, clients), goals in SELECTS.items():
            report.compare(
                f"Select-only, {mode} protocol, {clients} clients",
                lambda peer, m=mode, c=clients: measures.transactions(peer, m, c, SECONDS),  # type: ignore[misc]
                *goals,
                # Beside the pools of the others it would be refused.
                without_direct=clients > peers.MAX_CONNECTIONS - len(by_tcp) * peers.POOL,
            )
        at_a_rate(report)
        report.compare(
            "Results of 100,000 rows",
            lambda peer: measures.bulk(peer, SECONDS),
            Goal("MB/s", True, 0.7, 0.9),
        )
        for tls in (False, True):
            report.compare(
                "A connection per transaction, SCRAM" + (" over TLS" if tls else ""),
                lambda peer, tls=tls: measures.logins(peer, SECONDS, tls=tls),  # type: ignore[misc]
                Goal("logins/s", True, 0.6, 0.8),
                without_direct=True,
            )
        for count in (500, 2000):
            report.compare(
                f"A storm of {count} clients at once",
                lambda peer, count=count: measures.storms(peer, count, postgres),  # type: ignore[misc]
                Goal("seconds", False, 1.2, 1.2),
                # Directly each would have its own.
                Goal("connections", False, count / 10, count / 10, to_pgbouncer=False),
                without_direct=True,
            )
        report.compare(
            f"Select-only beside {CLIENTS} idle clients",
            lambda peer: measures.beside_idle(peer, CLIENTS, SECONDS),
            Goal("to that of few", False, 1.2, 1.2, to_pgbouncer=False),
            without_direct=True,
        )
        report.compare(
            f"Memory of {CLIENTS} idle clients",
            lambda peer: measures.idle(peer, CLIENTS),
            Goal("KiB/client", False, 4, 4, to_pgbouncer=False),
            Goal("MB in all", False, 90, 90, to_pgbouncer=False),
            without_direct=True,
        )
        report.compare(
            f"Memory of {CLIENTS // 4} idle clients over TLS",
            lambda peer: measures.idle(peer, CLIENTS // 4, tls=True),
            without_direct=True,
        )
    with peers.running(by_socket):
        for clients in (16, 64):
            report.compare(
                f"Select-only, simple protocol, {clients} clients, the database by its Unix socket",
                lambda peer, c=clients: measures.transactions(peer, "simple", c, SECONDS),  # type: ignore[misc]
                among=by_socket,
            )
    with peers.running(with_workers):
        report.compare(
            "Select-only, simple protocol, 64 clients, two workers",
            lambda peer: measures.transactions(peer, "simple", 64, SECONDS),
            among=with_workers,
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
    if added:
        goal = "The goal is 0.5 at most."
        report.note(f"Added to the direct p99, in ms: {', '.join(added)}. {goal}")
