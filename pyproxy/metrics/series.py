"""Metric families as plain values: what a program wants, where Prometheus has text lines.

The input is what `exposition.Exposition.collect` yields or what Prometheus' parser reads from a
scrape; both have one sample per bucket, which `series_of` puts together again.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import Metric as Family

from pyproxy.metrics.catalog import CATALOG


class Series(NamedTuple):
    """One labelled series of a family."""

    labels: dict[str, str]
    value: float
    """The number; of a histogram the sum of all observations, in seconds."""

    observations: float = 0.0
    """How many observations a histogram has."""

    buckets: Mapping[str, float] = {}
    """Cumulative observations of a histogram by upper bound."""


def series_of(family: Family) -> list[Series]:
    """Return the series of one family, in the order they were written."""
    if family.type != "histogram":
        return [Series(dict(sample.labels), sample.value) for sample in family.samples]
    return list(_histograms(family))


def _histograms(family: Family) -> Iterator[Series]:
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        parts = found.setdefault(tuple(labels.items()), {})
        parts[sample.labels.get("le", sample.name.rpartition("_")[2])] = sample.value
    for key, parts in found.items():
        total, count = parts.pop("sum"), parts.pop("count")
        yield Series(dict(key), total, count, parts)


def as_json(families: Iterable[Family]) -> list[dict[str, object]]:
    """Return the families as JSON values, each with its CloudWatch name or null."""
    cloudwatch = {metric.family: metric.name for metric in CATALOG if not metric.ours}
    return [
        {
            "name": family.name,
            "cloudwatch": cloudwatch.get(family.name),
            "type": family.type,
            "help": family.documentation,
            "series": [_series_json(family.type, series) for series in series_of(family)],
        }
        for family in families
    ]


def _series_json(kind: str, series: Series) -> dict[str, object]:
    if kind != "histogram":
        return {"labels": series.labels, "value": series.value}
    return {
        "labels": series.labels,
        "count": series.observations,
        "sum_seconds": series.value,
        "buckets": dict(series.buckets),
    }
