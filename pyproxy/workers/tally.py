"""What the workers count, added up where a single process would have counted it.

The supervisor's own counters are the sums: whoever reads them (metrics, API, monitor) need not know
that there are workers. What a dead worker had counted stays in, so that no counter ever falls; what
was open there is closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pyproxy.dashboard.view import Reading
from pyproxy.metrics.counters import ClientCounters, Histogram, ProxyCounters, TargetCounters
from pyproxy.metrics.gauges import TargetGauges
from pyproxy.workers.messages import Pulse

if TYPE_CHECKING:
    from pyproxy.app import App

Counters = ClientCounters | TargetCounters | ProxyCounters


class Tally:
    """The last word of each worker, and the sum of those that are gone."""

    def __init__(self, app: App) -> None:
        self._app: Final = app
        self._latest: dict[int, Pulse] = {}
        self._past_endpoints: dict[str, ClientCounters] = {}
        self._past_targets: dict[str, TargetCounters] = {}
        self._past_lost: dict[str, int] = {}
        self._past_own: Final = ProxyCounters()

    def took(self, worker: int, pulse: Pulse) -> None:
        """A worker's numbers of this moment."""
        self._latest[worker] = pulse
        self._add_up()

    def died(self, worker: int) -> None:
        """It is gone; its clients and servers are closed."""
        pulse = self._latest.pop(worker, None)
        if pulse is None:
            return
        for name, counters in pulse.endpoints.items():
            past = self._past_endpoints.setdefault(name, ClientCounters())
            add(past, counters)
            past.closed = past.received
            past.in_setup = past.tls = past.no_tls = 0
        for target, seen in pulse.targets.items():
            add(self._past_targets.setdefault(target, TargetCounters()), seen.counters)
            lost = self._past_lost.get(target, 0)
            self._past_lost[target] = lost + seen.sessions_lost
        add(self._past_own, pulse.own)
        self._past_own.statements_held = 0
        self._add_up()

    def gauges(self, target: str) -> list[TargetGauges]:
        """A target's, of each worker."""
        return [p.targets[target].gauges for p in self._latest.values() if target in p.targets]

    def readings(self) -> list[Reading]:
        """The last one of each worker."""
        return [pulse.reading for pulse in self._latest.values()]

    def _add_up(self) -> None:
        """Nothing waits in here, so nobody sees half a sum."""
        pulses = self._latest.values()
        for name, endpoint in self._app.endpoints.items():
            parts = [p.endpoints[name] for p in pulses if name in p.endpoints]
            _sum(endpoint.counters, self._past_endpoints.get(name), parts)
        for target in self._app.targets:
            seen = [p.targets[target.id] for p in pulses if target.id in p.targets]
            _sum(target.counters, self._past_targets.get(target.id), [s.counters for s in seen])
            lost = self._past_lost.get(target.id, 0)
            target.sessions_lost = lost + sum(s.sessions_lost for s in seen)
        _sum(self._app.counters, self._past_own, [pulse.own for pulse in pulses])


def _sum(total: Counters, past: Counters | None, parts: Iterable[Counters]) -> None:
    """Make `total` the sum of the others."""
    for name in total.__slots__:
        value = getattr(total, name)
        if isinstance(value, Histogram):
            value.counts[:] = [0] * len(value.counts)
            value.total = 0.0
        elif isinstance(value, dict):
            value.clear()
        else:
            setattr(total, name, 0)
    for part in (*parts, *((past,) if past is not None else ())):
        add(total, part)


def add(total: Counters, part: Counters) -> None:
    """Add what one has counted to a total of the same kind."""
    for name in total.__slots__:
        ours, theirs = getattr(total, name), getattr(part, name)
        if isinstance(ours, Histogram):
            ours.add(theirs)
        elif isinstance(ours, dict):
            for key, count in theirs.items():
                ours[key] = ours.get(key, 0) + count
        else:
            setattr(total, name, ours + theirs)
