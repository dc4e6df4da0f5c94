"""Every metric once: CloudWatch's name, unit, kind, dimensions, meaning, and where it is read.

To add a metric, add a line to the tuple of its scope. The exposition, the Embedded Metric Format
and the reference page (`python -m pyproxy.metrics.reference`) follow.

The first 27 are RDS Proxy's, numbered M-01 .. M-27 [RDS User Guide, "Monitoring RDS Proxy metrics
with Amazon CloudWatch"]. Those without a CloudWatch name are ours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from pyproxy.metrics.counters import Histogram, ProxyCounters
from pyproxy.metrics.readings import EndpointReading, RoleReading, TargetReading

NAMESPACE: Final = "AWS/RDS"
"""Where RDS Proxy publishes (M-00)."""

DIMENSION_SETS: Final = {
    1: ("ProxyName",),
    2: ("ProxyName", "EndpointName"),
    3: ("ProxyName", "TargetGroup", "Target"),
    4: ("ProxyName", "TargetGroup", "TargetRole"),
}
"""The combinations CloudWatch aggregates by, with the numbers the manual gives them (M-00)."""

Value = int | float | Histogram | dict[str, int]
"""What a reading yields; a dict is a family of counters, told apart by one more label."""

R = TypeVar("R")


class Kind(Enum):
    """How a metric moves. The values are CloudWatch's unit and the statistic to look at."""

    GAUGE = "gauge", "Count", "Sum"
    """A current number."""

    SHARE = "gauge", "Percent", "Average"
    """A current share, 0 to 100."""

    COUNTER = "counter", "Count", "Sum"
    """Events; CloudWatch shows those of a period, Prometheus all since the start."""

    LATENCY = "histogram", "Microseconds", "Average"
    """A distribution of durations: CloudWatch in microseconds, Prometheus in seconds."""

    def __init__(self, prometheus_type: str, unit: str, statistic: str) -> None:
        self.prometheus_type = prometheus_type
        self.unit = unit
        self.statistic = statistic


GAUGE, SHARE, COUNTER, LATENCY = Kind.GAUGE, Kind.SHARE, Kind.COUNTER, Kind.LATENCY


def snake_case(name: str) -> str:
    """Return CloudWatch's `CamelCaseTLS` as `camel_case_tls`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True, slots=True)
class Metric(Generic[R]):
    """One metric, and how to read it from what it is measured at."""

    id: str
    """The row of the behaviour notes, or `OWN-..`."""

    name: str
    """CloudWatch's name, or ours in the same spelling."""

    kind: Kind
    """Gauge, share, counter or latency."""

    dimensions: tuple[int, ...]
    """Keys of DIMENSION_SETS; empty for our own metrics, which CloudWatch does not know."""

    meaning: str
    """One sentence without a full stop, for HELP and the reference."""

    read: Callable[[R], Value]
    """Takes the value from the reading of an endpoint, a target, a role, or from the proxy."""

    label: str = ""
    """The label that tells the members of a dict apart."""

    @property
    def ours(self) -> bool:
        """Whether CloudWatch knows nothing of it."""
        return not self.dimensions

    @property
    def family(self) -> str:
        """Prometheus' name of the family, which for a counter lacks the `_total`."""
        suffix = "_seconds" if self.kind is LATENCY else ""
        return f"pyproxy_{snake_case(self.name)}{suffix}"

    @property
    def prometheus(self) -> str:
        """The name as people write it: a counter's ends in `_total`."""
        return self.family + ("_total" if self.kind is COUNTER else "")

    @property
    def help(self) -> str:
        """Prometheus' HELP: CloudWatch's name first, so that who searches for it finds this."""
        origin = "Not in CloudWatch" if self.ours else f"CloudWatch {self.name}"
        return f"{origin}: {self.meaning}."


CLIENTS: Final = (1, 2)
TARGETS: Final = (1, 3, 4)
ROLES: Final = (4,)
OURS: Final = ()

ENDPOINT_LABELS: Final = ("proxy_name", "endpoint_name")
TARGET_LABELS: Final = ("proxy_name", "target_group", "target", "target_role")
ROLE_LABELS: Final = ("proxy_name", "target_group", "target_role")
PROXY_LABELS: Final = ("proxy_name",)

# fmt: off
ENDPOINT_METRICS: Final[tuple[Metric[EndpointReading], ...]] = (
    Metric("M-02", "ClientConnections", GAUGE, CLIENTS,
           "open client connections, those in setup included",
           lambda e: e.counters.open),
    Metric("M-03", "ClientConnectionsClosed", COUNTER, CLIENTS,
           "client connections closed, by whichever side",
           lambda e: e.counters.closed),
    Metric("M-04", "ClientConnectionsInSetup", GAUGE, CLIENTS,
           "client connections open whose login has not finished",
           lambda e: e.counters.in_setup),
    Metric("M-05", "ClientConnectionsNoTLS", GAUGE, CLIENTS,
           "open client connections without TLS",
           lambda e: e.counters.no_tls),
    Metric("M-06", "ClientConnectionsTLS", GAUGE, CLIENTS,
           "open client connections with TLS",
           lambda e: e.counters.tls),
    Metric("M-07", "ClientConnectionsReceived", COUNTER, CLIENTS,
           "client connection requests received",
           lambda e: e.counters.received),
    Metric("M-08", "ClientConnectionsSetupFailedAuth", COUNTER, CLIENTS,
           "client logins that failed by authentication or TLS misconfiguration",
           lambda e: e.counters.setup_failed_auth),
    Metric("M-09", "ClientConnectionsSetupSucceeded", COUNTER, CLIENTS,
           "client logins that succeeded, by any mechanism",
           lambda e: e.counters.setup_succeeded),
    Metric("M-13", "DatabaseConnectionsBorrowLatency", LATENCY, CLIENTS,
           "time a client waited for a database connection, those lent at once included",
           lambda e: e.counters.borrow_latency),
    Metric("M-24", "QueryRequests", COUNTER, CLIENTS,
           "queries received; a text of several statements counts once, the extended protocol "
           "does not count",
           lambda e: e.queries),
    Metric("M-25", "QueryRequestsNoTLS", COUNTER, CLIENTS,
           "queries received without TLS, counted as QueryRequests are",
           lambda e: e.queries_no_tls),
    Metric("M-26", "QueryRequestsTLS", COUNTER, CLIENTS,
           "queries received with TLS, counted as QueryRequests are",
           lambda e: e.queries_tls),
    Metric("M-27", "QueryResponseLatency", LATENCY, CLIENTS,
           "time from a query received to its response sent by the proxy",
           lambda e: e.response_latency),
    Metric("OWN-01", "EndpointInfo", GAUGE, OURS,
           "always 1; the label target_role is the role the endpoint asks for",
           lambda e: {e.role: 1}, label="target_role"),
    Metric("OWN-02", "ExtendedQueryRequests", COUNTER, OURS,
           "executions by the extended protocol, which QueryRequests leave out",
           lambda e: e.counters.extended_queries),
    Metric("OWN-03", "ExtendedQueryResponseLatency", LATENCY, OURS,
           "time from a Sync received to its ReadyForQuery sent by the proxy",
           lambda e: e.counters.extended_response_latency),
)

TARGET_METRICS: Final[tuple[Metric[TargetReading], ...]] = (
    Metric("M-10", "DatabaseConnectionRequests", COUNTER, TARGETS,
           "attempts to open a database connection",
           lambda t: t.counters.requests),
    Metric("M-11", "DatabaseConnectionRequestsWithTLS", COUNTER, TARGETS,
           "attempts to open a database connection with TLS",
           lambda t: t.counters.requests_with_tls),
    Metric("M-12", "DatabaseConnections", GAUGE, TARGETS,
           "open database connections, those in setup included",
           lambda t: t.gauges.connections),
    Metric("M-14", "DatabaseConnectionsCurrentlyBorrowed", GAUGE, TARGETS,
           "database connections lent to a client, pinned ones included",
           lambda t: t.gauges.borrowed),
    Metric("M-15", "DatabaseConnectionsCurrentlyInTransaction", GAUGE, TARGETS,
           "database connections in a transaction; they are borrowed as well",
           lambda t: t.gauges.in_transaction),
    Metric("M-16", "DatabaseConnectionsCurrentlySessionPinned", GAUGE, TARGETS,
           "database connections pinned by requests that changed session state",
           lambda t: t.gauges.pinned),
    Metric("M-17", "DatabaseConnectionsSetupFailed", COUNTER, TARGETS,
           "attempts to open a database connection that failed",
           lambda t: t.counters.setup_failed),
    Metric("M-18", "DatabaseConnectionsSetupSucceeded", COUNTER, TARGETS,
           "attempts to open a database connection that succeeded",
           lambda t: t.counters.setup_succeeded),
    Metric("M-19", "DatabaseConnectionsWithTLS", GAUGE, TARGETS,
           "open database connections over TLS",
           lambda t: t.gauges.with_tls),
    Metric("M-20", "MaxDatabaseConnectionsAllowed", GAUGE, TARGETS,
           "most database connections allowed, after the reserve",
           lambda t: t.gauges.max_allowed),
    Metric("M-21", "DatabaseConnectionsBorrowRequests", COUNTER, ROLES,
           "requests to borrow a database connection",
           lambda t: t.counters.borrow_requests),
    Metric("M-22", "DatabaseConnectionsBorrowRequestsAborted", COUNTER, ROLES,
           "requests to borrow a database connection that did not get one",
           lambda t: t.counters.borrow_requests_aborted),
    Metric("M-23", "QueryDatabaseResponseLatency", LATENCY, (1, 2, 3, 4),
           "time the database took to answer a query",
           lambda t: t.response_latency),
    Metric("OWN-04", "ExtendedQueryDatabaseResponseLatency", LATENCY, OURS,
           "time from a Sync sent to the database to its ReadyForQuery",
           lambda t: t.counters.extended_response_latency),
    Metric("OWN-05", "BorrowRequestsWaiting", GAUGE, OURS,
           "clients that wait for a database connection now",
           lambda t: t.gauges.waiting),
    Metric("OWN-06", "TargetAvailable", GAUGE, OURS,
           "1 while the target takes connections in its role, else 0",
           lambda t: int(t.gauges.available)),
    Metric("OWN-07", "Pins", COUNTER, OURS,
           "sessions pinned, by the rule that pinned them",
           lambda t: t.counters.pins, label="rule"),
)

ROLE_METRICS: Final[tuple[Metric[RoleReading], ...]] = (
    Metric("M-01", "AvailabilityPercentage", SHARE, ROLES,
           "100 while a target of the role is available, else 0; averaged over a minute it is the "
           "share of that minute",
           lambda r: r.availability),
)

PROXY_METRICS: Final[tuple[Metric[ProxyCounters], ...]] = (
    Metric("OWN-08", "PinningBlindSpots", COUNTER, OURS,
           "changes of session state that no pinning rule saw, by what gave them away",
           lambda p: p.blind_spots, label="kind"),
    Metric("OWN-09", "PreparedStatements", GAUGE, OURS,
           "named statements that clients hold by protocol now and any connection can serve",
           lambda p: p.statements_held),
    Metric("OWN-10", "PreparedStatementsParsed", COUNTER, OURS,
           "named statements that clients prepared by protocol",
           lambda p: p.statements_parsed),
    Metric("OWN-11", "PreparedStatementsInjected", COUNTER, OURS,
           "statements the proxy prepared again, on a database connection that did not know them",
           lambda p: p.statements_injected),
)
# fmt: on

AnyMetric = (
    Metric[EndpointReading] | Metric[TargetReading] | Metric[RoleReading] | Metric[ProxyCounters]
)

CATALOG: Final[tuple[AnyMetric, ...]] = tuple(
    sorted(
        (*ENDPOINT_METRICS, *TARGET_METRICS, *ROLE_METRICS, *PROXY_METRICS),
        key=lambda metric: (metric.ours, metric.id),
    )
)
"""Every metric, RDS Proxy's first, by number."""

PROCESS_METRICS: Final = {
    "process_cpu_seconds_total": "user and system time of the process",
    "process_max_fds": "most file descriptors the process may have open",
    "process_open_fds": "file descriptors the process has open",
    "process_resident_memory_bytes": "resident memory of the process",
    "process_start_time_seconds": "when the process started, in seconds since 1970",
    "process_virtual_memory_bytes": "virtual memory of the process",
}
"""Prometheus' customary metrics of a process; they exist where /proc does."""
