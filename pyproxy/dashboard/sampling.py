"""Two readings become one sample: gauges as they are, counters as rates, latencies as quantiles.

Pure; the feed brings readings and times.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, TypedDict

from pyproxy.dashboard.view import Reading
from pyproxy.metrics.counters import LATENCY_BOUNDS

DIGITS: Final = 3
"""Of a rate; a chart shows no more."""


class Sample(TypedDict):
    """The proxy at one moment, as the charts want it."""

    time: str
    clients: int
    waiting: int
    max_connections: int
    """The budget of the targets in use: that write, or have connections."""

    idle: int
    borrowed: int
    """Server connections with a client, in no transaction and not pinned."""

    in_transaction: int
    """Server connections in a transaction, those of pinned sessions left out."""

    pinned: int
    changing: int
    """Server connections being opened, reset, cancelled or closed."""

    targets: dict[str, str]
    """Of each target its role, or its state if that is not AVAILABLE: a failover, seen later."""

    queries_per_second: float | None
    """By both protocols. This and what follows is null without an earlier sample."""

    borrows_per_second: float | None
    borrow_p50: float | None
    """Seconds; null too when nothing was borrowed."""

    borrow_p99: float | None


class Moment(TypedDict):
    """What a sample takes from the summary."""

    time: str
    clients: int
    waiting: int
    max_connections: int
    targets: dict[str, str]


def sample(moment: Moment, now: Reading, before: Reading | None, seconds: float) -> Sample:
    """Make a sample of a reading and the one `seconds` before it, if there was one."""
    rates: tuple[float | None, float | None] = (None, None)
    lent: Sequence[int] = ()
    if before is not None and seconds > 0:
        lent = [new - old for new, old in zip(now.borrows, before.borrows, strict=True)]
        rates = (
            round((now.queries - before.queries) / seconds, DIGITS),
            round(sum(lent) / seconds, DIGITS),
        )
    return Sample(
        **moment,
        idle=now.idle,
        borrowed=now.borrowed,
        in_transaction=now.in_transaction,
        pinned=now.pinned,
        changing=now.changing,
        queries_per_second=rates[0],
        borrows_per_second=rates[1],
        borrow_p50=quantile(lent, 0.5),
        borrow_p99=quantile(lent, 0.99),
    )


def quantile(
    counts: Sequence[int], share: float, bounds: Sequence[float] = LATENCY_BOUNDS
) -> float | None:
    """Return the value below which `share` of the observations lie, or None if there are none.

    Within a bucket the observations are taken to be spread evenly, as Prometheus'
    histogram_quantile does; beyond the last bound it is that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    for index, seen in enumerate(accumulate(counts)):
        if seen >= rank:
            if index == len(bounds):
                return bounds[-1]
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - seen + counts[index]) / counts[index]
    raise AssertionError("the rank is within the total")
