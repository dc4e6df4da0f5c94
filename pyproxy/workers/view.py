"""All workers as one proxy: their rows put together, in the order that a single process has.

Counters are the supervisor's own (`tally`); rows are those that were fetched for this answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast

from pyproxy.dashboard.feed import STREAM
from pyproxy.dashboard.view import (
    ApplicationRow,
    ClientRow,
    PinnedSessionRow,
    PinRow,
    PoolRow,
    Reading,
    ServerRow,
)
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.metrics.gauges import TargetGauges
from pyproxy.readings import ProxyReadings
from pyproxy.targets.target import Target
from pyproxy.view import ProxyView
from pyproxy.workers.messages import Row

if TYPE_CHECKING:
    from pyproxy.app import App
    from pyproxy.workers.supervisor import Supervisor

# Which lists have to be fetched for a path, and at most how many rows of each worker. A path that
# is not here needs nothing but what the supervisor knows.
_ALL: Final = 1_000_000
_SHOWN: Final = 300
LISTS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "/metrics": ((), 0),
    "/api/v1/proxy": ((), 0),
    "/api/v1/targets": ((), 0),
    "/api/v1/clients": (("clients",), _ALL),
    "/api/v1/servers": (("servers",), _ALL),
    "/api/v1/pools": (("pools",), _ALL),
    "/api/v1/pins": (("pins", "pinned_sessions"), _ALL),
    STREAM: (("applications", "servers", "pools", "waiting", "pinned_sessions"), _SHOWN),
}


class CrewReadings(ProxyReadings):
    """The metrics' source: gauges are added up over the workers."""

    def __init__(self, app: Supervisor) -> None:
        super().__init__(app)
        self._supervisor = app

    @property
    def own(self) -> ProxyCounters:
        """The sum; the workers have counted the statements that their clients hold."""
        return self._supervisor.counters

    def gauges(self, target: Target) -> TargetGauges:
        """Sums; the budget and the health are the target's, whoever looks."""
        gauges = super().gauges(target)
        parts = self._supervisor.tally.gauges(target.id)
        return gauges._replace(
            connections=sum(part.connections for part in parts),
            with_tls=sum(part.with_tls for part in parts),
            borrowed=sum(part.borrowed for part in parts),
            in_transaction=sum(part.in_transaction for part in parts),
            pinned=sum(part.pinned for part in parts),
            waiting=sum(part.waiting for part in parts),
        )


class CrewView(ProxyView):
    """The application, seen from outside."""

    def __init__(self, app: Supervisor) -> None:
        super().__init__(app)
        self._supervisor = app
        # What was fetched for one answer, by list.
        self.rows: dict[str, list[Row]] = {}

    def showing(self, rows: dict[str, list[Row]]) -> CrewView:
        """The same with these rows: an answer takes its time, and others ask meanwhile."""
        seen = copy.copy(self)
        seen.rows = rows
        return seen

    def _make_readings(self, app: App) -> ProxyReadings:
        return CrewReadings(cast("Supervisor", app))

    def ready(self) -> tuple[bool, str]:
        """As of a single process; and there is a worker to accept."""
        if self._supervisor.listening and not self._supervisor.at_work():
            return False, "no worker is accepting connections"
        return super().ready()

    def clients(self) -> Iterator[ClientRow]:
        """The oldest first."""
        rows = cast("list[ClientRow]", self.rows.get("clients", []))
        return iter(sorted(rows, key=lambda row: -row["age"]))

    def waiting(self) -> Iterator[ClientRow]:
        """The longest wait first."""
        rows = cast("list[ClientRow]", self.rows.get("waiting", []))
        return iter(sorted(rows, key=lambda row: -row["state_age"]))

    def servers(self) -> Iterator[ServerRow]:
        """The oldest first."""
        rows = cast("list[ServerRow]", self.rows.get("servers", []))
        return iter(sorted(rows, key=lambda row: -row["age"]))

    def applications(self) -> Iterator[ApplicationRow]:
        """Those of one name and pool together, the largest group first."""
        rows = _together(self.rows.get("applications", []), ("application_name", "pool"))
        found = cast("list[ApplicationRow]", rows)
        return iter(sorted(found, key=lambda row: -row["clients"]))

    def pools(self) -> Iterator[PoolRow]:
        """A pool's parts at all workers together; its longest wait is the longest anywhere."""
        rows = _together(
            self.rows.get("pools", []), ("pool", "target", "user", "database"), ("longest_wait",)
        )
        return iter(cast("list[PoolRow]", rows))

    def pins(self) -> Iterator[PinRow]:
        """Those of one rule, statement and application together, most pins first."""
        rows = _together(
            self.rows.get("pins", []), ("rule", "digest", "application_name", "reason", "remedy")
        )
        found = cast("list[PinRow]", rows)
        return iter(sorted(found, key=lambda r: (-r["count"], r["rule"], r["digest"])))

    def pinned_sessions(self) -> Iterator[PinnedSessionRow]:
        """Those that hold a server first, the longest first; then the latest."""
        rows = cast("list[PinnedSessionRow]", self.rows.get("pinned_sessions", []))
        held = sorted((r for r in rows if r["held"]), key=lambda row: row["since"])
        over = sorted((r for r in rows if not r["held"]), key=lambda row: row["since"])
        return iter([*held, *reversed(over)])

    def reading(self) -> Reading:
        """Sums; what has been counted comes from the tally."""
        parts = self._supervisor.tally.readings()
        return (
            super()
            .reading()
            ._replace(
                idle=sum(part.idle for part in parts),
                borrowed=sum(part.borrowed for part in parts),
                in_transaction=sum(part.in_transaction for part in parts),
                pinned=sum(part.pinned for part in parts),
                changing=sum(part.changing for part in parts),
            )
        )


def _together(
    rows: Iterable[Row], same: tuple[str, ...], largest: tuple[str, ...] = ()
) -> list[Row]:
    """Rows that have the `same` values become one: numbers add up, or the largest counts.

    Of a text that differs the first one that is not empty stays.
    """
    found: dict[tuple[object, ...], Row] = {}
    for row in rows:
        total = found.setdefault(tuple(row[key] for key in same), row)
        if total is row:
            continue
        for key, value in row.items():
            if key not in same:
                total[key] = _joined(total[key], value, largest=key in largest)
    return list(found.values())


def _joined(ours: object, theirs: object, *, largest: bool) -> object:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return max(ours, theirs) if largest else ours + theirs
    return ours or theirs
