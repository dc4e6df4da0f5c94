"""`pyproxy failover`: rehearse a failover of a running demonstration, and see who noticed.

Only `pyproxy demo` can be asked: it owns its databases. Of any other proxy the answer is "no".
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final, cast

from pyproxy.arguments import proxy_url
from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get_json, post, understanding
from pyproxy.dashboard.view import EventRow
from pyproxy.exit_codes import DONE, NO, WRONG
from pyproxy.lab.rehearsal import FINISHED, KILL, PATH, SWITCHOVER
from pyproxy.logs import printable

# How long a rehearsal may take, and how often it is looked what has happened, in seconds.
PATIENCE: Final = 150.0
INTERVAL: Final = 0.2
# What others answer, and what a demonstration does that cannot fail over now.
_NO_DEMO: Final = (404, 405)
_NOT_NOW: Final = 409


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
        why = str(problem)
        if problem.status in _NO_DEMO and problem.in_json:
            why = f"{arguments.url} is no demo, whose databases alone may be broken: pyproxy demo"
        sys.stderr.write(f"pyproxy failover: {why}\n")
        return NO if problem.status in (*_NO_DEMO, _NOT_NOW) else WRONG
    try:
        with understanding(arguments.url):
            after = int(cast(int, started["after"]))
        return _follow(arguments.url, after)
    except ApiError as problem:
        sys.stderr.write(f"pyproxy failover: {problem}\n")
        return WRONG


def _follow(url: str, after: int) -> int:
    """Print the events behind `after` as they come."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = get_json(url, "/api/v1/events?limit=2000")
        with understanding(url):
            rows = sorted(
                (row["id"], row["time"][11:23], row["event"], row["message"])
                for row in cast(list[EventRow], answer["events"])
            )
        for number, time_of_day, event, message in rows:
            if number <= after:
                continue
            after = number
            sys.stdout.write(f"{time_of_day}  {printable(message)}\n")
            sys.stdout.flush()
            if event == FINISHED:
                return DONE if "not finished" not in message else NO
        time.sleep(INTERVAL)
    sys.stderr.write("pyproxy failover: it takes too long; see the demo's log\n")
    return NO
