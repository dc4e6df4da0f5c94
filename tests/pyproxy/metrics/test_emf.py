"""CloudWatch Embedded Metric Format: documents that CloudWatch would take in."""

import json
import re
from collections.abc import Iterable
from typing import cast

import pytest
from prometheus_client.metrics_core import Metric as Family

from pyproxy.metrics import emf
from pyproxy.metrics.catalog import CATALOG, DIMENSION_SETS
from pyproxy.metrics.exposition import Exposition
from tests.support.fake_metrics import IDLE, FakeSource

Document = dict[str, object]


def look(source: FakeSource) -> list[Family]:
    return list(Exposition(source).collect())


def documents(now: Iterable[Family], before: Iterable[Family] = ()) -> list[Document]:
    return [json.loads(line) for line in emf.lines(now, before, timestamp_ms=1_700_000_000_000)]


def document(found: list[Document], **dimensions: str) -> Document:
    """Return the one document about exactly these dimensions."""
    wanted = {"ProxyName": "demo", **dimensions}
    matching = [d for d in found if {n: d[n] for n in dimension_names(d)} == wanted]
    assert len(matching) == 1
    return matching[0]


def directive(found: Document) -> Document:
    directives = cast(list[Document], cast(Document, found["_aws"])["CloudWatchMetrics"])
    assert len(directives) == 1
    return directives[0]


def dimension_names(found: Document) -> list[str]:
    (names,) = cast(list[list[str]], directive(found)["Dimensions"])
    return names


def busy() -> FakeSource:
    source = FakeSource()
    source.default.received, source.default.queries = 10, 100
    source.reader.received, source.reader.queries = 4, 40
    source.db_a.requests, source.db_b.requests = 3, 2
    source.gauges_a = IDLE._replace(connections=3, pinned=1)
    source.gauges_b = IDLE._replace(connections=2)
    source.db_a.query_response_latency.observe(0.002)
    source.db_a.query_response_latency.observe(0.004)
    source.db_b.query_response_latency.observe(0.009)
    return source


def test_every_document_keeps_to_the_specification() -> None:
    """Embedded metric format: targets are numbers, dimensions strings, all on the root node."""
    found = documents(look(busy()))
    for each in found:
        assert cast(Document, each["_aws"])["Timestamp"] == 1_700_000_000_000
        assert directive(each)["Namespace"] == "PyProxy"
        assert all(isinstance(each[name], str) for name in dimension_names(each))
        metrics = cast(list[dict[str, str]], directive(each)["Metrics"])
        assert 0 < len(metrics) <= 100
        for metric in metrics:
            assert isinstance(each[metric["Name"]], int | float)
            assert re.fullmatch("Count|Percent|Microseconds", metric["Unit"])


def test_each_metric_appears_in_exactly_its_dimension_sets() -> None:
    """M-00 and the column of dimensions of M-01 .. M-27."""
    source = busy()
    source.default.borrow_latency.observe(0.001)
    source.default.query_response_latency.observe(0.001)
    seen: dict[str, set[tuple[str, ...]]] = {}
    for each in documents(look(source)):
        for metric in cast(list[dict[str, str]], directive(each)["Metrics"]):
            seen.setdefault(metric["Name"], set()).add(tuple(dimension_names(each)))
    expected = {m.name: {DIMENSION_SETS[n] for n in m.dimensions} for m in CATALOG if not m.ours}
    assert seen == expected


def test_a_smaller_dimension_set_is_the_sum_of_its_parts() -> None:
    found = documents(look(busy()))
    assert document(found)["QueryRequests"] == 140
    assert document(found, EndpointName="default")["QueryRequests"] == 100
    assert document(found)["DatabaseConnections"] == 5
    writer = document(found, TargetGroup="default", TargetRole="READ_WRITE")
    assert writer["DatabaseConnections"] == 3
    assert document(found, TargetGroup="default", Target="db-b")["DatabaseConnections"] == 2


def test_a_latency_is_the_mean_over_all_observations_in_microseconds() -> None:
    """M-23: the mean over the proxy weighs observations, not targets."""
    found = documents(look(busy()))
    assert document(found)["QueryDatabaseResponseLatency"] == pytest.approx(5000)
    reader = document(found, TargetGroup="default", Target="db-b")
    assert reader["QueryDatabaseResponseLatency"] == pytest.approx(9000)


def test_a_latency_without_observations_is_left_out() -> None:
    assert "QueryResponseLatency" not in document(documents(look(busy())))


def test_counters_are_those_of_the_period_and_gauges_current() -> None:
    source = busy()
    before = look(source)
    source.default.queries += 7
    source.db_a.query_response_latency.observe(0.010)
    source.gauges_a = IDLE._replace(connections=8)
    found = documents(look(source), before)
    default = document(found, EndpointName="default")
    assert default["QueryRequests"] == 7
    assert default["ClientConnectionsReceived"] == 0
    writer = document(found, TargetGroup="default", Target="db-a")
    assert writer["QueryDatabaseResponseLatency"] == pytest.approx(10_000)
    assert writer["DatabaseConnections"] == 8


def test_a_proxy_that_began_again_counts_from_its_start() -> None:
    restarted = FakeSource()
    restarted.default.queries = 3
    found = documents(look(restarted), look(busy()))
    assert document(found, EndpointName="default")["QueryRequests"] == 3


def test_a_failover_does_not_count_the_past_again() -> None:
    """The role label of a target changes; what it had counted before stays counted."""
    source = busy()
    before = look(source)
    source.roles = {"db-a": "READ_ONLY", "db-b": "READ_WRITE"}
    source.db_b.requests += 5
    found = documents(look(source), before)
    writer = document(found, TargetGroup="default", TargetRole="READ_WRITE")
    assert writer["DatabaseConnectionRequests"] == 5


def test_an_endpoint_alone_in_its_role_has_the_latency_of_its_database() -> None:
    """M-23 has EndpointName among its dimensions."""
    found = documents(look(busy()))
    default = document(found, EndpointName="default")
    assert default["QueryDatabaseResponseLatency"] == pytest.approx(3000)


def test_endpoints_that_share_a_role_are_not_told_apart() -> None:
    source = busy()
    source.endpoint_roles = {"default": "READ_WRITE", "reader": "READ_WRITE"}
    found = documents(look(source))
    assert "QueryDatabaseResponseLatency" not in document(found, EndpointName="default")
    assert "QueryDatabaseResponseLatency" in document(found)


def test_the_availability_of_each_role_stands_for_itself() -> None:
    """M-01 has the dimension set 4 alone."""
    source = busy()
    source.gauges_b = IDLE._replace(available=False)
    found = documents(look(source))
    for role, share in (("READ_WRITE", 100), ("READ_ONLY", 0)):
        assert (
            document(found, TargetGroup="default", TargetRole=role)["AvailabilityPercentage"]
            == share
        )


def test_the_namespace_can_be_chosen() -> None:
    (first, *_) = emf.lines(look(busy()), timestamp_ms=0, namespace="Team/Proxy")
    assert directive(json.loads(first))["Namespace"] == "Team/Proxy"
