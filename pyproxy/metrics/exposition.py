"""Prometheus: the values as they are when somebody scrapes.

`Exposition(source)` is a custom collector in a registry of its own: nothing is kept, each scrape
reads the source through the catalog. `render(accept)` answers a scrape, in OpenMetrics when the
scraper asks for it and in the plain text format otherwise.

AWS's dimensions are the labels, so every CloudWatch dimension set is a `sum by (...)`.
"""

from collections.abc import Callable, Iterator
from math import isinf
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as _untyped_openmetrics
from prometheus_client.registry import Collector

from pyproxy.metrics import catalog
from pyproxy.metrics.catalog import COUNTER, LATENCY, Metric
from pyproxy.metrics.counters import Histogram
from pyproxy.metrics.readings import (
    MetricsSource,
    read_endpoints,
    read_roles,
    read_targets,
)

R = TypeVar("R")
Labels = tuple[str, ...]

generate_openmetrics: Final[Callable[[CollectorRegistry], bytes]] = _untyped_openmetrics

__all__ = ["Exposition", "MetricsSource"]


class Exposition(Collector):
    """The collector, and the answer to a scrape."""

    def __init__(self, source: MetricsSource) -> None:
        self._source: Final = source
        # A registry of our own: the library's global one would add what it pleases.
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return content type and body for a scraper that sent `accept` as its Accept header."""
        if wants_openmetrics(accept):
            return OPENMETRICS, generate_openmetrics(self._registry)
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """Read the source and yield every family of the catalog."""
        source = self._source
        proxy, group = source.proxy_name, source.target_group
        targets = read_targets(source)
        yield from _families(
            catalog.ENDPOINT_METRICS,
            catalog.ENDPOINT_LABELS,
            [((proxy, reading.name), reading) for reading in read_endpoints(source)],
        )
        yield from _families(
            catalog.TARGET_METRICS,
            catalog.TARGET_LABELS,
            [((proxy, group, reading.target, reading.role), reading) for reading in targets],
        )
        yield from _families(
            catalog.ROLE_METRICS,
            catalog.ROLE_LABELS,
            [((proxy, group, r.role), r) for r in read_roles(source, targets)],
        )
        yield from _families(catalog.PROXY_METRICS, catalog.PROXY_LABELS, [((proxy,), source.own)])


def _families(
    metrics: tuple[Metric[R], ...], labels: tuple[str, ...], readings: list[tuple[Labels, R]]
) -> Iterator[Family]:
    """Yield the family of each metric, with one series (or a dict of series) per reading."""
    for metric in metrics:
        yield (_histograms if metric.kind is LATENCY else _numbers)(metric, labels, readings)


def _numbers(
    metric: Metric[R], labels: tuple[str, ...], readings: list[tuple[Labels, R]]
) -> Family:
    cls = CounterMetricFamily if metric.kind is COUNTER else GaugeMetricFamily
    names = (*labels, metric.label) if metric.label else labels
    family = cls(metric.family, metric.help, labels=names)
    for values, reading in readings:
        value = metric.read(reading)
        assert not isinstance(value, Histogram), metric.name
        if isinstance(value, dict):
            for member, number in sorted(value.items()):
                family.add_metric((*values, member), number)
        else:
            family.add_metric(values, value)
    return family


def _histograms(
    metric: Metric[R], labels: tuple[str, ...], readings: list[tuple[Labels, R]]
) -> Family:
    family = HistogramMetricFamily(metric.family, metric.help, labels=labels, unit="seconds")
    for values, reading in readings:
        value = metric.read(reading)
        assert isinstance(value, Histogram), metric.name
        buckets = [(_bound(bound), float(count)) for bound, count in value.cumulative()]
        family.add_metric(values, buckets=buckets, sum_value=value.total)
    return family


def _bound(seconds: float) -> str:
    """Return a bucket's `le`, as both text formats spell it."""
    return "+Inf" if isinf(seconds) else repr(seconds)


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics; anything unreadable asks for plain text.

    Prometheus offers several formats with falling weights and takes the one it is given; a
    weight of zero is a refusal (RFC 9110, "Quality Values").
    """
    for offer in accept.split(","):
        media, *parameters = (part.strip().lower() for part in offer.split(";"))
        if media == "application/openmetrics-text":
            return not any(p in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters)
    return False
