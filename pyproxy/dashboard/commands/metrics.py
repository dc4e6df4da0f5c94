"""`pyproxy metrics`: the metrics of a running proxy, for people, programs or CloudWatch.

`--format emf --interval 60` is a small agent: one set of log lines a minute on standard output,
where CloudWatch's agent, FireLens or a Lambda runtime picks them up.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from pyproxy.arguments import proxy_url, seconds, something
from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.metrics import emf
from pyproxy.metrics.series import as_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy metrics`."""
    parser.add_argument(
        "--url", type=proxy_url, default=DEFAULT_URL, help="the proxy's HTTP side (%(default)s)"
    )
    parser.add_argument(
        "--format",
        choices=("prometheus", "json", "emf"),
        default="prometheus",
        help="emf: CloudWatch Embedded Metric Format (default: %(default)s)",
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        metavar="SECONDS",
        help="print again and again; with emf, counters are then those of the interval",
    )
    parser.add_argument(
        "--namespace",
        type=something,
        default=emf.NAMESPACE,
        help="CloudWatch namespace for emf (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics, once or until interrupted."""
    try:
        for text in _outputs(arguments):
            print(text, end="", flush=True)
    except ApiError as problem:
        print(f"pyproxy metrics: {problem}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        # How one ends a command that runs until interrupted.
        return DONE
    return DONE


def _outputs(arguments: argparse.Namespace) -> Iterator[str]:
    before: list[Family] = []
    while True:
        text = _scrape(arguments.url)
        if arguments.format == "emf":
            now = _families(arguments.url, text)
            if before or arguments.interval is None:
                yield _emf(now, before, arguments.namespace)
            before = now
        elif arguments.format == "json":
            yield json.dumps(as_json(_families(arguments.url, text))) + "\n"
        else:
            yield text
        if arguments.interval is None:
            return
        time.sleep(arguments.interval)


def _emf(now: list[Family], before: list[Family], namespace: str) -> str:
    timestamp_ms = int(time.time() * 1000)
    lines = emf.lines(now, before, timestamp_ms=timestamp_ms, namespace=namespace)
    return "".join(f"{line}\n" for line in lines)


def _scrape(url: str) -> str:
    answer = get(url, "/metrics")
    if answer.status != 200:
        raise ApiError(f"{url}/metrics answered {answer.status}: is this pyproxy?")
    if b"pyproxy_" not in answer.body:
        raise ApiError(f"{url}/metrics has no metric of PyProxy: is this pyproxy?")
    return answer.body.decode("utf-8", "replace")


def _families(url: str, text: str) -> list[Family]:
    try:
        return list(text_string_to_metric_families(text))
    except ValueError as problem:
        raise ApiError(f"{url}/metrics is not in Prometheus' format: {problem}") from None
