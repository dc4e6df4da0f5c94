"""The counters of the hot path: plain integers on slotted objects.

An endpoint owns one `ClientCounters`, a target one `TargetCounters`; the code that sees the
event adds to the attribute itself (`counters.queries += 1`). A plain integer costs 0.06 us where
a Prometheus child costs 0.6 us, so the translation waits until somebody scrapes
(`exposition.Exposition`). Counters only ever grow; what can fall is a gauge (`gauges`).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

LATENCY_BOUNDS: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Upper bounds in seconds: from a pooled `SELECT 1` to AWS's default borrow timeout (120 s)."""


# The names of what is counted, for whoever adds counters up: a compiled class does not tell them.
CLIENT_COUNTERS: Final = (
    "borrow_latency",
    "closed",
    "extended_queries",
    "extended_queries_tls",
    "extended_response_latency",
    "in_setup",
    "no_tls",
    "queries",
    "queries_tls",
    "query_response_latency",
    "received",
    "setup_failed_auth",
    "setup_succeeded",
    "tls",
)
TARGET_COUNTERS: Final = (
    "borrow_requests",
    "borrow_requests_aborted",
    "extended_response_latency",
    "pins",
    "query_response_latency",
    "requests",
    "requests_with_tls",
    "setup_failed",
    "setup_succeeded",
)
PROXY_COUNTERS: Final = (
    "blind_spots",
    "statements_held",
    "statements_injected",
    "statements_parsed",
)


class Histogram:
    """A latency distribution: one integer per bucket, their sum, nothing else.

    `bounds` are inclusive upper bounds in seconds, ascending, as Prometheus' `le` has them; one
    more bucket catches what lies above the last.
    """

    __slots__ = ("_above", "_bucket", "_up_to", "bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS) -> None:
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"histogram bounds must ascend: {bounds!r}")
        self.bounds: Final = bounds
        # Observations per bucket, not cumulative: one addition per observation.
        self.counts: Final = [0] * (len(bounds) + 1)
        # Seconds observed altogether.
        self.total: float = 0.0
        # The bucket of the last observation, and its bounds: where the next one mostly belongs.
        self._bucket = 0
        self._above = float("-inf")
        self._up_to = bounds[0]

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        if not self._above < seconds <= self._up_to:
            self._find(seconds)
        self.counts[self._bucket] += 1
        self.total += seconds

    def observe_too(self, other: "Histogram", seconds: float) -> None:
        """Count one observation here and in `other`, which has the same bounds."""
        if not self._above < seconds <= self._up_to:
            self._find(seconds)
        bucket = self._bucket
        self.counts[bucket] += 1
        self.total += seconds
        other.counts[bucket] += 1
        other.total += seconds

    def _find(self, seconds: float) -> None:
        """Find the bucket of `seconds`: mostly one of the next ones."""
        bounds = self.bounds
        bucket = self._bucket
        while bucket < len(bounds) and bounds[bucket] < seconds:
            bucket += 1
        while bucket and seconds <= bounds[bucket - 1]:
            bucket -= 1
        self._bucket = bucket
        self._above = bounds[bucket - 1] if bucket else float("-inf")
        self._up_to = bounds[bucket] if bucket < len(bounds) else float("inf")

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield (upper bound, observations up to it), the last bound being infinity."""
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            yield bound, seen

    def add(self, other: "Histogram") -> None:
        """Add the observations of `other`, which must have the same bounds."""
        if other.bounds != self.bounds:
            raise ValueError("histograms with different bounds do not add up")
        for index, count in enumerate(other.counts):
            self.counts[index] += count
        self.total += other.total


class ClientCounters:
    """What happened at one endpoint, on the clients' side (M-02..M-09, M-13, M-24..M-27).

    Open connections are derived, never counted: `received - closed`. Three attributes are gauges
    and come down again: `in_setup`, `tls` and `no_tls`; the last two are counted once it is known
    which, that is when TLS stands or the startup message arrives without it.

    RDS Proxy leaves extended-protocol traffic out of its query and latency metrics (M-31), so it
    is counted beside them, under `extended_...`; the exposition adds the two up if told to.
    """

    __slots__ = CLIENT_COUNTERS

    def __init__(self) -> None:
        # Connections accepted since the start (M-07).
        self.received = 0
        # Connections closed since the start, whoever closed them (M-03).
        self.closed = 0
        # Gauge: open, login not finished (M-04). Up at accept, down when login ends either way.
        self.in_setup = 0
        # Gauge: open connections over TLS (M-06).
        self.tls = 0
        # Gauge: open connections in clear (M-05).
        self.no_tls = 0
        # Logins that failed by authentication or TLS misconfiguration (M-08).
        self.setup_failed_auth = 0
        # Logins that succeeded, by any mechanism (M-09).
        self.setup_succeeded = 0
        # Simple queries; a text of several statements counts once (M-24).
        self.queries = 0
        # ... over TLS (M-26); the others came in clear (M-25).
        self.queries_tls = 0
        # From wanting a server to having it, at once or after waiting (M-13).
        self.borrow_latency: Final = Histogram()
        # From the simple query received to its ReadyForQuery sent to the client (M-27): with its
        # wait for a server.
        self.query_response_latency: Final = Histogram()
        # The same for the extended protocol: one query per Execute, one latency per Sync.
        self.extended_queries = 0
        self.extended_queries_tls = 0
        self.extended_response_latency: Final = Histogram()

    @property
    def open(self) -> int:
        """Open client connections, those in setup included (M-02)."""
        return self.received - self.closed


class TargetCounters:
    """What happened between the proxy and one target (M-10, M-11, M-17, M-18, M-21..M-23)."""

    __slots__ = TARGET_COUNTERS

    def __init__(self) -> None:
        # Attempts to open a server connection (M-10).
        self.requests = 0
        # ... with TLS (M-11).
        self.requests_with_tls = 0
        # Attempts that failed (M-17).
        self.setup_failed = 0
        # Attempts that ended with a server ready to be lent (M-18).
        self.setup_succeeded = 0
        # Borrow requests (M-21).
        self.borrow_requests = 0
        # Borrow requests that got no server: timeout, client gone, target lost (M-22).
        self.borrow_requests_aborted = 0
        # From the simple query sent to the database to its ReadyForQuery (M-23).
        self.query_response_latency: Final = Histogram()
        # From the Sync sent to the database to its ReadyForQuery: not in M-23 (M-31).
        self.extended_response_latency: Final = Histogram()
        # Sessions pinned since the start, by the id of the rule that pinned them.
        self.pins: Final[dict[str, int]] = {}

    def pinned(self, rule: str) -> None:
        """Count a session pinned by `rule`, a rule's id such as `PIN-PG-01`."""
        self.pins[rule] = self.pins.get(rule, 0) + 1


class ProxyCounters:
    """What CloudWatch does not count: prepared statements and what pinning could not see."""

    __slots__ = PROXY_COUNTERS

    def __init__(self) -> None:
        # Named statements that clients prepared by protocol.
        self.statements_parsed = 0
        # Gauge: named statements that clients hold; counted when somebody reads it.
        self.statements_held = 0
        # Parse messages of our own, for a server that did not know a client's statement yet.
        self.statements_injected = 0
        # State that changed without a verdict announcing it (NOPIN-PG-02), by kind of evidence.
        self.blind_spots: Final[dict[str, int]] = {}

    def blind_spot(self, kind: str) -> None:
        """Count one change of session state that no rule saw; `kind` says what gave it away."""
        self.blind_spots[kind] = self.blind_spots.get(kind, 0) + 1
