"""A primary, two standbys and a READ_ONLY endpoint before them, to see where readers go.

with trio.proxy(folder) as proxy, contextlib.ExitStack() as stack:
    client = Readers(proxy, stack).come()
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproxy.lab.cluster import Cluster
from tests.support.pair import Pair, make_pair
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy
from tests.support.wire import Wire

ENDPOINTS = [
    {"port": 0},
    {"db_proxy_endpoint_name": "reader", "port": 0, "target_role": "READ_ONLY"},
]


class Trio:
    """A primary and two standbys, the second of which allows twice the connections."""

    def __init__(self, pair: Pair, second: Postgres) -> None:
        self.pair = pair
        self.second = second

    def proxy(self, folder: Path, **changes: Any) -> contextlib.AbstractContextManager[Proxy]:
        return self.pair.proxy(
            folder, ports={"c": self.second.port}, endpoints=ENDPOINTS, **changes
        )


@pytest.fixture
def trio() -> Iterator[Trio]:
    """Three clusters for one test, to be broken."""
    with temporary_folder() as folder, make_pair(folder, synchronous=True) as pair:
        second = Cluster.copy_of(pair.primary.cluster, folder / "second")
        # More than the primary has: a standby may.
        second.configure({"max_connections": "200"})
        second.start()
        try:
            yield Trio(pair, Postgres(second))
        finally:
            second.kill()


class Readers:
    """Clients of the READ_ONLY endpoint."""

    def __init__(self, proxy: Proxy, stack: contextlib.ExitStack) -> None:
        rows = proxy.api("proxy")["endpoints"]
        self._port = next(row["port"] for row in rows if row["db_proxy_endpoint_name"] == "reader")
        self._stack = stack

    def come(self, timeout: float = 15.0) -> Wire:
        wire = Wire("127.0.0.1", self._port, timeout=timeout)
        return self._stack.enter_context(wire).login("app", PASSWORD, "app")


def port_of(wire: Wire) -> int:
    """Where a client's request is answered."""
    return int(wire.value("SELECT inet_server_port()") or 0)
