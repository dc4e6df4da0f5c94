"""Plays of chance: clients, databases, workers and those who run them do what they like.

    book = Playbook(dice, total=8, workers=3, users=2)
    book.play(20)           # checks what holds at any time
    book.end()              # everybody leaves, and all is as it was before they came

The pools and the budget are the real ones, as in `crew`; the clock is the play's own. Clients come,
ask, wait, hold what they are lent for a moment or for long, keep it for good, and leave at any
time; servers die, open late, or are refused for a while; a target is suspected and lent from again,
perhaps in another role; the budget is changed; workers are killed.

At any time the database has no more connections than the budget allows, and nobody waits for long
while a server idles or a place is free.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pyproxy.pooling.pools import LAST_RETRY, LONG, PoolLimits
from pyproxy.upkeep import TICK
from pyproxy.workers.budget import Budget
from pyproxy.workers.supervisor import GRACE
from tests.support.crew import MESSAGE
from tests.support.houses import TIMEOUT, Guest, House, LeasedHouse

# For so long somebody may wait though a server idles, or a place is free, in seconds.
PATIENCE = LONG + LAST_RETRY


@dataclass
class Playbook:
    """The clock, the database, the supervisor, and chance. Without workers it is one process."""

    dice: random.Random
    total: int = 8
    workers: int = 2
    users: int = 2
    pinning: float = 0.01
    crowd: int = 30
    # How often something else happens: 1 is all the time.
    unrest: float = 1.0
    now: float = 0.0
    opened: int = 0
    served: int = 0
    # Whose logins the database refuses for the time being.
    sick: str = ""
    # In the order in which they came, so that a seed is always the same play.
    guests: dict[Guest, None] = field(default_factory=dict)
    houses: dict[int, House] = field(default_factory=dict)
    # What the database may have at this moment: more, as long as a smaller budget is being reached.
    allowed: int = 0
    # Connections of killed workers that the database has not noticed yet.
    orphans: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.budget = Budget(self.total)
        self.allowed = self.total
        for number in range(1, max(self.workers, 1) + 1):
            self._hire(number)
        self.again(TICK, self._look)
        for _ in range(self.crowd):
            self.after(self.dice.uniform(0, 2), self.come)
        self.again(0.05, self._something_happens)

    # -- the clock -----------------------------------------------------------------------------

    def after(self, about: float, task: Callable[[], None]) -> None:
        delay = about if about in (0.0, MESSAGE) else about * self.dice.uniform(0.8, 1.2)
        heapq.heappush(self._due, (self.now + max(delay, 0.0), next(self._order), task))

    def again(self, every: float, task: Callable[[], None]) -> None:
        task()
        heapq.heappush(
            self._due, (self.now + every, next(self._order), partial(self.again, every, task))
        )

    def play(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, task = heapq.heappop(self._due)
            task()
            self._check()
        self.now = end

    def by_chance(self, probability: float) -> bool:
        """Does something go wrong?"""
        return not self.quiet and self.dice.random() < probability

    # -- what holds at any time ----------------------------------------------------------------

    def _connections(self) -> int:
        return self.orphans + sum(
            house.opening + len(house.servers) for house in self.houses.values()
        )

    def _check(self) -> None:
        connections = self._connections()
        # A smaller budget is reached as servers come back, and as claims reach workers.
        taken = self.total - self.budget.free if self.workers else connections
        self.allowed = max(self.total, min(self.allowed, taken))
        assert max(connections, taken) <= self.allowed, "invariant 8"

    def _look(self) -> None:
        """Does anybody wait though a server idles, or a place is free?"""
        houses = self.houses.values()
        free = self._connections() < self.total and self.budget.held_back == 0
        idle = {
            server
            for house in houses
            for pool in house.pools
            for server in pool.idle
            if not (pool.waiting or server.ended)
        }
        for guest in self.guests:
            pools = guest.house.pools
            able = not pools.paused and guest.user != self.sick and guest.pool.retry_at <= self.now
            if not (guest.waits and able):
                guest.behind = self.served
            before = self.served - guest.behind
            # Of one user all have the same right.
            fair = self.users > 1 or before < 20 * self.crowd
            assert fair, f"{before} were served before it: {self.picture()}"
            if not (guest.waits and able and (free or idle)):
                guest.overlooked = None
            elif guest.overlooked is None:
                guest.overlooked = self.now
            waited = self.now - (guest.overlooked or self.now)
            assert waited < PATIENCE, f"overlooked for {waited:.2f} s: {self.picture()}"

    def picture(self) -> str:
        """How things are."""
        return (
            "; ".join(
                f"{number}: {list(house.pools)} used {house.pools.used} of"
                f" {house.pools.limits.max_connections}"
                for number, house in self.houses.items()
            )
            + f"; shares {self.budget.shares} wants {self.budget.wants} of {self.budget.total}"
        )

    # -- what happens --------------------------------------------------------------------------

    def come(self) -> None:
        if self.quiet or len(self.guests) >= self.crowd:
            return
        # Not evenly: the kernel deals by chance, and some users are busier than others.
        house = self.dice.choice(list(self.houses.values()))
        user = f"user {min(int(self.dice.expovariate(1.0)), self.users - 1)}"
        guest = Guest(self, house, user)
        guest.pool.clients += 1
        self.guests[guest] = None
        guest.ask()

    def _something_happens(self) -> None:
        dice = self.dice
        if self.quiet:
            return
        if dice.random() < max(self.unrest, 0.3):
            for _ in range(dice.choice((0, 0, 1, 2, 10))):
                self.come()
        if self.guests and dice.random() < max(0.2 * self.unrest, 0.05):
            dice.choice(list(self.guests)).leave()
        if self.sick and dice.random() < 0.025:
            self.sick = ""
        house = dice.choice(list(self.houses.values()))
        match dice.randrange(int(120 / self.unrest)):
            case 0 | 1 if house.servers:
                house.die(dice.choice(list(house.servers)))
            case 2:
                self.sick = f"user {dice.randrange(self.users)}"
            case 3:
                self._suspect(dice.uniform(0.05, 2), another_epoch=dice.random() < 0.3)
            case 4:
                self.set_total(dice.randint(1, 12))
            case 5 if self.workers > 1:
                self._kill(house)
            case 6:
                self._most_leave()

    def _most_leave(self) -> None:
        for guest in list(self.guests):
            if self.dice.random() < 0.9:
                guest.leave()

    def set_total(self, total: int) -> None:
        self.total = self.budget.total = total
        if self.workers:
            self.settle()
            return
        pools = self.houses[1].pools
        pools.limits = PoolLimits(total, 1000, TIMEOUT)

    def _suspect(self, seconds: float, *, another_epoch: bool) -> None:
        for house in self.houses.values():
            self.after(MESSAGE, house.mine(house.hold))
            self.after(seconds, house.mine(partial(house.resume, another_epoch=another_epoch)))

    # -- the supervisor ------------------------------------------------------------------------

    def _hire(self, number: int) -> None:
        house = LeasedHouse(self, number) if self.workers else House(self, number)
        self.houses[number] = house
        if self.workers:
            self.budget.joined(number)
        self.after(self.dice.uniform(0, TICK), partial(self._keep_ticking, house))

    def _keep_ticking(self, house: House) -> None:
        if house.alive:
            house.tick()
            self.after(TICK, partial(self._keep_ticking, house))

    def tell(self, house: House, task: Callable[[], None]) -> None:
        if house.alive:
            self.after(MESSAGE, task)

    def wanted(self, number: int, *wish: int) -> None:
        self.budget.want(number, *wish)
        self.settle()

    def given(self, number: int, places: int) -> None:
        self.budget.gave(number, places)
        self.settle()

    def settle(self) -> None:
        for number, order in self.budget.settle():
            house = self.houses.get(number)
            assert isinstance(house, LeasedHouse)
            self.after(MESSAGE, house.mine(partial(house.ordered, order)))

    def _kill(self, house: House) -> None:
        house.alive = False
        for guest in list(self.guests):
            if guest.house is house:
                guest.left = True
                self.guests.pop(guest, None)
        for _ in range(house.opening + len(house.servers)):
            self.orphans += 1
            self.after(self.dice.uniform(0, 0.8 * GRACE), self._noticed)
        house.opening = 0
        house.servers.clear()
        self.after(3 * MESSAGE, partial(self._mourn, house))

    def _noticed(self) -> None:
        self.orphans -= 1

    def _mourn(self, house: House) -> None:
        if self.houses.get(house.number) is not house:
            return
        del self.houses[house.number]
        places = self.budget.died(house.number)
        if places:
            self.after(GRACE * 1.5, partial(self._restored, places))
        self._hire(house.number)

    def _restored(self, places: int) -> None:
        self.budget.restored(places)
        self.settle()

    # -- the end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Everybody leaves; nothing is left behind, and whoever comes then is served at once."""
        self.quiet, self.sick = True, ""
        self.play(3)
        for guest in list(self.guests):
            guest.leave()
        self.play(5)
        self._check_rest()
        self.set_total(self.total)
        for house, number in itertools.product(list(self.houses.values()), range(self.users)):
            guest = Guest(self, house, f"user {number}")
            guest.pool.clients += 1
            self.guests[guest] = None
            guest.ask()
            self.play(2 * TICK + 0.4)
            # Served, it may have asked again just now.
            waits = self.now - guest.waiting_since if guest.waits else 0.0
            assert waits < TICK, f"not served: {self.picture()}"
            guest.leave()

    def _check_rest(self) -> None:
        assert not self.orphans and not self.budget.held_back
        for number, house in self.houses.items():
            pools = house.pools
            for pool in pools:
                assert not (pool.waiting or pool.lent or pool.opening or pool.shelf), pool
                assert pool.size == len(pool.idle) and not pool.clients, pool
            assert pools.used == len(house.servers) == sum(pool.size for pool in pools)
            assert not (pools._hungry or pools._leaving or house.opening)
            if isinstance(house, LeasedHouse):
                leased = house.pools
                assert leased.share == self.budget.shares[number]
                assert not (leased._asked or leased._giving)
                assert leased.used <= leased.share
        assert not self.budget.wants, self.picture()
