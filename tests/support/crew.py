"""Workers that share a budget, without processes, network or waiting: a play on a clock of its own.

    crew = Crew(8, {1: [busy] * 7, 2: [busy] * 3})
    crew.play(10)
    crew.opened, crew.longest(2)

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
from pyproxy.pooling.pools import PoolLimits
from pyproxy.upkeep import TICK
from pyproxy.workers.budget import Budget, Claimed, Granted, Refused

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

    worker: Worker
    habit: Habit
    waiting_since: float = 0.0
    asked: float = 0.0
    served: int = 0
    waits: list[float] = field(default_factory=list)

    def ask(self) -> None:
        self.asked = self.worker.crew.now
        server = self.worker.pool.take()
        if server is None:
            self.worker.pools.wait(self.worker.pool, self)
        else:
            self.lent(server)

    def lent(self, server: Server) -> bool:
        crew = self.worker.crew
        self.waits.append(crew.now - self.asked)
        crew.after(TRANSACTION, partial(self.done, server))
        return True

    def done(self, server: Server) -> None:
        crew = self.worker.crew
        self.served += 1
        self.worker.pools.release(self.worker.pool, server)
        # The answer has to reach the client before it can ask again.
        crew.after(MESSAGE, self.ask, self.habit(crew.now, crew.dice))

    def refused(self, error: ProxyError) -> None:
        raise AssertionError(error)


class Worker:
    """The pools of one process."""

    def __init__(self, crew: Crew, number: int, habits: list[Habit]) -> None:
        self.crew = crew
        self.clients = [Client(self, habit) for habit in habits]
        self.pools: LeasedPools[Server] = LeasedPools(
            PoolLimits(0, 1000, 120.0),
            open_server=lambda pool: crew.after(OPENING, partial(self.open, pool)),
            close_server=lambda server, why: crew.after(CLOSING, partial(self.close, server)),
            clock=lambda: crew.now,
            want=lambda *wish: crew.after(MESSAGE, partial(crew.wanted, number, *wish)),
            give=lambda places: crew.after(MESSAGE, partial(crew.given, number, places)),
            soon=lambda task: crew.after(0.0, task),
        )
        self.pool = self.pools.pool(PoolKey("app", "app"))

    def open(self, pool: Pool[Server]) -> None:
        self.crew.opened += 1
        self.pools.opened(pool, Server(pool, self.crew.now))

    def close(self, server: Server) -> None:
        self.pools.closed(server.pool, server)

    def told(self, order: Granted | Refused | Claimed) -> None:
        match order:
            case Granted(places):
                self.pools.granted(places)
            case Refused():
                self.pools.refused()
            case Claimed(spare, must):
                self.pools.claimed(spare, must)

    def tick(self) -> None:
        self.pools.expire()
        self.crew.after(0.0, self.tick, TICK)


class Crew:
    """A budget of so many places, and workers with clients of these habits."""

    def __init__(self, total: int, habits: dict[int, list[Habit]], seed: int = 1) -> None:
        self.now = 0.0
        self.dice = random.Random(seed)
        self.budget = Budget(total)
        # How many database connections were opened.
        self.opened = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        # What goes over one channel arrives in its order.
        self._arrival: dict[object, float] = {}
        self.workers = {number: Worker(self, number, ours) for number, ours in habits.items()}
        for number, worker in self.workers.items():
            self.budget.joined(number)
            self.after(0.0, worker.tick, self.dice.uniform(0, TICK))
            for client in worker.clients:
                self.after(0.0, client.ask, client.habit(0.0, self.dice))

    def after(self, about: float, task: Callable[[], None], pause: float = 0.0) -> None:
        """Do `task` in about so many seconds, after a pause."""
        delay = about * self.dice.uniform(0.8, 1.2) if about != MESSAGE else about
        heapq.heappush(self._due, (self.now + delay + pause, next(self._order), task))

    def play(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, task = heapq.heappop(self._due)
            task()
            self._check()
        self.now = end

    def forget(self) -> None:
        """What has happened so far does not count."""
        self.opened = 0
        for worker in self.workers.values():
            for client in worker.clients:
                client.served = 0
                client.waits.clear()

    def longest(self, number: int) -> float:
        """The longest that a client of a worker has waited, in seconds."""
        clients = self.workers[number].clients
        waiting = {id(client) for client in self.workers[number].pool.waiting}
        now = [self.now - client.asked for client in clients if id(client) in waiting]
        return max([*now, *(wait for client in clients for wait in client.waits)], default=0.0)

    @property
    def served(self) -> int:
        """How many transactions there were."""
        return sum(c.served for worker in self.workers.values() for c in worker.clients)

    @property
    def shares(self) -> dict[int, int]:
        """Places of each worker."""
        return dict(sorted(self.budget.shares.items()))

    def wanted(self, number: int, places: int, lasting: bool) -> None:
        self.budget.want(number, places, lasting)
        self._settle()

    def given(self, number: int, places: int) -> None:
        self.budget.gave(number, places)
        self._settle()

    def _settle(self) -> None:
        for number, order in self.budget.settle():
            self.after(MESSAGE, partial(self.workers[number].told, order))

    def _check(self) -> None:
        """Invariant 8."""
        used = sum(worker.pools.used for worker in self.workers.values())
        assert used <= self.budget.total, self.shares
