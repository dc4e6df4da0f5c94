"""Families as plain values, from the collector and from a scrape alike."""

import json

from prometheus_client.parser import text_string_to_metric_families

from pyproxy.metrics.exposition import Exposition
from pyproxy.metrics.series import Series, as_json, series_of
from tests.support.fake_metrics import FakeSource


def test_a_scrape_says_the_same_as_the_collector() -> None:
    source = FakeSource()
    source.default.borrow_latency.observe(0.3)
    source.db_b.pinned("PIN-PG-01")
    exposition = Exposition(source)
    collected = {family.name: series_of(family) for family in exposition.collect()}
    scraped = {
        family.name: series_of(family)
        for family in text_string_to_metric_families(exposition.render()[1].decode())
    }
    assert {name: scraped[name] for name in collected} == collected


def test_a_histogram_is_one_series_with_its_buckets() -> None:
    source = FakeSource()
    source.reader.borrow_latency.observe(0.3)
    family = next(
        family
        for family in Exposition(source).collect()
        if family.name == "pyproxy_database_connections_borrow_latency_seconds"
    )
    default, reader = series_of(family)
    assert default[:3] == ({"proxy_name": "demo", "endpoint_name": "default"}, 0.0, 0.0)
    assert isinstance(reader, Series)
    assert (reader.value, reader.observations) == (0.3, 1.0)
    assert (reader.buckets["0.25"], reader.buckets["0.5"], reader.buckets["+Inf"]) == (0, 1, 1)


def test_json_has_the_cloudwatch_name_where_there_is_one() -> None:
    found = {family["name"]: family for family in as_json(Exposition(FakeSource()).collect())}
    assert found["pyproxy_client_connections"]["cloudwatch"] == "ClientConnections"
    assert found["pyproxy_pins"]["cloudwatch"] is None
    json.dumps(list(found.values()))
