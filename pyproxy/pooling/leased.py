"""The pools of a worker: a part of the target's budget, lent by the supervisor place by place.

A worker may open a server only while its `share` has a place left; it asks for more when clients
wait, and gives places back when others lack them. So the workers together never exceed the budget
(invariant 8), and no client waits at one while another's servers idle. The supervisor's half is
`pyproxy.workers.budget`.

A place is given back only once it is empty: never used, or its server let go of by the database.

A place that moves costs the database a new connection, so it does not move for a moment's sake:

- A server is spare when nobody has used it for REST, not whenever it is between two transactions.
- A wish lasts when the clients of a pool wait at one look (`expire`) and no server of theirs has
  idled since the look before. One that does not is served before another server has been opened.
- A new server stays for STAY: where there are fewer places than workers, they go round slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pyproxy.pooling.pool import Borrower, Pool, S
from pyproxy.pooling.pools import LONG, REST, STAY, PoolLimits, Pools, longest_wait

# A server that has not come back for so long may never do, in seconds; few transactions are longer.
KEPT: Final = 5.0

_WHY: Final = "its place is needed at another worker"


class LeasedPools(Pools[S]):
    """Pools whose `max_connections` is a share that moves.

    `want(n, lasting, pressing, share, kept)` tells the supervisor that n places are lacking, 0 that
    none is any more, and whether that is so for more than a moment, or for LONG; how many are here
    as far as is known, and how many of these have servers that do not come back. `give(n)` tells
    that n have become free for others.
    """

    def __init__(
        self,
        limits: PoolLimits,
        *,
        open_server: Callable[[Pool[S]], None],
        close_server: Callable[[S, str], None],
        clock: Callable[[], float],
        want: Callable[[int, bool, bool, int, int], None],
        give: Callable[[int], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        super().__init__(
            limits, open_server=open_server, close_server=close_server, clock=clock, soon=soon
        )
        self.share = limits.max_connections
        # The supervisor has none to spare: make do with what is here, until it grants some.
        self.scarce = False
        self._want = want
        self._give = give
        # How many places were asked for and not granted yet.
        self._asked = 0
        self._asking = False
        # And for more than a moment; for LONG.
        self._lasting = self._pressing = False
        # Since when each server that is lent has been away, and when it had idled before that.
        self._away: dict[S, tuple[float, float]] = {}
        # How many have been for KEPT: they are pinned, or as good as that.
        self._kept = 0
        # Until then a place is wanted for who was refused at once.
        self._missed_until = 0.0
        # How many places others claim: of those that idle, and whatever they do.
        self._spare = 0
        self._must = 0
        # A server has just been opened: it serves once before its place may go.
        self._fresh = False
        # Servers being closed so that their places can be given.
        self._giving: set[S] = set()

    # -- from the supervisor -------------------------------------------------------------------

    def granted(self, places: int) -> None:
        """So many more servers may be opened."""
        self._asked = max(self._asked - places, 0)
        self.scarce = self._pressing = False
        self._missed_until = 0.0
        self._resize(self.share + places)
        self.serve()

    def refused(self) -> None:
        """There are none to be had now; the request stands."""
        self.scarce = True
        self.serve()

    def claimed(self, spare: int, must: int) -> None:
        """Others lack places: `spare` of those that nobody here needs, `must` in any case.

        Each claim takes the place of the one before.
        """
        self._spare, self._must = spare, must
        self._settle()

    # -- as Pools, and what is different -------------------------------------------------------

    def wait(self, pool: Pool[S], borrower: Borrower[S], *, at_login: bool = False) -> None:
        """As Pools have it; who may not wait leaves a wish for the next who asks."""
        if self.limits.connection_borrow_timeout <= 0 and not at_login and self._full():
            self._missed_until = self._clock() + LONG
            self._ask_soon()
        super().wait(pool, borrower, at_login=at_login)

    def stand(self, pool: Pool[S], borrower: Borrower[S]) -> None:
        """As Pools have it; a wait is one for want of places only if there are none anywhere."""
        waits = self.waits
        super().stand(pool, borrower)
        if not self.scarce:
            self.waits = waits

    def release(self, pool: Pool[S], server: S) -> None:
        """A server at rest comes back; its place may have to go to another worker."""
        if self._must and not (self.paused or self._fresh) and self._has_to_go(server):
            self._part_with(pool, server)
            return
        super().release(pool, server)

    def opened(self, pool: Pool[S], server: S) -> None:
        """As Pools have it: whoever waits gets it, lest workers open servers only to close them."""
        self._fresh = True
        super().opened(pool, server)
        self._fresh = False

    def closed(self, pool: Pool[S], server: S) -> None:
        """Its place is free: for others, if it was closed for them."""
        if server in self._giving:
            self._giving.discard(server)
            self._hand_out(1)
        super().closed(pool, server)

    def expire(self) -> None:
        """As Pools have it; and what is asked for follows what is needed."""
        super().expire()
        lacking = self._lacking()
        lasting = lacking > 0 and any(pool.lasting for pool in self._hungry.values())
        since = min(map(longest_wait, self._hungry.values()), default=float("inf"))
        pressing = lacking > 0 and self._clock() - since >= LONG
        wish = lasting, pressing, self._count_kept()
        if (lacking, *wish) != (self._asked, self._lasting, self._pressing, self._kept):
            self._lasting, self._pressing, self._kept = wish
            self._tell(lacking)
        if self._spare or self._must:
            self._settle()

    def _make_room(self, pool: Pool[S], wanted: int = 0) -> bool:
        self._ask_soon()
        return self.scarce and super()._make_room(pool, wanted)

    def _must_yield(self, pool: Pool[S], server: S) -> bool:
        return self.scarce and super()._must_yield(pool, server)

    # -- asking --------------------------------------------------------------------------------

    def _full(self) -> bool:
        return self.used >= self.share

    def _lacking(self) -> int:
        """How many more places would be used at once."""
        wanted = sum(
            max(len(pool.waiting) - len(pool.idle) - pool.opening, 0)
            for pool in self._hungry.values()
            if self._may_try(pool)
        )
        return max(wanted + self._missed() - max(self.share - self.used, 0), 0)

    def _missed(self) -> bool:
        """Was somebody refused just now who would have needed a place? The next one needs it."""
        return self._clock() < self._missed_until

    def _count_kept(self) -> int:
        now = self._clock()
        before, self._away = self._away, {}
        for pool in self._pools.values():
            for server in pool.lent:
                idled, since = before.get(server, (-1.0, now))
                since = since if idled == server.idle_since else now
                self._away[server] = server.idle_since, since
        return sum(now - since >= KEPT for _, since in self._away.values())

    def _ask_soon(self) -> None:
        """Ask once for a whole burst of clients."""
        if not self._asking:
            self._asking = True
            self._soon(self._ask)

    def _ask(self) -> None:
        self._asking = False
        lacking = self._lacking()
        if lacking > self._asked:
            self._tell(lacking)

    def _tell(self, lacking: int) -> None:
        self._asked = lacking
        if not lacking:
            self.scarce = False
        # Who is refused at once stands in no line.
        lasting = self._lasting or self._missed()
        self._want(lacking, lasting, self._pressing, self.share, self._kept)

    # -- giving --------------------------------------------------------------------------------

    def _resize(self, share: int) -> None:
        self.share = share
        self.limits = replace(self.limits, max_connections=share)

    def _has_to_go(self, server: S) -> bool:
        """Must the place of a server that comes back be given, though it be needed here?"""
        if len(self._giving) >= self._must:
            return False
        return not self._hungry or self._clock() - server.born >= STAY

    def _may_go(self, server: S) -> bool:
        """Is the place of an idle server to be given?"""
        giving = len(self._giving)
        if giving < self._must:
            return True
        if self._hungry or giving >= self._spare:
            return False
        return self._clock() - server.idle_since >= REST

    def _hand_out(self, places: int) -> None:
        """Places that are empty, or will be before anybody can look."""
        self._resize(self.share - places)
        self._spare = max(self._spare - places, 0)
        self._must = max(self._must - places, 0)
        self._give(places)

    def _settle(self) -> None:
        """Give what can be given at once, then close what idles, the longest idle first."""
        claim = self._must if self._hungry else max(self._must, self._spare)
        empty = min(claim - len(self._giving), self.share - self.used)
        if empty > 0:
            self._hand_out(empty)
        for pool, server in self._longest_idle_first():
            if not self._may_go(server):
                return
            self._part_with(pool, server)

    def _part_with(self, pool: Pool[S], server: S) -> None:
        self._giving.add(server)
        self.retire(pool, server, _WHY)
