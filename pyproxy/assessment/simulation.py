"""The pool with the durations that were seen: how many database connections, how long a wait?

Clients work in a closed loop: think, ask for a server, keep it for a transaction, give it back;
pinned ones keep theirs from their first transaction on. Durations are drawn from those that were
seen. The pool is RDS Proxy's: a server is lent for a transaction (C-02), opened when none is idle
and the limit allows it, and clients wait in line, first come first served (S-04).

It counts what a running proxy shows as DatabaseConnections, so one can be held against the other.
Pure, and the same for the same seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pyproxy.assessment.judgement import Assessment, SessionJudged

# Long enough for the queue to settle; it takes a fraction of a second.
TRANSACTIONS: Final = 20_000
UNBOUNDED: Final = 1_000_000


class Workload(NamedTuple):
    """What clients do, in seconds."""

    services: Sequence[float]
    """How long transactions hold a connection."""

    thinks: Sequence[float]
    """How long clients are away between two of them."""

    pinned_share: float
    """How many of the clients are pinned, from 0 to 1."""


class Demand(NamedTuple):
    """What the pool needs and gives."""

    connections: int
    """The most database connections that were open at one time."""

    wait_p50: float
    wait_p99: float
    """Seconds from asking for a connection to having it."""

    transactions_per_second: float


def simulate(
    workload: Workload,
    clients: int,
    *,
    max_connections: int = UNBOUNDED,
    transactions: int = TRANSACTIONS,
    seed: int = 1,
) -> Demand:
    """Run `clients` of the workload until so many transactions are done."""
    world = _World(workload, clients, max_connections, seed)
    now = 0.0
    while world.done < transactions and world.events:
        now = world.step()
    # Who is in line still has waited so far: for a pinned client's connection that is for ever.
    waits = sorted([*world.waits, *world.waiting(now)])
    return Demand(
        connections=world.opened,
        wait_p50=_percentile(waits, 0.50),
        wait_p99=_percentile(waits, 0.99),
        transactions_per_second=world.done / now if now else 0.0,
    )


class _Event(NamedTuple):
    """A client asks for a server, or has done its transaction."""

    at: float
    number: int
    """Keeps the order of what happens at the same time."""

    client: int
    asks: bool


class _World:
    """Clients, servers and what happens next."""

    def __init__(self, workload: Workload, clients: int, limit: int, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._workload = workload
        self._limit = limit
        self._idle = 0
        self._line: deque[tuple[int, float]] = deque()
        # Any clients will do, so that those who come first are not all pinned.
        self._pins = set(
            self._chance.sample(range(clients), round(clients * workload.pinned_share))
        )
        self._held: set[int] = set()
        self._number = 0
        self.opened = 0
        self.done = 0
        self.waits: list[float] = []
        self.events: list[_Event] = []
        for client in range(clients):
            # They are somewhere in their thinking when we begin to look.
            self._later(self._draw(workload.thinks) * self._chance.random(), client, asks=True)

    def step(self) -> float:
        """Let the next thing happen; returns when that was."""
        event = heapq.heappop(self.events)
        if event.asks:
            if event.client in self._held or self._take():
                self._start(event.client, event.at, event.at)
            else:
                self._line.append((event.client, event.at))
        else:
            self._finish(event.client, event.at)
        return event.at

    def waiting(self, now: float) -> list[float]:
        """How long those have waited who are in line."""
        return [now - since for _, since in self._line]

    def _take(self) -> bool:
        """Is there a server at once?"""
        if self._idle:
            self._idle -= 1
        elif self.opened < self._limit:
            self.opened += 1
        else:
            return False
        return True

    def _start(self, client: int, since: float, now: float) -> None:
        self.waits.append(now - since)
        self._later(now + self._draw(self._workload.services), client, asks=False)

    def _finish(self, client: int, now: float) -> None:
        self.done += 1
        self._later(now + self._draw(self._workload.thinks), client, asks=True)
        if client in self._pins:
            self._held.add(client)
        elif self._line:
            first, since = self._line.popleft()
            self._start(first, since, now)
        else:
            self._idle += 1

    def _later(self, at: float, client: int, *, asks: bool) -> None:
        self._number += 1
        heapq.heappush(self.events, _Event(at, self._number, client, asks))

    def _draw(self, values: Sequence[float]) -> float:
        return values[int(self._chance.random() * len(values))]


def workload_of(assessment: Assessment) -> Workload | None:
    """What was seen, as a workload; None where no times are known."""
    services: list[float] = []
    thinks: list[float] = []
    for judged in assessment.sessions:
        before: float | None = judged.session.begin
        for span in judged.spans:
            services.append(span.seconds)
            if before is not None:
                thinks.append(max(span.begin - before, 0.0))
            before = span.end
        if before is not None and judged.session.end is not None:
            thinks.append(max(judged.session.end - before, 0.0))
    if not services or not any(services):
        return None
    return Workload(services, thinks or [0.0], assessment.pinned_share or 0.0)


def replayed_peak(assessment: Assessment) -> tuple[int, int]:
    """The most sessions at one time, and the most database connections that RDS Proxy needs then.

    What was seen, as it was: each transaction takes a connection, a pinned session keeps its own.
    """
    direct: list[tuple[float, int]] = []
    lent: list[tuple[float, int]] = []
    for judged in assessment.sessions:
        session = judged.session
        if session.begin is None or session.end is None:
            continue
        direct += [(session.begin, 1), (session.end, -1)]
        lent += _lent(judged, session.begin, session.end)
    return _peak(direct), _peak(lent)


def _lent(judged: SessionJudged, since: float, until: float) -> Iterator[tuple[float, int]]:
    """When one session takes a connection, and when it gives it back; never two at a time.

    A log counts in milliseconds and tells an end and a duration: a statement can seem to begin
    before the one ahead of it has ended.
    """
    limit = until if judged.pinned_at is None else min(judged.pinned_at, until)
    free = since
    for span in judged.spans:
        if span.begin < limit:
            begin = max(span.begin, free)
            free = max(begin, min(span.end, limit))
            yield from ((begin, 1), (free, -1))
    if judged.pinned_at is not None:
        yield from ((max(judged.pinned_at, free), 1), (until, -1))


def _peak(changes: list[tuple[float, int]]) -> int:
    """The highest sum; who leaves at a time makes room for who comes at it."""
    level = highest = 0
    for _, change in sorted(changes):
        level += change
        highest = max(highest, level)
    return highest


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
