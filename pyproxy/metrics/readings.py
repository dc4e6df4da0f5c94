"""What a scrape reads: the source of all values, and the few rules for reading them.

The application implements `MetricsSource`; `EndpointReading`, `TargetReading` and `RoleReading`
are one endpoint, one target and one role at the moment of the scrape. The rules that are not a
plain attribute live here, each with its row of the behaviour notes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pyproxy.metrics.counters import ClientCounters, Histogram, ProxyCounters, TargetCounters
from pyproxy.metrics.gauges import TargetGauges


class MetricsSource(Protocol):
    """Where the values come from. Called once per scrape, on the event loop; must not block."""

    @property
    def proxy_name(self) -> str:
        """The value of the dimension ProxyName."""

    @property
    def target_group(self) -> str:
        """The value of the dimension TargetGroup; RDS Proxy has just one, `default`."""

    @property
    def count_extended_queries(self) -> bool:
        """Whether query and latency metrics take in the extended protocol; RDS Proxy's do not."""

    @property
    def own(self) -> ProxyCounters:
        """The counters that belong to no endpoint and no target."""

    def endpoints(self) -> Sequence[tuple[str, str, ClientCounters]]:
        """Name, target role and counters of each endpoint."""

    def targets(self) -> Sequence[tuple[str, str, TargetCounters, TargetGauges]]:
        """Id, current role, counters and gauges of each target."""


class EndpointReading(NamedTuple):
    """One endpoint, read now."""

    name: str
    role: str
    counters: ClientCounters
    extended: bool
    """Count the extended protocol in (M-31 says no, and so does the default)."""

    @property
    def queries(self) -> int:
        """M-24."""
        counters = self.counters
        return counters.queries + (counters.extended_queries if self.extended else 0)

    @property
    def queries_no_tls(self) -> int:
        """M-25."""
        return self.queries - self.queries_tls

    @property
    def queries_tls(self) -> int:
        """M-26."""
        counters = self.counters
        return counters.queries_tls + (counters.extended_queries_tls if self.extended else 0)

    @property
    def response_latency(self) -> Histogram:
        """M-27."""
        return _response_latency(self.counters, extended=self.extended)


class TargetReading(NamedTuple):
    """One target, read now."""

    target: str
    role: str
    counters: TargetCounters
    gauges: TargetGauges
    extended: bool
    """As in `EndpointReading`."""

    @property
    def response_latency(self) -> Histogram:
        """M-23."""
        return _response_latency(self.counters, extended=self.extended)


class RoleReading(NamedTuple):
    """The targets of one role together, read now."""

    role: str
    available: bool

    @property
    def availability(self) -> float:
        """M-01 at this moment: CloudWatch's minute is the average of the samples in it."""
        return 100.0 if self.available else 0.0


def _response_latency(counters: ClientCounters | TargetCounters, *, extended: bool) -> Histogram:
    simple = counters.query_response_latency
    if not extended:
        return simple
    both = Histogram(simple.bounds)
    both.add(simple)
    both.add(counters.extended_response_latency)
    return both


def read_endpoints(source: MetricsSource) -> list[EndpointReading]:
    """Read every endpoint."""
    extended = source.count_extended_queries
    return [EndpointReading(*endpoint, extended) for endpoint in source.endpoints()]


def read_targets(source: MetricsSource) -> list[TargetReading]:
    """Read every target."""
    extended = source.count_extended_queries
    return [TargetReading(*target, extended) for target in source.targets()]


def read_roles(source: MetricsSource, targets: Sequence[TargetReading]) -> Iterator[RoleReading]:
    """Read every role that an endpoint asks for or a target has.

    A role without a target is unavailable, not absent: the alarm must see the zero. One whose
    targets nobody has asked yet is absent, lest the alarm go off for a proxy that has just begun
    (M-00: "some appear only after the first successful connection").
    """
    roles = {role for _, role, _ in source.endpoints()} | {target.role for target in targets}
    for role in sorted(roles):
        gauges = [target.gauges for target in targets if target.role == role]
        if not gauges or any(gauge.asked for gauge in gauges):
            yield RoleReading(role, any(gauge.available for gauge in gauges))
