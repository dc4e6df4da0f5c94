"""The exposition, read back with Prometheus' own parsers."""

from collections.abc import Iterable
from typing import cast

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pyproxy.metrics.catalog import CATALOG, PROCESS_METRICS
from pyproxy.metrics.exposition import Exposition, wants_openmetrics
from tests.support.fake_metrics import IDLE, FakeSource

WRITER = {
    "proxy_name": "demo",
    "target_group": "default",
    "target": "db-a",
    "target_role": "READ_WRITE",
}
# What Prometheus 3 sends.
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
DEFAULT = {"proxy_name": "demo", "endpoint_name": "default"}


def families(source: FakeSource) -> dict[str, Family]:
    _, body = Exposition(source).render()
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def value(source: FakeSource, sample: str, labels: dict[str, str]) -> float:
    """Return the one value of a series, by the name written on its line."""
    found = [
        s.value
        for family in families(source).values()
        for s in family.samples
        if s.name == sample and s.labels == labels
    ]
    assert len(found) == 1, f"{sample} {labels}: {len(found)} series"
    return found[0]


def test_every_metric_of_the_catalog_is_exposed_with_its_help_and_type() -> None:
    found = families(FakeSource())
    for metric in CATALOG:
        assert found[metric.family].documentation == metric.help
        assert found[metric.family].type == metric.kind.prometheus_type


def test_nothing_is_exposed_that_the_catalog_does_not_know() -> None:
    known = {metric.family for metric in CATALOG}
    known |= {name.removesuffix("_total") for name in PROCESS_METRICS}
    assert set(families(FakeSource())) <= known


def test_client_connections_are_labelled_by_endpoint() -> None:
    """M-02, dimension set 2."""
    source = FakeSource()
    source.default.received, source.default.closed = 7, 3
    source.reader.received = 1
    assert value(source, "pyproxy_client_connections", DEFAULT) == 4
    reader = {"proxy_name": "demo", "endpoint_name": "reader"}
    assert value(source, "pyproxy_client_connections", reader) == 1


def test_gauges_of_a_target_carry_all_of_its_dimensions() -> None:
    """M-14, M-15, M-16, M-32: borrowed includes those in a transaction and those pinned."""
    source = FakeSource()
    source.gauges_a = IDLE._replace(connections=10, borrowed=6, in_transaction=3, pinned=2)
    connections = "pyproxy_database_connections"
    assert value(source, connections, WRITER) == 10
    assert value(source, f"{connections}_currently_borrowed", WRITER) == 6
    assert value(source, f"{connections}_currently_in_transaction", WRITER) == 3
    assert value(source, f"{connections}_currently_session_pinned", WRITER) == 2


def test_a_latency_is_a_histogram_in_seconds() -> None:
    """M-13."""
    source = FakeSource()
    source.default.borrow_latency.observe(0.0004)
    source.default.borrow_latency.observe(300.0)
    name = "pyproxy_database_connections_borrow_latency_seconds"
    assert value(source, f"{name}_count", DEFAULT) == 2
    assert value(source, f"{name}_sum", DEFAULT) == pytest.approx(300.0004)
    assert value(source, f"{name}_bucket", {**DEFAULT, "le": "0.00025"}) == 0
    assert value(source, f"{name}_bucket", {**DEFAULT, "le": "0.0005"}) == 1
    assert value(source, f"{name}_bucket", {**DEFAULT, "le": "120.0"}) == 1
    assert value(source, f"{name}_bucket", {**DEFAULT, "le": "+Inf"}) == 2


def test_a_role_whose_targets_nobody_has_asked_yet_is_absent_not_unavailable() -> None:
    """M-00, M-01: "some appear only after the first successful connection"."""
    source = FakeSource()
    source.gauges_a = IDLE._replace(available=False, asked=False)
    name = "pyproxy_availability_percentage"
    found = {s.labels["target_role"]: s.value for s in families(source)[name].samples}
    assert found == {"READ_ONLY": 100}
    source.gauges_a = IDLE._replace(available=False)
    found = {s.labels["target_role"]: s.value for s in families(source)[name].samples}
    assert found == {"READ_ONLY": 100, "READ_WRITE": 0}


def test_pins_are_counted_by_rule() -> None:
    source = FakeSource()
    source.db_a.pinned("PIN-PG-01")
    source.db_a.pinned("PIN-PG-01")
    source.own.blind_spot("parameter_status")
    assert value(source, "pyproxy_pins_total", {**WRITER, "rule": "PIN-PG-01"}) == 2
    blind = {"proxy_name": "demo", "kind": "parameter_status"}
    assert value(source, "pyproxy_pinning_blind_spots_total", blind) == 1


def test_prepared_statements_are_those_parsed_and_not_closed() -> None:
    source = FakeSource()
    source.own.statements_parsed, source.own.statements_held = 9, 5
    assert value(source, "pyproxy_prepared_statements", {"proxy_name": "demo"}) == 5


@pytest.mark.parametrize(("extended", "queries"), [(False, 5), (True, 12)], ids=["aws", "all"])
def test_extended_queries_count_only_where_told(extended: bool, queries: int) -> None:
    """M-31: query and latency metrics leave the extended protocol out."""
    source = FakeSource()
    source.count_extended_queries = extended
    source.default.queries = source.default.queries_tls = 5
    source.default.extended_queries = 7
    for _ in range(5):
        source.default.query_response_latency.observe(0.001)
        source.db_a.query_response_latency.observe(0.001)
    for _ in range(7):
        source.default.extended_response_latency.observe(0.001)
        source.db_a.extended_response_latency.observe(0.001)
    assert value(source, "pyproxy_query_requests_total", DEFAULT) == queries
    assert value(source, "pyproxy_query_requests_tls_total", DEFAULT) == 5
    assert value(source, "pyproxy_query_requests_no_tls_total", DEFAULT) == queries - 5
    assert value(source, "pyproxy_query_response_latency_seconds_count", DEFAULT) == queries
    latency = "pyproxy_query_database_response_latency_seconds_count"
    assert value(source, latency, WRITER) == queries
    assert value(source, "pyproxy_extended_query_requests_total", DEFAULT) == 7
    # Adding them up for a scrape must not add them up for good.
    assert source.default.query_response_latency.count == 5


@pytest.mark.parametrize(
    ("available_a", "role_b", "writer", "reader"),
    [
        (True, "READ_ONLY", 100, 100),
        (False, "READ_ONLY", 0, 100),
        (False, "READ_WRITE", 100, 0),
    ],
    ids=["healthy", "writer down", "reader promoted"],
)
def test_a_role_is_available_while_one_target_of_it_is(
    available_a: bool, role_b: str, writer: int, reader: int
) -> None:
    """M-01; a role an endpoint asks for and no target has is at 0, not absent."""
    source = FakeSource()
    source.gauges_a = IDLE._replace(available=available_a)
    source.roles["db-b"] = role_b
    labels = {"proxy_name": "demo", "target_group": "default"}
    name = "pyproxy_availability_percentage"
    assert value(source, name, {**labels, "target_role": "READ_WRITE"}) == writer
    assert value(source, name, {**labels, "target_role": "READ_ONLY"}) == reader


def test_a_label_value_with_quotes_and_newlines_survives() -> None:
    source = FakeSource()
    source.proxy_name = 'a "quoted"\\name\nwith a line'
    labels = {"proxy_name": source.proxy_name, "endpoint_name": "default"}
    assert value(source, "pyproxy_client_connections", labels) == 0


@pytest.mark.parametrize(
    ("accept", "openmetrics_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=nonsense", True),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        (PROMETHEUS_3, True),
        (";;,,;q=", False),
    ],
)
def test_openmetrics_is_for_those_who_ask(accept: str, openmetrics_wanted: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics_wanted
    content_type, _ = Exposition(FakeSource()).render(accept)
    expected = "application/openmetrics-text" if openmetrics_wanted else "text/plain"
    assert content_type.startswith(f"{expected}; version=")


def test_the_openmetrics_body_is_valid_openmetrics() -> None:
    """OpenMetrics 1.0: the parser of the reference library is strict about order and EOF."""
    source = FakeSource()
    source.default.borrow_latency.observe(0.2)
    source.db_a.pinned("PIN-PG-06")
    _, body = Exposition(source).render("application/openmetrics-text")
    parsed = list(parse_openmetrics(body.decode()))
    assert {metric.family for metric in CATALOG} <= {family.name for family in parsed}


def parse_openmetrics(text: str) -> Iterable[Family]:
    # The library's OpenMetrics parser carries no annotations.
    return cast(Iterable[Family], openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
