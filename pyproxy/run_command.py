"""`pyproxy run`: the proxy, until a signal ends it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyproxy.app import App
from pyproxy.config import Config
from pyproxy.config_file import add_argument, load, load_again
from pyproxy.event_loop import run_in_loop
from pyproxy.exit_codes import DONE
from pyproxy.logs import configure
from pyproxy.signals import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy run`."""
    add_argument(parser)
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        default="auto",
        help="RDS Proxy's lines, or the same facts as JSON (auto: text on a terminal)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve; 0 when it was told to stop."""
    path: Path = options.config

    config = load(path, os.environ)
    as_json = options.log_format == "json" or (
        options.log_format == "auto" and not sys.stderr.isatty()
    )
    configure(sys.stderr, json=as_json)
    return run_in_loop(_serve(config, path, log_as_json=as_json))


async def _serve(config: Config, path: Path, *, log_as_json: bool) -> int:
    if config.workers > 1:
        # A single process has no need of it.
        from pyproxy.workers.supervisor import Supervisor  # noqa: PLC0415

        app: App = Supervisor(config, log_as_json=log_as_json)
    else:
        app = App(config)
    await serve(app, lambda: load_again(path, app.config, os.environ))
    return DONE
