"""`pyproxy failover`: rehearse a failover of a running demonstration, and see who noticed.

Only `pyproxy demo` can be asked: it owns its databases. Of any other proxy the answer is "no".
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final, cast

from pyproxy.arguments import proxy_url
from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get_json, post
from pyproxy.dashboard.view import EventRow
from pyproxy.exit_codes import DONE, NO, WRONG
from pyproxy.lab.rehearsal import FINISHED, KILL, PATH, SWITCHOVER

# How long a rehearsal may take, and how often it is looked what has happened, in seconds.
PATIENCE: Final = 150.0
INTERVAL: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--kill",
        dest="how",
        action="store_const",
        const=KILL,
        help="kill the primary, as a power cut does (the default)",
    )
    how.add_argument(
        "--switchover",
        dest="how",
        action="store_const",
        const=SWITCHOVER,
        help="stop the primary, as for maintenance",
    )
    parser.set_defaults(how=KILL)
    parser.add_argument(
        "--url", type=proxy_url, default=DEFAULT_URL, help="the demo's HTTP side (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start it, tell what happens, return when the old primary is a standby."""
    try:
        started = post(arguments.url, f"{PATH}?how={arguments.how}")
    except ApiError as problem:
        sys.stderr.write(f"pyproxy failover: {problem}\n")
        return NO if " answered " in str(problem) else WRONG
    try:
        return _follow(arguments.url, int(cast(int, started["after"])))
    except ApiError as problem:
        sys.stderr.write(f"pyproxy failover: {problem}\n")
        return WRONG


def _follow(url: str, after: int) -> int:
    """Print the events behind `after` as they come."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        rows = cast(list[EventRow], get_json(url, "/api/v1/events?limit=2000")["events"])
        for row in sorted(rows, key=lambda row: row["id"]):
            if row["id"] <= after:
                continue
            after = row["id"]
            sys.stdout.write(f"{row['time'][11:23]}  {row['message']}\n")
            sys.stdout.flush()
            if row["event"] == FINISHED:
                return DONE if "not finished" not in row["message"] else NO
        time.sleep(INTERVAL)
    sys.stderr.write("pyproxy failover: it takes too long; see the demo's log\n")
    return NO
