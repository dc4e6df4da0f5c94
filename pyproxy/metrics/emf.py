"""CloudWatch Embedded Metric Format: the metrics as log lines that CloudWatch takes in.

`lines(now, before)` is pure: two looks at the families in, one JSON document per dimension set
and place out. CloudWatch's counters are those of a period, so they are what happened between the
two looks; gauges are as they were at the second.

Only RDS Proxy's own 27 metrics are written, under their own names. Namespaces that begin with
`AWS/` are closed to us, so the namespace is `PyProxy` unless told otherwise.

[Amazon CloudWatch User Guide, "Specification: Embedded metric format"]
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric as Family

from pyproxy.metrics.catalog import CATALOG, COUNTER, DIMENSION_SETS, LATENCY, AnyMetric, snake_case
from pyproxy.metrics.series import Series, series_of

NAMESPACE: Final = "PyProxy"

SeriesKey = tuple[str, ...]
Table = dict[str, dict[SeriesKey, Series]]
"""Family name -> identity of a series -> series."""


class Place(NamedTuple):
    """What one document is about: a dimension set and the values of its dimensions."""

    dimension_set: int
    values: tuple[str, ...]


def lines(
    now: Iterable[Family],
    before: Iterable[Family] = (),
    *,
    timestamp_ms: int,
    namespace: str = NAMESPACE,
) -> Iterator[str]:
    """Yield one JSON document per place; without `before`, counters count from the start."""
    latest, earlier = _table(now), _table(before)
    documents: dict[Place, list[tuple[AnyMetric, float]]] = {}
    for metric in CATALOG:
        for place, value in _values(metric, latest, earlier).items():
            documents.setdefault(place, []).append((metric, value))
    for place in sorted(documents):
        yield json.dumps(_document(place, documents[place], timestamp_ms, namespace))


def _document(
    place: Place, values: list[tuple[AnyMetric, float]], timestamp_ms: int, namespace: str
) -> dict[str, object]:
    names = DIMENSION_SETS[place.dimension_set]
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(names)],
        "Metrics": [{"Name": metric.name, "Unit": metric.kind.unit} for metric, _ in values],
    }
    return {
        "_aws": {"Timestamp": timestamp_ms, "CloudWatchMetrics": [directive]},
        **dict(zip(names, place.values, strict=True)),
        **{metric.name: value for metric, value in values},
    }


def _values(metric: AnyMetric, now: Table, before: Table) -> dict[Place, float]:
    """Return the metric's value at each place of each of its dimension sets."""
    totals: dict[Place, float] = {}
    counts: dict[Place, float] = {}
    for key, series in now.get(metric.family, {}).items():
        value, count = series.value, series.observations
        if metric.kind in (COUNTER, LATENCY):
            value, count = _since(series, before.get(metric.family, {}).get(key))
        for place in _places(metric, series.labels):
            totals[place] = totals.get(place, 0.0) + value
            counts[place] = counts.get(place, 0.0) + count
    if metric.kind is not LATENCY:
        return totals
    # The format takes numbers, not distributions: the mean, in CloudWatch's microseconds. A
    # period without an observation has no mean, and CloudWatch then has no data point either.
    return {p: round(totals[p] / counts[p] * 1e6, 3) for p in totals if counts[p] > 0}


def _since(series: Series, earlier: Series | None) -> tuple[float, float]:
    """Return what a counter gained; one that fell began again with the process."""
    if earlier is None or series.value < earlier.value:
        return series.value, series.observations
    return series.value - earlier.value, series.observations - earlier.observations


def _places(metric: AnyMetric, labels: dict[str, str]) -> Iterator[Place]:
    for number in metric.dimensions:
        names = [snake_case(dimension) for dimension in DIMENSION_SETS[number]]
        if all(name in labels for name in names):
            yield Place(number, tuple(labels[name] for name in names))


def _table(families: Iterable[Family]) -> Table:
    found = {family.name: series_of(family) for family in families}
    sole = _sole_endpoints(found.get("pyproxy_endpoint_info", []))
    return {
        name: {_identity(series): _with_endpoint(series, sole) for series in all_series}
        for name, all_series in found.items()
    }


def _identity(series: Series) -> SeriesKey:
    """Name a series for comparison: a failover changes a target's role, not its counters."""
    ignored = "target_role" if "target" in series.labels else ""
    return tuple(value for name, value in series.labels.items() if name != ignored)


def _sole_endpoints(infos: list[Series]) -> dict[str, str]:
    """Return role -> endpoint, for the roles that exactly one endpoint asks for."""
    asking = Counter(info.labels["target_role"] for info in infos)
    return {
        info.labels["target_role"]: info.labels["endpoint_name"]
        for info in infos
        if asking[info.labels["target_role"]] == 1
    }


def _with_endpoint(series: Series, sole: dict[str, str]) -> Series:
    """Add the endpoint to a target's series where only one endpoint can have caused it.

    QueryDatabaseResponseLatency has the dimension EndpointName (M-23) but is measured at the
    target. Two endpoints of one role share it, and then no document claims to know whose it is.
    """
    endpoint = sole.get(series.labels.get("target_role", ""))
    if endpoint is None or "target" not in series.labels:
        return series
    return series._replace(labels={**series.labels, "endpoint_name": endpoint})
