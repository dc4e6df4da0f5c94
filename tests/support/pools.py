"""Pools without a network: servers that open, close and end when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from pyproxy.errors import ProxyError
from pyproxy.pooling.pool import Pool, PoolKey
from pyproxy.pooling.pools import PoolLimits, Pools


class Server:
    """A server that does nothing."""

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.born = now
        self.idle_since = now
        self.ended = False

    def __repr__(self) -> str:
        return f"server {self.number}"


class Client:
    """A borrower that remembers what it was told."""

    def __init__(self, name: str = "client") -> None:
        self.name = name
        self.waiting_since = 0.0
        self.server: Server | None = None
        self.error: ProxyError | None = None

    def lent(self, server: object) -> bool:
        assert isinstance(server, Server)
        if server.ended:
            return False
        self.server = server
        return True

    def refused(self, error: ProxyError) -> None:
        self.error = error


class House:
    """Pools whose servers open and close when the test says so."""

    def __init__(self, maximum: int, *, idle: int = 100, timeout: float = 120.0) -> None:
        self.now = 1000.0
        self.opening: list[Pool[Server]] = []
        self.closing: list[Server] = []
        self.owners: dict[Server, Pool[Server]] = {}
        self.made = 0
        # What was put off to the end of the turn; a turn is as long as the test wants it.
        self.defers = False
        self.later: list[Callable[[], None]] = []
        self.pools: Pools[Server] = Pools(
            PoolLimits(maximum, idle, timeout),
            open_server=self.opening.append,
            close_server=lambda server, why: self.closing.append(server),
            clock=lambda: self.now,
            soon=lambda run: self.later.append(run) if self.defers else run(),
        )

    def pool(self, user: str = "app") -> Pool[Server]:
        return self.pools.pool(PoolKey(user, "db"))

    def borrow(self, pool: Pool[Server], name: str = "client") -> Client:
        client = Client(name)
        client.server = pool.take()
        if client.server is None:
            self.pools.wait(pool, client)
        return client

    def release(self, client: Client) -> None:
        assert client.server is not None
        server, client.server = client.server, None
        self.pools.release(self.owners[server], server)

    def open_one(self) -> None:
        pool = self.opening.pop(0)
        self.made += 1
        server = Server(self.made, self.now)
        self.owners[server] = pool
        self.pools.opened(pool, server)

    def open_all(self) -> None:
        while self.opening:
            self.open_one()

    def close_all(self) -> None:
        while self.closing:
            server = self.closing.pop(0)
            self.pools.closed(self.owners.pop(server), server)

    def check(self) -> None:
        """What holds at any time."""
        assert self.pools.used <= self.pools.limits.max_connections
        assert self.pools.used == len(self.opening) + len(self.owners)
        for pool in self.pools:
            assert self.later or not (pool.idle and pool.waiting)
            assert not pool.lent & set(pool.idle)

    def turn(self) -> None:
        """The loop's turn is over."""
        while self.later:
            self.later.pop(0)()

    def settle(self) -> None:
        while self.opening or self.closing:
            self.open_all()
            self.close_all()
