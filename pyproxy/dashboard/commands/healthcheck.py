"""`pyproxy healthcheck`: can a running proxy serve clients? For a container's HEALTHCHECK."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from pyproxy.arguments import proxy_url, seconds
from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get
from pyproxy.exit_codes import DONE, NO

# An address that stands for all of the machine's, and one that can be asked.
_ASKABLE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to recognise, not to bind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy healthcheck`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url", type=proxy_url, default=DEFAULT_URL, help="the proxy's HTTP side (%(default)s)"
    )
    where.add_argument(
        "--config", type=Path, metavar="FILE", help="ask where this configuration has it"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long to wait for the answer (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the proxy's own words about itself; 0 if it is ready, 1 if it is not or not there."""
    url = configured_url(arguments.config) if arguments.config else arguments.url
    try:
        answer = get(url, "/readyz", arguments.timeout)
    except ApiError as problem:
        print(f"pyproxy healthcheck: {problem}", file=sys.stderr)
        return NO
    value = answer.json()
    if not isinstance(value, dict) or "why" not in value:
        print(f"pyproxy healthcheck: {url} is not a pyproxy", file=sys.stderr)
        return NO
    ready = answer.status == 200
    print(
        f"{'ready' if ready else 'not ready'}: {value['why']}", file=None if ready else sys.stderr
    )
    return DONE if ready else NO


def configured_url(path: Path) -> str:
    """Where a proxy with this configuration is asked; the default, if that is not to be found out.

    A running proxy goes on with what it has read, so whatever is wrong in the rest of the file has
    no say in its health.
    """
    # YAML is for those who ask for it: without it a health check costs two thirds.
    from pyproxy.binder import bind_key  # noqa: PLC0415
    from pyproxy.config import HttpConfig  # noqa: PLC0415

    try:
        http = bind_key(path.read_text("utf-8"), "http", HttpConfig, os.environ)
    except (OSError, UnicodeDecodeError):
        http = None
    if http is None:
        print(
            f"pyproxy healthcheck: {path} does not tell where, asking {DEFAULT_URL}",
            file=sys.stderr,
        )
        return DEFAULT_URL
    host = _ASKABLE.get(http.host, http.host)
    return f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
