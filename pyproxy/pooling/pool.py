"""One pool: the servers of one user, database and startup settings (C-06, ST-05).

A server's state is the collection that holds it: `idle`, `lent`, or neither while it is being
opened, reset or closed. It cannot be in two places, and the gauges read the sizes.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

from pyproxy.errors import ProxyError


class PoolKey(NamedTuple):
    """What two clients must have in common to share servers."""

    user: str
    database: str
    startup: tuple[tuple[str, str], ...] = ()
    """Startup settings of the server connection, sorted by name (ST-05)."""


class Lendable(Protocol):
    """What a pool must know of a server."""

    born: float
    """When it was opened, in seconds of the pool's clock."""

    idle_since: float


S_contra = TypeVar("S_contra", contravariant=True)


class Borrower(Protocol[S_contra]):
    """Who waits for a server, and is called back exactly once while it waits."""

    waiting_since: float

    def lent(self, server: S_contra) -> bool:
        """The server is yours until you release it. False: it has ended; you wait for another."""

    def refused(self, error: ProxyError) -> None:
        """There is none for you: the wait was too long, or the target does not let us in."""


S = TypeVar("S", bound=Lendable)


class Pool(Generic[S]):
    """Idle servers, lent ones, and the clients that wait, first come first served."""

    __slots__ = (
        "clients",
        "failure",
        "idle",
        "idled",
        "key",
        "lasting",
        "lent",
        "opening",
        "parameters",
        "retry_at",
        "shelf",
        "size",
        "waiting",
    )

    def __init__(self, key: PoolKey) -> None:
        self.key = key
        # Last in, first out: the warm ones work, the others may age.
        self.idle: list[S] = []
        self.lent: set[S] = set()
        # Idle ones that nobody may have while the pools are paused.
        self.shelf: list[S] = []
        # In the order of arrival.
        self.waiting: deque[Borrower[S]] = deque()
        # A server has come back to an empty line since the last look (`Pools.expire`).
        self.idled = False
        # None had at that look, and clients waited: they have fewer servers than they need.
        self.lasting = False
        # Client connections that use it; while there are any it is not forgotten.
        self.clients = 0
        # Connections under way; each has its place in the budget already.
        self.opening = 0
        # Servers that exist, wherever they are: idle, lent, being reset or closed.
        self.size = 0
        # What the newest server reported at its login (C-21), though it may be gone; None before
        # there was one.
        self.parameters: dict[str, str] | None = None
        # Why the last attempt to open a server failed, and when the next one may start.
        self.failure: str = ""
        self.retry_at = 0.0

    def take(self) -> S | None:
        """Lend the server that was used last, or None: then `wait` or go without.

        Nobody overtakes those in line: what is idle beside them is theirs.
        """
        if not self.idle or self.waiting:
            return None
        server = self.idle.pop()
        self.lent.add(server)
        return server

    def wait(self, borrower: Borrower[S]) -> None:
        """Stand in line. Source: PgBouncer's waiting_client_list, first in, first out."""
        self.waiting.append(borrower)

    def leave(self, borrower: Borrower[S]) -> bool:
        """Step out of the line; was the borrower in it?"""
        try:
            self.waiting.remove(borrower)
        except ValueError:
            return False
        return True

    def next_waiting(self) -> Borrower[S] | None:
        """Who has waited longest, without moving it."""
        return self.waiting[0] if self.waiting else None

    def put_back(self, server: S) -> None:
        """A free server becomes idle."""
        self.lent.discard(server)
        self.idle.append(server)

    def match(self) -> tuple[Borrower[S], S] | None:
        """Lend the server that was used last to the first in line; None if either is lacking."""
        if not self.idle or not self.waiting:
            return None
        server = self.idle.pop()
        self.lent.add(server)
        return self.waiting.popleft(), server

    def step_back(self, borrower: Borrower[S]) -> None:
        """Who was the first in line is it again."""
        self.waiting.appendleft(borrower)

    def hand_back(self, server: S) -> None:
        """A free server that nobody may have for the time being."""
        self.lent.discard(server)
        self.shelf.append(server)

    def withdraw(self, server: S) -> None:
        """The server is in no collection any more: it is being reset or closed."""
        self.lent.discard(server)
        for place in (self.idle, self.shelf):
            if server in place:
                place.remove(server)

    def put_away(self) -> None:
        """Nobody gets the idle servers until `bring_back`."""
        self.shelf += self.idle
        self.idle.clear()

    def bring_back(self) -> list[S]:
        """The servers that were put away; they are in no collection any more."""
        shelf, self.shelf = self.shelf, []
        return shelf

    def expired(self, now: float, timeout: float) -> list[Borrower[S]]:
        """Those who have waited `timeout` seconds; they are out of the line now (S-04)."""
        expired: list[Borrower[S]] = []
        waiting = self.waiting
        while waiting and now - waiting[0].waiting_since >= timeout:
            expired.append(waiting.popleft())
        return expired

    def __repr__(self) -> str:
        return (
            f"<Pool {self.key.user}@{self.key.database} idle={len(self.idle)} lent={len(self.lent)}"
            f" waiting={len(self.waiting)} opening={self.opening}>"
        )
