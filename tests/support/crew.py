"""Clients that share a budget, without processes, network or waiting: a play on a clock of its own.

    crew = Crew(8, {1: [busy] * 7, 2: [busy] * 3})  # of two workers
    crew.play(10)
    crew.opened, crew.longest(2)

    Alone(8, {1: [busy] * 7, 2: [busy] * 3})        # of two users, at one worker

The pools and the budget are the real ones. What is between them (messages, connections that open
and close, clients that ask) takes the times below, each a little different every time, by dice that
fall the same way in every run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pyproxy.errors import ProxyError
from pyproxy.pooling.leased import LeasedPools
from pyproxy.pooling.pool import Pool, PoolKey
from pyproxy.pooling.pools import PoolLimits, Pools
from pyproxy.upkeep import TICK
from pyproxy.workers.budget import Budget, Claimed, Granted, Order, Refused

# In seconds.
MESSAGE = 0.0003
OPENING = 0.015
CLOSING = 0.003
TRANSACTION = 0.01

# How long a client pauses before it asks again, at this moment.
Habit = Callable[[float, random.Random], float]


def busy(now: float, dice: random.Random) -> float:
    """Asks again at once."""
    return 0.0


def pausing(least: float, most: float) -> Habit:
    """Pauses so long."""
    return lambda now, dice: dice.uniform(least, most)


def between(begin: float, end: float) -> Habit:
    """Busy from then to then, and quiet for the rest."""
    return lambda now, dice: max(begin - now, 0.0) if now < end else float("inf")


@dataclass(eq=False)
class Server:
    """A database connection."""

    pool: Pool[Server]
    born: float
    idle_since: float = 0.0


@dataclass(eq=False)
class Client:
    """Asks, waits, uses what it is lent, pauses as is its habit."""

    play: Play
    pools: Pools[Server]
    pool: Pool[Server]
    habit: Habit
    waiting_since: float = 0.0
    asked: float = 0.0
    served: int = 0
    waits: list[float] = field(default_factory=list)

    def ask(self) -> None:
        self.asked = self.play.now
        server = self.pool.take()
        if server is None:
            self.pools.wait(self.pool, self)
        else:
            self.lent(server)

    def lent(self, server: Server) -> bool:
        self.waits.append(self.play.now - self.asked)
        self.play.after(TRANSACTION, partial(self.done, server))
        return True

    def done(self, server: Server) -> None:
        play = self.play
        self.served += 1
        self.pools.release(self.pool, server)
        # The answer has to reach the client before it can ask again.
        play.after(MESSAGE, self.ask, self.habit(play.now, play.dice))

    def refused(self, error: ProxyError) -> None:
        raise AssertionError(error)


class Pinned(Client):
    """Keeps what it is lent for good."""

    def lent(self, server: Server) -> bool:
        return True


class Play:
    """The clock, and groups of clients: of one worker each, or of one user."""

    def __init__(self, total: int, habits: dict[int, list[Habit]], seed: int = 1) -> None:
        self.total = total
        self.now = 0.0
        self.dice = random.Random(seed)
        # How many database connections were opened.
        self.opened = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.clients: dict[int, list[Client]] = {}
        for number, ours in habits.items():
            pools, pool = self._place_for(number)
            self.clients[number] = [Client(self, pools, pool, habit) for habit in ours]
            for client in self.clients[number]:
                self.after(0.0, client.ask, client.habit(0.0, self.dice))

    def _place_for(self, number: int) -> tuple[Pools[Server], Pool[Server]]:
        """Where the clients of a group go."""
        raise NotImplementedError

    def _used(self) -> int:
        """How many servers there are."""
        raise NotImplementedError

    @property
    def shares(self) -> dict[int, int]:
        """How many each group has, or may have."""
        raise NotImplementedError

    def after(self, about: float, task: Callable[[], None], pause: float = 0.0) -> None:
        """Do `task` in about so many seconds, after a pause."""
        # What goes over one channel arrives in its order.
        delay = about if about == MESSAGE else about * self.dice.uniform(0.8, 1.2)
        heapq.heappush(self._due, (self.now + delay + pause, next(self._order), task))

    def again(self, task: Callable[[], None]) -> None:
        """Do `task` at every tick from now on."""
        task()
        self.after(0.0, partial(self.again, task), TICK)

    def play(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, task = heapq.heappop(self._due)
            task()
            # Invariant 8.
            assert self._used() <= self.total
        self.now = end

    def pin(self, number: int) -> None:
        """A client of a group takes a server for good."""
        one = self.clients[number][0]
        Pinned(self, one.pools, one.pool, busy).ask()

    def forget(self) -> None:
        """What has happened so far does not count."""
        self.opened = 0
        for client in itertools.chain(*self.clients.values()):
            client.served = 0
            client.waits.clear()

    def longest(self, number: int) -> float:
        """The longest that a client of a group has waited, in seconds."""
        clients = self.clients[number]
        now = [self.now - client.asked for client in clients if client in client.pool.waiting]
        return max([*now, *(wait for client in clients for wait in client.waits)], default=0.0)

    @property
    def served(self) -> int:
        """How many transactions there were."""
        return sum(client.served for client in itertools.chain(*self.clients.values()))

    def open(self, pools: Pools[Server], pool: Pool[Server]) -> None:
        self.opened += 1
        pools.opened(pool, Server(pool, self.now))


class Alone(Play):
    """One process, with a pool for each group."""

    def __init__(self, total: int, habits: dict[int, list[Habit]], seed: int = 1) -> None:
        self._pools: Pools[Server] = Pools(
            PoolLimits(total, 1000, 120.0),
            open_server=lambda pool: self.after(OPENING, partial(self.open, self._pools, pool)),
            close_server=lambda server, why: self.after(
                CLOSING, partial(self._pools.closed, server.pool, server)
            ),
            clock=lambda: self.now,
            soon=lambda task: self.after(0.0, task),
        )
        super().__init__(total, habits, seed)
        self.again(self._pools.expire)

    def _place_for(self, number: int) -> tuple[Pools[Server], Pool[Server]]:
        return self._pools, self._pools.pool(PoolKey(f"user {number}", "app"))

    def _used(self) -> int:
        return self._pools.used

    @property
    def shares(self) -> dict[int, int]:
        return {number: clients[0].pool.size for number, clients in self.clients.items()}


class Crew(Play):
    """Workers, each with a group of clients."""

    def __init__(self, total: int, habits: dict[int, list[Habit]], seed: int = 1) -> None:
        self._budget = Budget(total)
        self._workers: dict[int, LeasedPools[Server]] = {}
        super().__init__(total, habits, seed)

    def _place_for(self, number: int) -> tuple[Pools[Server], Pool[Server]]:
        pools: LeasedPools[Server] = LeasedPools(
            PoolLimits(0, 1000, 120.0),
            open_server=lambda pool: self.after(OPENING, partial(self.open, pools, pool)),
            close_server=lambda server, why: self.after(
                CLOSING, partial(pools.closed, server.pool, server)
            ),
            clock=lambda: self.now,
            want=lambda *wish: self.after(MESSAGE, partial(self._wanted, number, *wish)),
            give=lambda places: self.after(MESSAGE, partial(self._given, number, places)),
            soon=lambda task: self.after(0.0, task),
        )
        self._workers[number] = pools
        self._budget.joined(number)
        self.after(0.0, partial(self.again, pools.expire), self.dice.uniform(0, TICK))
        return pools, pools.pool(PoolKey("app", "app"))

    def _used(self) -> int:
        return sum(pools.used for pools in self._workers.values())

    @property
    def shares(self) -> dict[int, int]:
        return dict(sorted(self._budget.shares.items()))

    def _wanted(
        self, number: int, places: int, lasting: bool, pressing: bool, share: int, kept: int
    ) -> None:
        self._budget.want(number, places, lasting, pressing, share, kept)
        self._settle()

    def _given(self, number: int, places: int) -> None:
        self._budget.gave(number, places)
        self._settle()

    def _settle(self) -> None:
        for number, order in self._budget.settle():
            self.after(MESSAGE, partial(self._told, self._workers[number], order))

    def _told(self, pools: LeasedPools[Server], order: Order) -> None:
        match order:
            case Granted(places):
                pools.granted(places)
            case Refused():
                pools.refused()
            case Claimed(spare, must):
                pools.claimed(spare, must)
