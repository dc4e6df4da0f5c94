"""Rates and quantiles."""

import pytest

from pyproxy.dashboard.sampling import Moment, quantile, sample
from pyproxy.dashboard.view import Reading
from pyproxy.metrics.counters import LATENCY_BOUNDS, Histogram

MOMENT = Moment(
    time="2026-05-04T12:00:00.000+00:00",
    clients=9,
    waiting=1,
    max_connections=50,
    targets={"db-a": "READ_WRITE"},
)
NONE = (0,) * (len(LATENCY_BOUNDS) + 1)


def reading(queries: int, borrows: tuple[int, ...] = NONE) -> Reading:
    return Reading(1, 2, 3, 4, 5, queries, borrows)


def test_the_first_sample_knows_no_rate() -> None:
    first = sample(MOMENT, reading(1000), None, 0)
    assert first["queries_per_second"] is None
    assert first["borrows_per_second"] is None
    assert first["borrow_p50"] is None
    assert (first["idle"], first["changing"], first["clients"]) == (1, 5, 9)


def test_a_rate_is_the_difference_over_the_time() -> None:
    before, now = reading(1000), reading(1300, (150, *NONE[1:]))
    found = sample(MOMENT, now, before, 2)
    assert (found["queries_per_second"], found["borrows_per_second"]) == (150, 75)


def test_a_second_without_borrows_has_no_latency() -> None:
    found = sample(MOMENT, reading(5), reading(5), 1)
    assert (found["borrows_per_second"], found["borrow_p99"]) == (0, None)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_lies_in_the_bucket_of_the_true_one(share: float) -> None:
    values = [0.00002 * n**2 for n in range(1, 800)]
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    found = quantile(histogram.counts, share)
    true = sorted(values)[max(0, round(share * len(values)) - 1)]
    assert found is not None
    low = max((b for b in LATENCY_BOUNDS if b < true), default=0.0)
    high = min(b for b in LATENCY_BOUNDS if b >= true)
    assert low <= found <= high


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert quantile([0, 0, 7], 0.5, (1.0, 2.0)) == 2.0


def test_nothing_observed_has_no_quantile() -> None:
    assert quantile([0, 0], 0.5, (1.0,)) is None
    assert quantile((), 0.5) is None
