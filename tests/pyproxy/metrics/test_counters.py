"""The hot path's counters: plain integers that add up."""

from bisect import bisect_left
from itertools import product

import pytest

from pyproxy.metrics.counters import (
    LATENCY_BOUNDS,
    ClientCounters,
    Histogram,
    ProxyCounters,
    TargetCounters,
)


def test_a_bound_belongs_to_its_own_bucket() -> None:
    """Prometheus, "Histogram": `le` means less than or equal."""
    histogram = Histogram((0.1, 0.5))
    for seconds in (0.0, 0.1, 0.2, 0.5, 7.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 2, 1]
    assert list(histogram.cumulative()) == [(0.1, 2), (0.5, 4), (float("inf"), 5)]


def test_where_the_last_observation_was_does_not_decide() -> None:
    bounds = (0.1, 0.5, 2.0)
    values = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 9.0)
    for first, second in product(values, repeat=2):
        histogram, other = Histogram(bounds), Histogram(bounds)
        histogram.observe(first)
        histogram.observe_too(other, second)
        expected = [0] * 4
        expected[bisect_left(bounds, second)] += 1
        assert other.counts == expected
        expected[bisect_left(bounds, first)] += 1
        assert histogram.counts == expected


def test_a_histogram_knows_count_and_seconds() -> None:
    histogram = Histogram()
    histogram.observe(0.25)
    histogram.observe(0.5)
    assert (histogram.count, histogram.total) == (2, 0.75)


def test_the_default_bounds_reach_the_default_borrow_timeout() -> None:
    assert LATENCY_BOUNDS[-1] == 120.0


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)], ids=["none", "equal", "falling"])
def test_bounds_that_do_not_ascend_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


def test_histograms_add_up_bucket_by_bucket() -> None:
    left, right = Histogram((1.0,)), Histogram((1.0,))
    left.observe(0.5)
    right.observe(0.5)
    right.observe(3.0)
    left.add(right)
    assert (left.counts, left.total) == ([2, 1], 4.0)
    assert right.counts == [1, 1]


def test_histograms_with_different_bounds_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="different bounds"):
        Histogram((1.0,)).add(Histogram((2.0,)))


def test_open_connections_are_those_received_and_not_closed() -> None:
    """M-02: open connections, those in setup included."""
    counters = ClientCounters()
    counters.received += 5
    counters.in_setup += 1
    counters.closed += 2
    assert counters.open == 3


@pytest.mark.parametrize("counters", [ClientCounters(), TargetCounters(), ProxyCounters()])
def test_a_misspelt_counter_is_an_error(counters: object) -> None:
    """Slots: a typo on the hot path fails at once instead of counting nowhere."""
    with pytest.raises(AttributeError):
        setattr(counters, "recieved", 1)  # noqa: B010 - a literal would not type-check


def test_pins_and_blind_spots_are_counted_by_name() -> None:
    target, proxy = TargetCounters(), ProxyCounters()
    for rule in ("PIN-PG-01", "PIN-PG-06", "PIN-PG-01"):
        target.pinned(rule)
    proxy.blind_spot("parameter_status")
    proxy.blind_spot("parameter_status")
    assert target.pins == {"PIN-PG-01": 2, "PIN-PG-06": 1}
    assert proxy.blind_spots == {"parameter_status": 2}
