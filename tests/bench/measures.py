"""One measurement each, of one peer, as {what: number}."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.clients import Client, message, storm
from tests.bench.peers import DATABASE, HOST, USER, Peer
from tests.support.postgres import PASSWORD, Postgres

Result = dict[str, float]
# What the bulk measurement asks for: 100,000 rows of some 60 bytes.
BULK = "SELECT * FROM bulk"
BULK_ROWS = 100_000


class Failed(Exception):
    """A peer cannot do it; its row says so."""


def pgbench_program() -> str | None:
    """PostgreSQL's own load generator: Debian keeps it beside the server, out of the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return shutil.which("pgbench") or (str(beside[-1]) if beside else None)


def transactions(
    peer: Peer, mode: str, clients: int, seconds: int, *options: str, tls: bool = False
) -> Result:
    """The select-only script of pgbench; by the extended protocol where none can be prepared."""
    if mode == "prepared" and not peer.prepares:
        mode = "extended"
    program = pgbench_program()
    assert program is not None
    environment = os.environ | {
        "PGPASSWORD": PASSWORD,
        "PGSSLMODE": "require" if tls else "disable",
        "PGGSSENCMODE": "disable",
    }
    with tempfile.TemporaryDirectory() as logs:
        command = [program, "-n", "-S", "-M", mode, "-c", str(clients), "-T", str(seconds)]
        command += ["-h", HOST, "-p", str(peer.port), "-U", USER, "-l", "--log-prefix=log"]
        before = peer.cpu()
        done = subprocess.run(
            [*command, *options, DATABASE],
            cwd=logs,
            env=environment,
            capture_output=True,
            text=True,
        )
        used = peer.cpu() - before
        latencies = sorted(_latencies(Path(logs)))
    count = re.search(r"actually processed: (\d+)", done.stdout)
    tps = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode or not count or not tps or not latencies:
        raise Failed((done.stderr.strip().splitlines() or ["nothing was processed"])[-1])
    return {
        "tps": float(tps[1]),
        "CPU µs/tx": used / int(count[1]) * 1e6,
        "p50 ms": latencies[len(latencies) // 2] / 1e3,
        "p99 ms": latencies[len(latencies) * 99 // 100] / 1e3,
    }


def _latencies(logs: Path) -> Iterator[int]:
    for path in logs.iterdir():
        for line in path.read_text().splitlines():
            fields = line.split()
            if len(fields) > 2 and fields[2].isdigit():
                yield int(fields[2])


def logins(peer: Peer, seconds: int, *, tls: bool) -> Result:
    """A connection per transaction."""
    result = transactions(peer, "simple", 16, seconds, "-C", tls=tls)
    return {"logins/s": result["tps"], "CPU µs/login": result["CPU µs/tx"]}


def bulk(peer: Peer, seconds: int) -> Result:
    """One client reads large results, again and again."""
    client = Client(peer, "SELECT 1").serve()
    buffer = bytearray(1 << 20)
    count = results = 0
    end = b""
    before, began = peer.cpu(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        client.sock.sendall(message(b"Q", BULK.encode() + b"\0"))
        while not end.endswith(b"Z\0\0\0\5I"):
            received = client.sock.recv_into(buffer)
            count += received
            end = (end + buffer[max(0, received - 6) : received])[-6:]
        end = b""
        results += 1
    passed = time.perf_counter() - began
    used = peer.cpu() - before
    client.sock.close()
    return {
        "MB/s": count / passed / 1e6,
        "rows/s": results * BULK_ROWS / passed,
        "CPU µs/MB": used / count * 1e12,
    }


def idle(peer: Peer, count: int, *, tls: bool = False) -> Result:
    """What clients cost that have logged in, asked once, and say nothing more."""
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    peer.stop()
    peer.start()
    with contextlib.ExitStack() as stack:
        stack.callback(Client(peer, "SELECT 1").serve(context).sock.close)
        empty = peer.memory()
        for _ in range(count):
            stack.callback(Client(peer, "SELECT 1").serve(context).sock.close)
        time.sleep(1)
        full = peer.memory()
    return {"KiB/client": (full - empty) / count / 1024, "MB in all": full / 1e6}


def beside_idle(peer: Peer, count: int, seconds: int) -> Result:
    """CPU per transaction beside `count` idle clients, to that beside none."""
    few = transactions(peer, "simple", 16, seconds)["CPU µs/tx"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.callback(Client(peer, "SELECT 1").serve().sock.close)
        many = transactions(peer, "simple", 16, seconds)["CPU µs/tx"]
    return {"CPU µs/tx": many, "to that of few": many / few}


def storms(peer: Peer, count: int, postgres: Postgres) -> Result:
    """All at once; whoever is not served is a failure. Then how many connections they share."""
    peer.stop()
    others = _connections(postgres)
    peer.start()
    before = peer.cpu()
    seconds, errors = storm(peer, count)
    if errors:
        raise Failed(f"{len(errors)} of {count} were not served: {errors[0]}")
    connections = _connections(postgres) - others
    time.sleep(0.5)
    return {
        "seconds": seconds,
        "CPU µs/client": (peer.cpu() - before) / count * 1e6,
        "connections": connections,
    }


def _connections(postgres: Postgres) -> int:
    """Those that the database has, of all peers."""
    with postgres.admin() as admin:
        return int(
            admin.value(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'") or 0
        )
