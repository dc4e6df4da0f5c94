"""The shipped alerts, scrape configuration and dashboard: they name metrics that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import yaml

from pyproxy.metrics.catalog import CATALOG, LATENCY, PROCESS_METRICS, TARGET_LABELS

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "config/prometheus/alerts.yaml"
SCRAPE = ROOT / "config/prometheus/prometheus.yaml"
DASHBOARD = ROOT / "config/grafana/pyproxy.json"
ALERTS_TEST = Path(__file__).parent / "alerts_test.yaml"

LABELS = {*TARGET_LABELS, "endpoint_name", "rule", "kind", "le", "job", "instance"}
Tree = dict[str, object]


def known_names() -> set[str]:
    names = {*PROCESS_METRICS, "up"}
    for metric in CATALOG:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is LATENCY else ("",)
        names |= {metric.prometheus + suffix for suffix in suffixes}
    return names


def alerts() -> list[Tree]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return cast(list[Tree], group["rules"])


def panels() -> list[Tree]:
    return cast(list[Tree], json.loads(DASHBOARD.read_text())["panels"])


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield str(rule["alert"]), str(rule["expr"])
    for panel in panels():
        for target in cast(list[dict[str, str]], panel["targets"]):
            yield str(panel["title"]), target["expr"]


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(
    ("where", "expression"), EXPRESSIONS, ids=[f"{w}-{i}" for i, (w, _) in enumerate(EXPRESSIONS)]
)
def test_an_expression_names_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    names = set(re.findall(r"\b(?:pyproxy|process)_[a-z_]+|\bup\b", expression))
    assert names
    assert names <= known_names()
    labels = set(re.findall(r"([a-z_]+)=", expression))
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        labels |= set(grouping.split(", "))
    assert labels <= LABELS


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_what_to_do_and_what_cloudwatch_calls_it(rule: Tree) -> None:
    annotations = cast(dict[str, str], rule["annotations"])
    assert set(annotations) in ({"summary", "action"}, {"summary", "action", "cloudwatch"})
    assert cast(dict[str, str], rule["labels"])["severity"] in ("critical", "warning", "info")
    cloudwatch = {metric.name for metric in CATALOG if not metric.ours} | {
        "Average",
        "Sum",
        "TargetRole",
    }
    named = re.findall(r"\b[A-Z][A-Za-z]+", annotations.get("cloudwatch", ""))
    assert set(named) <= cloudwatch


def test_a_third_of_the_connections_pinned_is_an_alert() -> None:
    (rule,) = [rule for rule in alerts() if rule["alert"] == "PyProxyConnectionsPinned"]
    assert "> 0.30" in str(rule["expr"])


def test_the_scrape_configuration_finds_the_alerts_and_the_default_port() -> None:
    config = yaml.safe_load(SCRAPE.read_text())
    assert [(SCRAPE.parent / name).exists() for name in config["rule_files"]] == [True]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "pyproxy"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8432"]}]


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = cast(dict[str, int], panel["gridPos"])
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_metric_of_cloudwatch_and_every_blind_spot_is_on_the_dashboard() -> None:
    """M-01 to M-27: what an alarm can be set on can be seen."""
    shown = " ".join(
        target["expr"]
        for panel in panels()
        for target in cast(list[dict[str, str]], panel["targets"])
    )
    wanted = {m.prometheus for m in CATALOG if not m.ours} | {"pyproxy_pinning_blind_spots_total"}
    assert [name for name in sorted(wanted) if not re.search(rf"\b{name}(_bucket)?\b", shown)] == []


def test_every_panel_explains_itself() -> None:
    assert all(panel["description"] for panel in panels())


promtool = shutil.which("promtool")
with_promtool = pytest.mark.skipif(promtool is None, reason="promtool is not installed")


def check(*words: str | Path) -> None:
    assert promtool is not None
    done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_promtool_accepts_the_rules_and_the_scrape_configuration() -> None:
    check("check", "config", SCRAPE)


@with_promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    check("test", "rules", ALERTS_TEST)


@with_promtool
def test_promtool_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As recording rules, Grafana's variables filled in: promtool parses rules without a server."""
    filled = [
        expression.replace("$__rate_interval", "1m")
        .replace("$__range", "1h")
        .replace("$proxy", "x")
        for _, expression in EXPRESSIONS
    ]
    rules = [{"record": f"query:{n}", "expr": text} for n, text in enumerate(filled)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    check("check", "rules", file)
