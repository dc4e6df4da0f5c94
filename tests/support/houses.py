"""Processes with pools, the servers that these have, and their clients: see `playbook`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pyproxy.errors import ProxyError
from pyproxy.pooling.leased import LeasedPools
from pyproxy.pooling.pool import Pool, PoolKey
from pyproxy.pooling.pools import PoolLimits, Pools
from pyproxy.upkeep import CARE, TICK
from pyproxy.workers.budget import Claimed, Granted, Order, Refused
from tests.support.crew import CLOSING, MESSAGE, OPENING, TRANSACTION

if TYPE_CHECKING:
    from tests.support.playbook import Playbook

TIMEOUT = 120.0


@dataclass(eq=False)
class Server:
    """A database connection."""

    house: House
    pool: Pool[Server]
    born: float
    idle_since: float = 0.0
    guest: Guest | None = None
    # Its end has been read, and is told in a moment.
    ended: bool = False
    retiring: bool = False
    gone: bool = False


@dataclass(eq=False)
class Guest:
    """A client: asks, waits, holds what it is lent, pauses, asks again, and leaves."""

    book: Playbook
    house: House
    user: str
    waiting_since: float = 0.0
    waits: bool = False
    server: Server | None = None
    pinned: bool = False
    left: bool = False
    # Since when it waits though it could be served, and after how many that were served.
    overlooked: float | None = None
    behind: int = 0

    @property
    def pool(self) -> Pool[Server]:
        return self.house.pools.pool(PoolKey(self.user, "app"))

    def ask(self) -> None:
        if self.left or self.waits or self.server is not None:
            return
        pool = self.pool
        server = pool.take()
        while server is not None and server.ended:
            pool.withdraw(server)
            server = pool.take()
        if server is not None:
            self.take(server)
            return
        self.waits, self.behind = True, self.book.served
        self.house.pools.wait(pool, self)

    def lent(self, server: Server) -> bool:
        if server.ended:
            return False
        assert self.waits and not self.left
        self.waits, self.overlooked = False, None
        self.take(server)
        return True

    def refused(self, error: ProxyError) -> None:
        assert self.waits
        self.waits = False
        self.leave()

    def take(self, server: Server) -> None:
        assert server.guest is None and not server.gone and server.pool is self.pool
        self.server, server.guest = server, self
        self.book.served += 1
        dice = self.book.dice
        fate = dice.random()
        if fate < self.book.pinning:
            self.pinned = True
            self.book.after(dice.choice((1, 30)) * dice.random(), self.leave)
        elif fate < self.book.pinning + 0.08:
            self.book.after(dice.uniform(0.1, 2), self.done)
        else:
            self.book.after(TRANSACTION, self.done)

    def done(self) -> None:
        """The transaction is over."""
        server = self.server
        if server is None or self.pinned:
            return
        self.server = server.guest = None
        self.house.give_back(server)
        dice = self.book.dice
        self.book.after(MESSAGE + dice.choice((0, 0, 0.02, 0.3)) * dice.random(), self.ask)

    def leave(self) -> None:
        """It goes, in whatever state it is."""
        if self.left:
            return
        self.left = True
        self.pool.clients -= 1
        self.book.guests.pop(self, None)
        if self.waits:
            self.waits = False
            self.house.pools.leave(self.pool, self)
        server, self.server = self.server, None
        if server is None:
            return
        server.guest = None
        server.pool.withdraw(server)
        if self.pinned and self.book.dice.random() < 0.8:
            # It is reset.
            self.book.after(CLOSING, partial(self.house.reset, server))
        else:
            self.house.close(server)

    def lost(self) -> None:
        """Its server, or its worker, has gone, and so does it."""
        self.server = None
        self.leave()


class House:
    """One process: its pools, and the servers that it has."""

    def __init__(self, book: Playbook, number: int) -> None:
        self.book = book
        self.number = number
        self.alive = True
        self.servers: dict[Server, None] = {}
        # Connections that the database is letting in.
        self.opening = 0
        self.epoch = 0
        self.pools = self._make_pools()

    def _make_pools(self) -> Pools[Server]:
        book = self.book
        return Pools(
            PoolLimits(book.total, 1000, TIMEOUT),
            open_server=self.open,
            close_server=lambda server, why: self.close(server),
            clock=lambda: book.now,
            soon=lambda task: book.after(0.0, self.mine(task)),
        )

    def mine(self, task: Callable[[], None]) -> Callable[[], None]:
        """Done only if it still lives then."""
        return lambda: task() if self.alive else None

    def tick(self) -> None:
        self.pools.expire()
        if int(self.book.now / TICK) % int(CARE / TICK) == 0:
            self.pools.care()

    # -- the life of servers -------------------------------------------------------------------

    def open(self, pool: Pool[Server]) -> None:
        book = self.book
        self.opening += 1
        book.opened += 1
        late = book.dice.uniform(0.2, 1.5) if book.by_chance(0.02) else 0.0
        book.after(OPENING + late, self.mine(partial(self.opened, pool, self.epoch)))

    def opened(self, pool: Pool[Server], epoch: int) -> None:
        book = self.book
        self.opening -= 1
        if epoch != self.epoch:
            self.pools.open_abandoned(pool)
            return
        if book.sick == pool.key.user:
            self.pools.open_failed(pool, "too many connections for role", None)
            book.after(pool.retry_at - book.now + 0.01, self.mine(self.pools.serve))
            return
        server = Server(self, pool, book.now)
        self.servers[server] = None
        if book.by_chance(0.01):
            server.ended = True
            self.pools.opened_in_vain(pool, "it is going")
            book.after(CLOSING, self.mine(partial(self.end, server)))
            book.after(pool.retry_at - book.now + 0.01, self.mine(self.pools.serve))
            return
        self.pools.opened(pool, server)

    def give_back(self, server: Server) -> None:
        if server.retiring:
            self.pools.retire(server.pool, server, "it is of another epoch")
        else:
            self.pools.release(server.pool, server)

    def reset(self, server: Server) -> None:
        if not (server.gone or server.ended or not self.alive):
            self.give_back(server)

    def close(self, server: Server) -> None:
        server.ended = True
        late = 1.0 if self.book.by_chance(0.02) else 0.0
        self.book.after(CLOSING + late, self.mine(partial(self.end, server)))

    def die(self, server: Server) -> None:
        """The database ends it."""
        if not server.ended:
            server.ended = True
            self.book.after(MESSAGE, self.mine(partial(self.end, server)))

    def end(self, server: Server) -> None:
        if server.gone:
            return
        server.gone = True
        self.servers.pop(server, None)
        self.pools.closed(server.pool, server)
        guest, server.guest = server.guest, None
        if guest is not None:
            guest.lost()

    # -- its target ----------------------------------------------------------------------------

    def hold(self) -> None:
        if not self.pools.paused:
            self.pools.pause()

    def resume(self, *, another_epoch: bool) -> None:
        if another_epoch:
            self.hold()
            self.epoch += 1
            self.pools.close_idle("its target has another role now")
            for server in self.servers:
                server.retiring = True
        if self.pools.paused:
            self.pools.resume()


class LeasedHouse(House):
    """A worker."""

    pools: LeasedPools[Server]

    def _make_pools(self) -> LeasedPools[Server]:
        book = self.book
        return LeasedPools(
            PoolLimits(0, 1000, TIMEOUT),
            open_server=self.open,
            close_server=lambda server, why: self.close(server),
            clock=lambda: book.now,
            want=lambda *wish: book.tell(self, partial(book.wanted, self.number, *wish)),
            give=lambda places: book.tell(self, partial(book.given, self.number, places)),
            soon=lambda task: book.after(0.0, self.mine(task)),
        )

    def ordered(self, order: Order) -> None:
        match order:
            case Granted(places):
                self.pools.granted(places)
            case Refused():
                self.pools.refused()
            case Claimed(spare, must):
                self.pools.claimed(spare, must)
