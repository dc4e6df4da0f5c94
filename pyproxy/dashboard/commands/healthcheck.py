"""`pyproxy healthcheck`: can a running proxy serve clients? For a container's HEALTHCHECK."""

import argparse
import sys

from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy healthcheck`."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the proxy's HTTP side (%(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=3.0, help="seconds to wait for the answer (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the proxy's own words about itself; 0 if it is ready, 1 if it is not or not there."""
    try:
        answer = get(arguments.url, "/readyz", arguments.timeout)
    except ApiError as problem:
        print(f"pyproxy healthcheck: {problem}", file=sys.stderr)
        return 1
    value = answer.json()
    if not isinstance(value, dict) or "why" not in value:
        print(f"pyproxy healthcheck: {arguments.url} is not a pyproxy", file=sys.stderr)
        return 1
    ready = answer.status == 200
    print(
        f"{'ready' if ready else 'not ready'}: {value['why']}", file=None if ready else sys.stderr
    )
    return 0 if ready else 1
