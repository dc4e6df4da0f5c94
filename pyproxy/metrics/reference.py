"""The reference page of the metrics, written from the catalog.

`python -m pyproxy.metrics.reference > docs/reference/metrics.md` renews it; a test compares.
"""

import sys
from collections.abc import Iterable, Iterator

from pyproxy.metrics.catalog import (
    CATALOG,
    DIMENSION_SETS,
    NAMESPACE,
    PROCESS_METRICS,
    AnyMetric,
    snake_case,
)

INTRODUCTION = """\
# Metrics

<!-- Written by `python -m pyproxy.metrics.reference`; change `pyproxy/metrics/catalog.py`. -->

PyProxy counts what Amazon RDS Proxy publishes to CloudWatch, under CloudWatch's names, and shows
it at `/metrics` for Prometheus (the text format, or OpenMetrics when asked for).

- The Prometheus name is `pyproxy_` + CloudWatch's name in snake case + the unit.
- **Gauges** are the current number, not the mean of a minute.
- **Counters** count from the start of the process. CloudWatch's number of a minute is
  `increase(<name>[1m])`.
- **Latencies** are histograms in seconds, where CloudWatch has an average in microseconds: that is
  `1e6 * rate(<name>_sum[1m]) / rate(<name>_count[1m])`.
- As on AWS, query and query-latency metrics leave the extended protocol out, which most drivers
  use; PyProxy counts it beside them in `pyproxy_extended_query_...`, and in both places with
  `compatibility: {extended_query_metrics: true}`.
- A pinned connection is borrowed, and so is one in a transaction: both are part of
  `pyproxy_database_connections_currently_borrowed`.
- RDS Proxy has one stream of data per node; PyProxy has one node.
"""

DIMENSIONS = f"""\
## Dimensions and labels

CloudWatch's dimensions (namespace `{NAMESPACE}`) are the labels of the series. One series per
endpoint or target is kept; a dimension set is a sum over it.

| Set | CloudWatch dimensions | In PromQL |
| --- | --- | --- |
"""

EMBEDDED = """\
## CloudWatch Embedded Metric Format

`pyproxy metrics --format emf --interval 60` prints the metrics of each minute as log lines that
CloudWatch takes in, in the namespace `PyProxy`, each dimension set in a document of its own. A
latency is the mean of the period, in microseconds. `QueryDatabaseResponseLatency` has the
dimension `EndpointName` only for an endpoint that is alone in asking for its role.
"""


def render() -> str:
    """Return the page."""
    return "\n".join(
        [
            INTRODUCTION,
            _dimensions(),
            "## RDS Proxy's metrics\n",
            _table(_cloudwatch_rows(m for m in CATALOG if not m.ours)),
            "## PyProxy's own metrics\n",
            _table(_own_rows(m for m in CATALOG if m.ours)),
            "## The process\n\nPrometheus' customary metrics, where `/proc` exists.\n",
            _table(_process_rows()),
            EMBEDDED.rstrip(),
            "",
        ]
    )


def _dimensions() -> str:
    rows = [
        f"| {number} | {_code(names)} | `sum by ({', '.join(map(snake_case, names))}) (...)` |\n"
        for number, names in DIMENSION_SETS.items()
    ]
    return DIMENSIONS + "".join(rows)


def _cloudwatch_rows(metrics: Iterable[AnyMetric]) -> Iterator[tuple[str, ...]]:
    yield "", "CloudWatch", "Prometheus", "Type", "Unit, statistic", "Sets", "Meaning"
    for metric in metrics:
        yield (
            metric.id,
            f"`{metric.name}`",
            f"`{metric.prometheus}`",
            metric.kind.prometheus_type,
            f"{metric.kind.unit}, {metric.kind.statistic}",
            ", ".join(map(str, metric.dimensions)),
            metric.meaning,
        )


def _own_rows(metrics: Iterable[AnyMetric]) -> Iterator[tuple[str, ...]]:
    yield "Prometheus", "Type", "Label of its own", "Meaning"
    for metric in metrics:
        label = f"`{metric.label}`" if metric.label else ""
        yield f"`{metric.prometheus}`", metric.kind.prometheus_type, label, metric.meaning


def _process_rows() -> Iterator[tuple[str, ...]]:
    yield "Prometheus", "Meaning"
    for name, meaning in PROCESS_METRICS.items():
        yield f"`{name}`", meaning


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    header = next(rows)
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(render())
