"""A real Prometheus scrapes the HTTP side: it is content with what it gets."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
import yaml

from pyproxy.dashboard.client import ApiError, get
from pyproxy.dashboard.http import HttpServer
from pyproxy.metrics.catalog import CATALOG
from pyproxy.metrics.exposition import Exposition
from tests.support.fake_metrics import FakeSource
from tests.support.fake_view import FakeView
from tests.support.ports import free_port
from tests.support.proxy import ROOT, Proxy

prometheus = shutil.which("prometheus")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(prometheus is None, reason="prometheus is not installed"),
]

Tree = dict[str, object]


@asynccontextmanager
async def scraping(target: int, folder: Path) -> AsyncIterator[str]:
    """A Prometheus that scrapes a port of loopback; yields its URL, ends it afterwards."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {
                "job_name": "pyproxy",
                "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }
        ],
    }
    file = folder / "prometheus.yaml"
    # JSON is YAML.
    file.write_text(json.dumps(config))
    port = free_port()
    assert prometheus is not None
    process = await asyncio.create_subprocess_exec(
        prometheus,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def query(url: str, expression: str) -> list[Tree]:
    """Return the result of an instant query, as soon as there is one."""
    for _ in range(100):
        try:
            answer = await asyncio.to_thread(get, url, f"/api/v1/query?query={expression}")
        except ApiError:
            # It is still starting.
            await asyncio.sleep(0.2)
            continue
        data = answer.json()
        if isinstance(data, dict) and data.get("status") == "success" and data["data"]["result"]:
            return cast(list[Tree], data["data"]["result"])
        await asyncio.sleep(0.2)
    pytest.fail(f"Prometheus has no {expression} after 20 s")


async def test_prometheus_scrapes_what_the_source_has(tmp_path: Path) -> None:
    source = FakeSource()
    source.default.received, source.default.closed = 12, 5
    source.default.borrow_latency.observe(0.3)
    source.db_a.pinned("PIN-PG-01")
    server = HttpServer("127.0.0.1", 0, FakeView(), Exposition(source).render)
    await server.start()
    try:
        async with scraping(server.port, tmp_path) as url:
            default = "pyproxy_client_connections%7Bendpoint_name=%22default%22%7D"
            assert value(await query(url, default)) == 7
            assert value(await query(url, "up")) == 1
            assert value(await query(url, "sum(pyproxy_pins_total)")) == 1
            quantile = await query(
                url,
                "histogram_quantile(0.5,sum+by+(le)"
                "(pyproxy_database_connections_borrow_latency_seconds_bucket))",
            )
            assert 0.25 < value(quantile) <= 0.5
            # It asks for OpenMetrics, where the name of a counter's family lacks the `_total`.
            assert await metadata(url) >= {(m.family, m.help) for m in CATALOG}
    finally:
        await server.stop()


def value(result: list[Tree]) -> float:
    (series,) = result
    return float(cast(list[str], series["value"])[1])


async def metadata(url: str) -> set[tuple[str, str]]:
    """What Prometheus has understood of HELP, by metric."""
    data = (await asyncio.to_thread(get, url, "/api/v1/metadata")).json()
    assert isinstance(data, dict)
    return {(name, entry["help"]) for name, entries in data["data"].items() for entry in entries}


async def test_prometheus_sees_a_real_proxy_and_its_alert_expressions_hold(
    proxy: Proxy, tmp_path: Path
) -> None:
    """The shipped rules, asked of a proxy of which most connections are pinned (M-16, LG-07)."""
    groups = yaml.safe_load((ROOT / "config/prometheus/alerts.yaml").read_text())["groups"]
    rules = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    with proxy.wire() as holder, proxy.wire() as other:
        holder.query("SET work_mem = '8MB'")
        other.query("SET work_mem = '8MB'")
        async with scraping(proxy.http_port, tmp_path) as url:
            (pinned,) = await query(url, quote(rules["PyProxyConnectionsPinned"]))
            assert cast(dict[str, str], pinned["metric"])["target"] == "db-a"
            assert 0.3 < value([pinned]) <= 1
            assert value(await query(url, "pyproxy_availability_percentage")) == 100
            assert await firing(url, rules["PyProxyNoTargetAvailable"]) == []
            assert await firing(url, rules["PyProxyPinningBlindSpot"]) == []


async def firing(url: str, expression: str) -> list[Tree]:
    """What an expression gives now, which may be nothing."""
    answer = await asyncio.to_thread(get, url, f"/api/v1/query?query={quote(expression)}")
    data = answer.json()
    assert isinstance(data, dict)
    assert data["status"] == "success"
    return cast(list[Tree], data["data"]["result"])
