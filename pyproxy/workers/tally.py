"""What the workers count, added up where a single process would have counted it.

The supervisor's own counters are the sums: whoever reads them (metrics, API, monitor) need not know
that there are workers. What a dead worker had counted stays in, so that no counter ever falls; what
was open there is closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add as add_numbers
from typing import TYPE_CHECKING, Final

from pyproxy.dashboard.view import Reading
from pyproxy.metrics.counters import (
    CLIENT_COUNTERS,
    PROXY_COUNTERS,
    TARGET_COUNTERS,
    ClientCounters,
    Histogram,
    ProxyCounters,
    TargetCounters,
)
from pyproxy.metrics.gauges import TargetGauges
from pyproxy.workers.messages import Pulse, Values

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


def _names(counters: Counters) -> tuple[str, ...]:
    if isinstance(counters, ClientCounters):
        return CLIENT_COUNTERS
    return TARGET_COUNTERS if isinstance(counters, TargetCounters) else PROXY_COUNTERS


def values_of(counters: Counters) -> Values:
    """What has been counted, as values that can be sent."""
    found: Values = {}
    for name in _names(counters):
        value = getattr(counters, name)
        found[name] = (value.counts, value.total) if isinstance(value, Histogram) else value
    return found


def _sum(total: Counters, past: Counters | None, parts: Iterable[Values]) -> None:
    """Make `total` the sum of the others."""
    for name in _names(total):
        value = getattr(total, name)
        if isinstance(value, Histogram):
            value.counts[:] = [0] * len(value.counts)
            value.total = 0.0
        elif isinstance(value, dict):
            value.clear()
        else:
            setattr(total, name, 0)
    for part in (*parts, *((values_of(past),) if past is not None else ())):
        add(total, part)


def add(total: Counters, part: Values) -> None:
    """Add what one has counted to a total of the same kind."""
    for name, value in part.items():
        if isinstance(value, int):
            setattr(total, name, getattr(total, name) + value)
        elif isinstance(value, dict):
            ours: dict[str, int] = getattr(total, name)
            for key, count in value.items():
                ours[key] = ours.get(key, 0) + count
        else:
            histogram: Histogram = getattr(total, name)
            counts, seconds = value
            histogram.counts[:] = map(add_numbers, histogram.counts, counts)
            histogram.total += seconds
