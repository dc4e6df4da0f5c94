"""The catalog: RDS Proxy's 27 metrics as the manual has them, and ours beside them."""

import re
from pathlib import Path

import pytest

from pyproxy.metrics import reference
from pyproxy.metrics.catalog import CATALOG, DIMENSION_SETS, Kind, snake_case

# Behaviour notes, section 7: number, name, unit, statistic, dimension sets, moves as.
MANUAL = """\
M-01 AvailabilityPercentage Percent Average 4 gauge
M-02 ClientConnections Count Sum 1,2 gauge
M-03 ClientConnectionsClosed Count Sum 1,2 counter
M-04 ClientConnectionsInSetup Count Sum 1,2 gauge
M-05 ClientConnectionsNoTLS Count Sum 1,2 gauge
M-06 ClientConnectionsTLS Count Sum 1,2 gauge
M-07 ClientConnectionsReceived Count Sum 1,2 counter
M-08 ClientConnectionsSetupFailedAuth Count Sum 1,2 counter
M-09 ClientConnectionsSetupSucceeded Count Sum 1,2 counter
M-10 DatabaseConnectionRequests Count Sum 1,3,4 counter
M-11 DatabaseConnectionRequestsWithTLS Count Sum 1,3,4 counter
M-12 DatabaseConnections Count Sum 1,3,4 gauge
M-13 DatabaseConnectionsBorrowLatency Microseconds Average 1,2 histogram
M-14 DatabaseConnectionsCurrentlyBorrowed Count Sum 1,3,4 gauge
M-15 DatabaseConnectionsCurrentlyInTransaction Count Sum 1,3,4 gauge
M-16 DatabaseConnectionsCurrentlySessionPinned Count Sum 1,3,4 gauge
M-17 DatabaseConnectionsSetupFailed Count Sum 1,3,4 counter
M-18 DatabaseConnectionsSetupSucceeded Count Sum 1,3,4 counter
M-19 DatabaseConnectionsWithTLS Count Sum 1,3,4 gauge
M-20 MaxDatabaseConnectionsAllowed Count Sum 1,3,4 gauge
M-21 DatabaseConnectionsBorrowRequests Count Sum 4 counter
M-22 DatabaseConnectionsBorrowRequestsAborted Count Sum 4 counter
M-23 QueryDatabaseResponseLatency Microseconds Average 1,2,3,4 histogram
M-24 QueryRequests Count Sum 1,2 counter
M-25 QueryRequestsNoTLS Count Sum 1,2 counter
M-26 QueryRequestsTLS Count Sum 1,2 counter
M-27 QueryResponseLatency Microseconds Average 1,2 histogram
""".splitlines()

REFERENCE = Path(__file__).parents[3] / "docs/reference/metrics.md"


@pytest.mark.parametrize("row", MANUAL, ids=lambda row: row.split()[1])
def test_a_metric_is_as_the_manual_has_it(row: str) -> None:
    """M-01 .. M-27."""
    number, name, unit, statistic, sets, moves = row.split()
    metric = next(metric for metric in CATALOG if metric.id == number)
    assert (metric.name, metric.kind.unit, metric.kind.statistic) == (name, unit, statistic)
    assert metric.dimensions == tuple(map(int, sets.split(",")))
    assert metric.kind.prometheus_type == moves


def test_the_manual_has_27_metrics_and_the_catalog_the_same() -> None:
    assert [m.id for m in CATALOG if not m.ours] == [row.split()[0] for row in MANUAL]


@pytest.mark.parametrize(
    ("cloudwatch", "expected"),
    [
        ("ClientConnectionsNoTLS", "client_connections_no_tls"),
        ("DatabaseConnectionRequestsWithTLS", "database_connection_requests_with_tls"),
        ("QueryRequestsTLS", "query_requests_tls"),
        ("TargetRole", "target_role"),
    ],
)
def test_an_abbreviation_stays_one_word_in_snake_case(cloudwatch: str, expected: str) -> None:
    assert snake_case(cloudwatch) == expected


@pytest.mark.parametrize(
    ("name", "prometheus"),
    [
        ("DatabaseConnectionsCurrentlySessionPinned",
         "pyproxy_database_connections_currently_session_pinned"),
        ("DatabaseConnectionsBorrowLatency",
         "pyproxy_database_connections_borrow_latency_seconds"),
        ("ClientConnections", "pyproxy_client_connections"),
        ("ClientConnectionsReceived", "pyproxy_client_connections_received_total"),
        ("Pins", "pyproxy_pins_total"),
        ("PinningBlindSpots", "pyproxy_pinning_blind_spots_total"),
    ],
)  # fmt: skip
def test_the_prometheus_name_is_the_promised_one(name: str, prometheus: str) -> None:
    """The names of the HTTP contract, which alarms and dashboards rely on."""
    assert next(m for m in CATALOG if m.name == name).prometheus == prometheus


def test_names_are_unique_and_valid() -> None:
    """Prometheus, "Data model": names match this pattern."""
    names = [metric.prometheus for metric in CATALOG]
    assert len(set(names)) == len(names)
    assert len({metric.id for metric in CATALOG}) == len(names)
    assert all(re.fullmatch(r"pyproxy_[a-z_]+", name) for name in names)


def test_help_names_the_cloudwatch_metric() -> None:
    for metric in CATALOG:
        wanted = "Not in CloudWatch: " if metric.ours else f"CloudWatch {metric.name}: "
        assert metric.help.startswith(wanted)
        assert metric.help.endswith(".")
        assert not metric.meaning.endswith(".")


def test_every_dimension_set_is_used_and_known() -> None:
    """M-00."""
    used = {number for metric in CATALOG for number in metric.dimensions}
    assert used == set(DIMENSION_SETS)


def test_every_kind_has_a_unit_cloudwatch_knows() -> None:
    """Amazon CloudWatch API, "MetricDatum": the valid units."""
    assert {kind.unit for kind in Kind} == {"Count", "Percent", "Microseconds"}


def test_the_reference_page_is_what_the_catalog_writes() -> None:
    """Renew it with `python -m pyproxy.metrics.reference > docs/reference/metrics.md`."""
    assert REFERENCE.read_text() == reference.render()
