"""A primary and its standby, each a real PostgreSQL, to kill, freeze and cut off; and a proxy.

    with make_pair(folder, synchronous=True) as pair, pair.proxy(folder) as proxy:
        pair.primary.cluster.kill()

Clients of the proxy come through `proxy`; `pair.primary` and `pair.standby` are ways straight in,
named by what they were at the start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproxy.lab.cluster import Cluster
from tests.support.postgres import PASSWORD, Postgres, start_postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy

MONITOR = "rdsproxyadmin"


class Pair:
    """Two clusters, `db-a` and `db-b`."""

    def __init__(self, primary: Postgres, standby: Postgres) -> None:
        self.primary = primary
        self.standby = standby

    def targets(self, **ports: int) -> list[dict[str, Any]]:
        """For the configuration; `ports` may lead through something, as `a=...`."""
        both = {"a": self.primary.port, "b": self.standby.port} | ports
        return [{"id": f"db-{name}", "port": port} for name, port in both.items()]

    @contextlib.contextmanager
    def proxy(self, folder: Path, **changes: Any) -> Iterator[Proxy]:
        """A proxy before the pair, monitored by its own user; `ports` as for `targets`."""
        ports = changes.pop("ports", {})
        percent = changes.pop("max_connections_percent", 40)
        pool = {"max_connections_percent": percent, "connection_borrow_timeout": 60}
        group = {"connection_pool_config": pool, "targets": self.targets(**ports)}
        settings: dict[str, Any] = {
            "monitoring": {"secret": MONITOR},
            "target_group": group,
        } | changes
        place = folder / "proxy"
        # There it finds what an earlier proxy of the test has left behind.
        place.mkdir(exist_ok=True)
        with start_proxy(place, self.primary, **settings) as proxy:
            yield proxy

    def await_streaming(self, seconds: float = 20.0) -> None:
        """Wait until the standby streams from the primary."""
        with contextlib.closing(self.primary.admin("postgres")) as admin:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if admin.query("SELECT FROM pg_stat_replication WHERE state = 'streaming'"):
                    return
                time.sleep(0.02)
        raise AssertionError(f"no streaming: {self.standby.cluster.last_words()}")


@contextlib.contextmanager
def make_pair(folder: Path, *, synchronous: bool = False) -> Iterator[Pair]:
    """A pair of its own; with `synchronous` no commit is acknowledged before the standby has it."""
    primary = start_postgres(folder)
    clusters = [primary.cluster]
    try:
        with contextlib.closing(primary.admin("postgres")) as admin:
            admin.query(f"CREATE ROLE {MONITOR} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        standby = Cluster.copy_of(primary.cluster, folder / "standby")
        clusters.append(standby)
        standby.start()
        pair = Pair(primary, Postgres(standby))
        pair.await_streaming()
        if synchronous:
            with contextlib.closing(primary.admin("postgres")) as admin:
                # Only here: the copy of the settings that the standby has must not wait for anybody.
                admin.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.query("SELECT pg_reload_conf()")
        yield pair
    finally:
        for cluster in clusters:
            cluster.thaw()
            cluster.kill()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair for one test, to be broken."""
    with temporary_folder() as folder, make_pair(folder, synchronous=True) as pair:
        yield pair
