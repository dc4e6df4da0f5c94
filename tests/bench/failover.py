"""How long after there is a writable primary does the first write get through?

    python -m tests.bench.failover --runs 5

PyProxy and PgBouncer (host list, server_login_retry=1) stand before the same pair at the same time;
the primary is killed, PyProxy promotes the standby, and a client of each writes every ten
milliseconds. Measured is the time from the moment at which the new primary, asked directly, says that
it takes writes to the first write that each of the two has acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from pyproxy.lab.cluster import free_port
from pyproxy.lab.ownership import owner
from tests.support.pair import Pair, make_pair
from tests.support.postgres import PASSWORD, temporary_folder
from tests.support.relay import Relay

INTERVAL = 0.01
PATIENCE = 60.0
TABLE = "b_failover"


class Writer(threading.Thread):
    """Writes all the time; after an error it connects again."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self.stopping = threading.Event()
        self.writes: list[float] = []
        self.errors: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                    # So that PgBouncer, too, needs no preparing.
                    connection.prepare_threshold = None
                    while not self.stopping.is_set():
                        connection.execute(f"INSERT INTO {TABLE} VALUES (1)")
                        self.writes.append(time.monotonic())
                        time.sleep(INTERVAL)
            except psycopg.Error as error:
                self.errors.append(error.sqlstate or "connection")
                time.sleep(INTERVAL)

    def first_since(self, moment: float) -> float:
        """Seconds from `moment` to the first write after it; infinity when none came in time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for at in self.writes:
                if at >= moment:
                    return at - moment
            time.sleep(INTERVAL)
        return float("inf")


@contextlib.contextmanager
def pgbouncer(pair: Pair, folder: Path) -> Iterator[str]:
    """PgBouncer before the pair; its list of hosts has one port, so each gets an address."""
    port, listen = free_port(), free_port()
    relays = [
        Relay(postgres.port, host, port)
        for host, postgres in (("127.0.0.1", pair.primary), ("127.0.0.2", pair.standby))
    ]
    (folder / "users.txt").write_text(f'"app" "{PASSWORD}"\n')
    (folder / "pgbouncer.ini").write_text(f"""\
[databases]
app = host=127.0.0.1,127.0.0.2 port={port} dbname=app
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
server_login_retry = 1
logfile = {folder}/pgbouncer.log
""")
    nobody = owner()
    who = {} if nobody is None else {"user": nobody.uid, "group": nobody.gid, "extra_groups": []}
    if nobody is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.uid, nobody.gid)
    process = subprocess.Popen(
        ["pgbouncer", "-q", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **who,
    )
    try:
        yield f"postgresql://app:{PASSWORD}@127.0.0.1:{listen}/app"
    finally:
        process.kill()
        process.wait(10)
        for relay in relays:
            relay.close()


def await_writable(pair: Pair) -> float:
    """The moment at which the new primary takes writes, asked directly and all the time."""
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(pair.standby.dsn("postgres", "app"), autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
            if row == (False,):
                return time.monotonic()
            time.sleep(0.002)
    raise TimeoutError("the standby was not promoted")


def run_once() -> dict[str, tuple[float, list[str]]]:
    """Seconds to the first write and the errors, by name of the pooler."""
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        pair = stack.enter_context(make_pair(folder))
        with pair.primary.wire() as wire:
            wire.query(f"CREATE TABLE {TABLE} (n int)")
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy = stack.enter_context(pair.proxy(place))
        ways = {"PyProxy": proxy.dsn()}
        if shutil.which("pgbouncer"):
            bouncer = folder / "bouncer"
            bouncer.mkdir()
            ways["PgBouncer"] = stack.enter_context(pgbouncer(pair, bouncer))
        writers = {name: Writer(dsn) for name, dsn in ways.items()}
        for writer in writers.values():
            writer.start()
        time.sleep(1.5)
        idle = [name for name, writer in writers.items() if not writer.writes]
        if idle:
            raise RuntimeError(f"nothing gets through {idle}: {writers[idle[0]].errors[:3]}")
        pair.primary.cluster.kill()
        writable = await_writable(pair)
        measured = {
            name: (writer.first_since(writable), writer.errors) for name, writer in writers.items()
        }
        for writer in writers.values():
            writer.stopping.set()
        for writer in writers.values():
            writer.join(10)
        return measured


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = [run_once() for _ in range(parser.parse_args().runs)]
    told = [f"{'':10} {'median s':>9} {'max s':>9} {'errors a run':>13}  SQLSTATEs"]
    for name in runs[0]:
        times = [run[name][0] for run in runs]
        errors = [code for run in runs for code in run[name][1]]
        told.append(
            f"{name:10} {statistics.median(times):9.3f} {max(times):9.3f}"
            f" {len(errors) / len(runs):13.1f}  {', '.join(sorted(set(errors)))}"
        )
    sys.stdout.write("\n".join(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
