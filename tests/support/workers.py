"""Workers as a test sees them: their processes, their clients, and what the database has of them."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.wire import ClosedByPeer, Silence, Wire

# Of the proxy under test: 4 percent of 100.
BUDGET: Final = 4
CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE usename = 'app' AND backend_type = 'client backend'"
)


def workers(proxy: Proxy) -> list[int]:
    """Their pids."""
    text = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def worker_of(row: dict[str, Any]) -> int:
    """The worker that has a connection, by its id."""
    return int(row["id"]) % 64 + 1


@contextlib.contextmanager
def clients_at(proxy: Proxy, wanted: dict[int, int]) -> Iterator[dict[int, list[Wire]]]:
    """So many clients of each worker: one is opened until the kernel has dealt them so."""
    have: dict[int, list[Wire]] = {number: [] for number in wanted}
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            if all(len(have[number]) >= count for number, count in wanted.items()):
                break
            name = f"skew-{random.getrandbits(60)}"
            wire = proxy.wire(application_name=name)
            rows = proxy.api(f"clients?application_name={name}")["clients"]
            number = worker_of(rows[0])
            if len(have.get(number, [])) < wanted.get(number, 0):
                have[number].append(stack.enter_context(wire))
            else:
                wire.close()
        yield have


class Watcher(threading.Thread):
    """Counts what the database has of the proxy's, again and again."""

    def __init__(self, postgres: Postgres) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.over = False
        self._postgres = postgres

    def run(self) -> None:
        with self._postgres.admin() as admin:
            while not self.over:
                self.most = max(self.most, int(admin.value(CONNECTIONS) or 0))
                time.sleep(0.005)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.join()


def all_at_once(wires: list[Wire], query: str, times: int) -> None:
    problems: list[Exception] = []

    def ask(wire: Wire) -> None:
        try:
            for _ in range(times):
                wire.query(query)
        except (AssertionError, OSError, Silence, ClosedByPeer) as problem:
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=(wire,)) for wire in wires]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


@contextlib.contextmanager
def asking(wires: list[Wire]) -> Iterator[None]:
    """They ask again and again, each as soon as it has its answer."""
    over = threading.Event()

    def ask(wire: Wire) -> None:
        while not over.is_set():
            wire.query("SELECT pg_sleep(0.01)")

    threads = [threading.Thread(target=ask, args=(wire,)) for wire in wires]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def replaced(proxy: Proxy, before: set[int]) -> bool:
    """Are there as many workers as before, other ones, and do all of them listen?"""
    now = set(workers(proxy))
    return len(now) == len(before) == _listening(proxy) and now != before


def _listening(proxy: Proxy) -> int:
    """How many sockets listen on its port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # The port in hexadecimal behind the address, and 0A for TCP_LISTEN.
    return sum(int(row[1].split(":")[1], 16) == proxy.port and row[3] == "0A" for row in rows)


def pid_of_worker(proxy: Proxy, number: int) -> int:
    """Children in the order of their birth: the first one is worker 1, until one is replaced."""
    return sorted(workers(proxy))[number - 1]
