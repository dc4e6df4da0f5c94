"""All pools of one target: the budget that they share, and the care of their servers.

The budget is `max_connections_percent` of what the target itself allows (S-02). A place in it is
taken before a connection is opened and given back when the database has let go of it, so the
target never sees more connections than that, whatever the clients do.

Who gets a place when there is none left:

- A server that nobody has used for REST makes room, the one idle for longest. Those that are only
  between two transactions do not: their places would be wanted back a moment later, and each move
  costs the database a new connection.
- A pool that has none gets the first that idles or comes back, and so does one that has less than
  its fair share and whose clients have waited from one look (`expire`) to the next. Who has clients
  waiting itself passes one on only when the other's first client has waited longer, and when it
  has had it for STAY: so no pool starves beside a busy one.
- Who has waited for LONG gets the first that idles, whatever its pool has: that may be pinned.

A server that becomes free is lent on at the end of the loop's turn (`pyproxy.turn`), not in the
middle of it, when others have yet to be read.

While the pools are `paused` (their target is suspected to be dead, or has another role now) nothing
is lent and nothing opened; clients stand in line, and their time runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic

from pyproxy.errors import ProxyError, borrow_timeout
from pyproxy.pooling.pool import Borrower, Pool, PoolKey, S

# S-15: a connection counts as idle for max_idle_connections_percent after five unused minutes.
IDLE_MARK: Final = 300.0
# S-14: closed some time after 24 hours; the jitter keeps them from dying together.
MAX_LIFE: Final = 24 * 3600.0
LIFE_JITTER: Final = 0.1
# After an attempt to open a server that failed: seconds to the next one, at first and from then on.
FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 2.0
# How many servers of a pool are opened at the same time. While they are, the first of them serve:
# so a storm of clients, or the end of a failover, is none for the database.
OPENING: Final = 16
# A server that nobody has used for so long is spare, in seconds: some ten times what it takes to
# open one.
REST: Final = 0.2
# How long a new one serves those in line before its place may go, in seconds: so a place that goes
# round works for most of the time.
STAY: Final = 0.1
# Who has waited for so long gets what idles for a moment only, in seconds.
LONG: Final = 1.0
# How long a login waits for its pool's first server where nobody else may wait at all, in seconds.
LOGIN_PATIENCE: Final = 10.0

_OVERDRAWN: Final = "max_connections_percent allows fewer connections now"


@dataclass(frozen=True)
class PoolLimits:
    """The settings that the pools obey, in AWS's words; numbers of connections, and seconds."""

    max_connections: int = 1
    max_idle_connections: int = 1
    connection_borrow_timeout: float = 120.0


class Pools(Generic[S]):
    """The pools of a target.

    `open_server(pool)` starts to open one; it ends in `opened`, `opened_in_vain`, `open_failed` or
    `open_abandoned`, exactly once.
    `close_server(server)` starts to close one; it ends in `closed`, exactly once, as does the
    life of a server that dies by itself. `soon` runs something at the end of the loop's turn.
    """

    def __init__(
        self,
        limits: PoolLimits,
        *,
        open_server: Callable[[Pool[S]], None],
        close_server: Callable[[S, str], None],
        clock: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self.limits = limits
        self._open_server = open_server
        self._close_server = close_server
        self._clock = clock
        self._soon = soon
        # At the end of this turn who waits gets what is free.
        self._lending = False
        self._pools: dict[PoolKey, Pool[S]] = {}
        # Pools with clients in line, whether or not a server is on its way.
        self._hungry: dict[PoolKey, Pool[S]] = {}
        # Places taken in the budget: servers opening, open, or not let go of yet.
        self.used = 0
        # Of those, being closed on our initiative: their places will be free.
        self._leaving: set[S] = set()
        # Borrowers that had to wait because every place in the budget was taken.
        self.waits = 0
        # Nothing is lent or opened for the time being.
        self.paused = False
        # What those are told at once who would wait: nobody can be helped here.
        self.refusal: ProxyError | None = None

    def __iter__(self) -> Iterator[Pool[S]]:
        return iter(self._pools.values())

    def pool(self, key: PoolKey) -> Pool[S]:
        """The pool of this key, made if it is new."""
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key)
        return pool

    # -- borrowing and releasing ---------------------------------------------------------------

    def wait(self, pool: Pool[S], borrower: Borrower[S], *, at_login: bool = False) -> None:
        """Stand in line for a server of `pool`, which has none idle; one is opened if it may be.

        Refuses at once when `connection_borrow_timeout` is 0 (Q-17), and has a server ready for
        the next who asks. A login borrows nothing yet: it waits for LOGIN_PATIENCE all the same.
        """
        if self.refusal is not None:
            borrower.refused(self.refusal)
            return
        if self.limits.connection_borrow_timeout <= 0 and not at_login:
            self._prepare(pool)
            borrower.refused(borrow_timeout())
            return
        borrower.waiting_since = self._clock()
        self.stand(pool, borrower)

    def stand(self, pool: Pool[S], borrower: Borrower[S]) -> None:
        """Stand in line, with a wait that has begun elsewhere."""
        pool.wait(borrower)
        if len(pool.waiting) == 1:
            self._hungry[pool.key] = pool
        if pool.idle:
            self._lend_soon()
        elif self.used >= self.limits.max_connections:
            self.waits += 1
        self._grow(pool)

    def leave(self, pool: Pool[S], borrower: Borrower[S]) -> None:
        """Step out of the line."""
        pool.leave(borrower)
        if not pool.waiting:
            self._hungry.pop(pool.key, None)

    def release(self, pool: Pool[S], server: S) -> None:
        """A server at rest comes back: for those in line, for another pool, or idle."""
        if self.paused:
            pool.hand_back(server)
            server.idle_since = self._clock()
            return
        if not pool.waiting:
            pool.idled = True
        hungry = self._hungry
        if hungry:
            if self._overdrawn() > 0:
                self.retire(pool, server, _OVERDRAWN)
                return
            if not (pool.waiting and len(hungry) == 1) and self._must_yield(pool, server):
                self.retire(pool, server, "its place is needed for another pool")
                return
        pool.put_back(server)
        # Also where clients wait: more may come back in this turn than there are.
        server.idle_since = self._clock()
        if pool.waiting:
            self._lend_soon()
            return
        if hungry:
            self.serve()

    def put_down(self, pool: Pool[S], server: S, since: float) -> None:
        """One that nobody has used, only taken out for a moment: it has idled `since` then."""
        self.release(pool, server)
        if server in pool.idle:
            server.idle_since = since
            # The warm ones work, the others may age: as if it had lain there.
            pool.idle.sort(key=lambda idle: idle.idle_since)

    def serve(self) -> None:
        """Open what may be opened for those in line: the pool with the fewest servers first."""
        for pool in sorted(self._hungry.values(), key=_fewest_first):
            if not self._grow(pool):
                return

    def pause(self) -> None:
        """Lend and open nothing until `resume`; servers at rest are put away."""
        self.paused = True
        for pool in self._pools.values():
            pool.put_away()

    def resume(self) -> None:
        """Lend and open again, at once and whatever failed before."""
        self.paused = False
        for pool in list(self._pools.values()):
            pool.failure, pool.retry_at = "", 0.0
            for server in pool.bring_back():
                self.release(pool, server)
        self.serve()

    def refuse(self, error: ProxyError | None) -> None:
        """Send those in line away with `error`, and all who come; None: they may wait again."""
        self.refusal = error
        if error is not None:
            for pool in list(self._hungry.values()):
                self._dismiss(pool, error)

    def expire(self) -> None:
        """Refuse those who have waited too long (E-PG-16), and look who lacks servers."""
        now = self._clock()
        for pool in list(self._hungry.values()):
            for borrower in pool.expired(
                now, self.limits.connection_borrow_timeout or LOGIN_PATIENCE
            ):
                borrower.refused(borrow_timeout())
            if not pool.waiting:
                self._hungry.pop(pool.key, None)
        for pool in self._pools.values():
            pool.lasting = bool(pool.waiting) and not pool.idled
            pool.idled = False
        if self._hungry and self.used >= self.limits.max_connections:
            self.serve()

    # -- the life of servers -------------------------------------------------------------------

    def opened(self, pool: Pool[S], server: S) -> None:
        """A new server is ready: the first in line gets it."""
        pool.opening -= 1
        pool.size += 1
        pool.failure, pool.retry_at = "", 0.0
        self.release(pool, server)
        if self._lending:
            # At once: it serves before anybody can claim its place.
            self._lend()
        if pool.waiting:
            self._grow(pool)

    def opened_in_vain(self, pool: Pool[S], why: str) -> None:
        """A new server has ended before it could be lent; its place is free when it is closed."""
        pool.opening -= 1
        pool.size += 1
        pool.failure, pool.retry_at = why, self._clock() + FIRST_RETRY

    def open_failed(self, pool: Pool[S], why: str, error: ProxyError | None) -> None:
        """A server could not be opened. With `error` nobody in line can be helped by waiting."""
        pool.opening -= 1
        self.used -= 1
        if self._may_try(pool):
            # Else it is of an attempt with several, of which one has failed already.
            delay = LAST_RETRY if pool.failure else FIRST_RETRY
            pool.retry_at = self._clock() + delay
        pool.failure = why
        if error is not None:
            self._dismiss(pool, error)
            pool.retry_at = 0.0
        self.serve()

    def open_abandoned(self, pool: Pool[S]) -> None:
        """We have given up opening a server, though nothing was wrong: another may be at once."""
        pool.opening -= 1
        self.used -= 1
        self.serve()

    def retire(self, pool: Pool[S], server: S, why: str) -> None:
        """Lend it no more and close it; its place is free when the database has let go."""
        pool.withdraw(server)
        self._leaving.add(server)
        self._close_server(server, why)

    def closed(self, pool: Pool[S], server: S) -> None:
        """The database has let go of a server, or it died: its place is free."""
        pool.withdraw(server)
        self._leaving.discard(server)
        pool.size -= 1
        self.used -= 1
        if self._hungry:
            self.serve()

    def care(self) -> None:
        """Close what is too old, too long idle or too much; call it every second or so."""
        now = self._clock()
        for pool in self._pools.values():
            for server in list(pool.idle):
                if now - server.born > self._life(server):
                    self.retire(pool, server, "it has reached its maximum lifetime")
        overdrawn = self._overdrawn()
        if overdrawn > 0:
            for pool, server in self._longest_idle_first()[:overdrawn]:
                self.retire(pool, server, _OVERDRAWN)
        long_idle = [
            (pool, server)
            for pool, server in self._longest_idle_first()
            if now - server.idle_since > IDLE_MARK
        ]
        spare = self._count_idle() - self.limits.max_idle_connections
        for pool, server in long_idle[: max(spare, 0)]:
            self.retire(pool, server, "more connections are idle than max_idle_connections_percent")
        self._forget_empty_pools()
        if self._hungry:
            self.serve()

    def close_idle(self, why: str) -> None:
        """Close every idle server: a changed secret, init query or target."""
        for pool in self._pools.values():
            for server in [*pool.idle, *pool.shelf]:
                self.retire(pool, server, why)

    # -- inside --------------------------------------------------------------------------------

    def _lend_soon(self) -> None:
        if not self._lending:
            self._lending = True
            self._soon(self._lend)

    def _lend(self) -> None:
        """Lend what is free to those in line."""
        self._lending = False
        for pool in list(self._hungry.values()):
            while (match := pool.match()) is not None:
                borrower, server = match
                if not pool.waiting:
                    self._hungry.pop(pool.key, None)
                if not borrower.lent(server):
                    pool.withdraw(server)
                    pool.step_back(borrower)
                    self._hungry[pool.key] = pool

    def _dismiss(self, pool: Pool[S], error: ProxyError) -> None:
        self._hungry.pop(pool.key, None)
        for borrower in list(pool.waiting):
            pool.leave(borrower)
            borrower.refused(error)

    def _grow(self, pool: Pool[S]) -> bool:
        """Open what those in line need. False: there is nothing for anybody at the moment."""
        if self.paused:
            return False
        while pool.opening < OPENING and pool.opening + len(pool.idle) < len(pool.waiting):
            if not self._may_try(pool):
                return True
            if self.used >= self.limits.max_connections:
                return self._make_room(pool)
            self._open(pool)
        return True

    def _prepare(self, pool: Pool[S]) -> None:
        """Have a server ready for the next who asks."""
        if self.paused or pool.opening or not self._may_try(pool):
            return
        if self.used < self.limits.max_connections:
            self._open(pool)
        else:
            self._make_room(pool, 1)

    def _may_try(self, pool: Pool[S]) -> bool:
        """May a server be opened as far as the last attempt tells?"""
        return not pool.retry_at or self._clock() >= pool.retry_at

    def _open(self, pool: Pool[S]) -> None:
        """Take a place in the budget and open a server."""
        self.used += 1
        pool.opening += 1
        self._open_server(pool)

    def _make_room(self, pool: Pool[S], wanted: int = 0) -> bool:
        """Let the longest idle server of another pool go, once for each place that is wanted.

        So many are wanted beside those for who stands in line. False: nobody has one to give.
        """
        if len(self._pools) == 1:
            return False
        wanted += sum(max(len(p.waiting) - p.opening, 0) for p in self._hungry.values())
        if len(self._leaving) >= wanted:
            return False
        oldest: tuple[Pool[S], S] | None = None
        for other in self._pools.values():
            if other is not pool and other.idle and not other.waiting:
                server = other.idle[0]
                if oldest is None or server.idle_since < oldest[1].idle_since:
                    oldest = other, server
        if oldest is None:
            return False
        other, server = oldest
        if self._clock() - server.idle_since >= REST or self._poorer(pool, other):
            self.retire(other, server, "its place is needed for another pool")
        return True

    def _overdrawn(self) -> int:
        """How many servers there are beyond the budget, which a reload may have made smaller."""
        return self.used - len(self._leaving) - self.limits.max_connections

    def _must_yield(self, pool: Pool[S], server: S) -> bool:
        """Has another pool a better claim to the place of a server that `pool` gets back?"""
        others = len(self._hungry) - bool(pool.waiting)
        if self.used < self.limits.max_connections or len(self._leaving) >= others:
            return False
        others_in_line = (
            p
            for p in self._hungry.values()
            if p is not pool and p.opening < len(p.waiting) and self._may_try(p)
        )
        other = min(others_in_line, key=longest_wait, default=None)
        if other is None or not self._poorer(other, pool):
            return False
        if not pool.waiting:
            return True
        stayed = self._clock() - server.born >= STAY
        return stayed and longest_wait(other) < longest_wait(pool)

    def _poorer(self, pool: Pool[S], other: Pool[S]) -> bool:
        """Does `pool` lack a server for more than a moment, and `other` have one beyond its due?"""
        size = pool.size + pool.opening
        if not size or (not other.waiting and self._clock() - longest_wait(pool) >= LONG):
            return True
        if not pool.lasting:
            return False
        busy = sum(1 for p in self._pools.values() if p.waiting or p.lent)
        return size < max(1, self.limits.max_connections // busy) < other.size

    def _life(self, server: S) -> float:
        """Its maximum age in seconds: the same for one server at each look."""
        return MAX_LIFE * (1 + LIFE_JITTER * (server.born * 7919.0 % 1.0))

    def _longest_idle_first(self) -> list[tuple[Pool[S], S]]:
        idle = [(pool, server) for pool in self._pools.values() for server in pool.idle]
        idle.sort(key=lambda pair: pair[1].idle_since)
        return idle

    def _count_idle(self) -> int:
        return sum(len(pool.idle) for pool in self._pools.values())

    def _forget_empty_pools(self) -> None:
        for key, pool in list(self._pools.items()):
            if not (pool.clients or pool.size or pool.opening or pool.waiting):
                del self._pools[key]


def _fewest_first(pool: Pool[S]) -> tuple[int, float]:
    return pool.size + pool.opening, longest_wait(pool)


def longest_wait(pool: Pool[S]) -> float:
    """Since when its first client has been waiting."""
    first = pool.next_waiting()
    return first.waiting_since if first is not None else float("inf")
