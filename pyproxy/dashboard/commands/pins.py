"""`pyproxy pins`: what pins sessions in a running proxy, what it costs, and how to avoid it."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Final, cast

from pyproxy.arguments import proxy_url
from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get_json, understanding
from pyproxy.dashboard.listings import MAX_LIMIT
from pyproxy.dashboard.view import PinnedSessionRow, PinRow
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.logs import printable

HEADER: Final = ("RULE", "COUNT", "HELD", "DIGEST")
MIN_WIDTH: Final = 60
# How many sessions that hold a server now are shown; all of them are in --json.
SHOWN: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy pins`."""
    parser.add_argument(
        "--url", type=proxy_url, default=DEFAULT_URL, help="the proxy's HTTP side (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the ledger."""
    try:
        answer = get_json(arguments.url, f"/api/v1/pins?limit={MAX_LIMIT}")
        with understanding(arguments.url):
            # The shape is the one `view` declares; a server of another release may have another.
            lines = list(_as_json(answer)) if arguments.json else _shown(answer)
    except ApiError as problem:
        print(f"pyproxy pins: {problem}", file=sys.stderr)
        return WRONG
    print("\n".join(lines))
    return DONE


def _as_json(answer: dict[str, object]) -> Iterator[str]:
    yield json.dumps({name: answer[name] for name in ("pins", "sessions")}, indent=2)


def _shown(answer: dict[str, object]) -> list[str]:
    # Whatever a client calls itself, and whatever it has sent, must not command this terminal.
    return [printable(line) for line in _as_text(answer)]


def _as_text(answer: dict[str, object]) -> Iterator[str]:
    rows = cast(list[PinRow], answer["pins"])
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
    if rows:
        yield from table(rows, width)
    else:
        yield "No session has been pinned."
    sessions = cast(list[PinnedSessionRow], answer["sessions"])
    held = [session for session in sessions if session["held"]]
    yield from holders(held[:SHOWN], width)
    if len(held) > SHOWN:
        yield f"... and {len(held) - SHOWN} more: --json has them all."
    if answer["truncated"]:
        yield f"... and more: only the first {len(rows)} are shown."


def table(rows: list[PinRow], width: int) -> Iterator[str]:
    """Yield the lines: one per pin; below it who, at which cost, and what to do instead."""
    cells = [HEADER, *((row["rule"], str(row["count"]), str(row["held"])) for row in rows)]
    rule, count, held = (max(len(row[column]) for row in cells) for column in range(3))
    indent = " " * (rule + count + held + 6)
    yield f"{HEADER[0]:<{rule}}  {HEADER[1]:>{count}}  {HEADER[2]:>{held}}  {HEADER[3]}"
    for row in rows:
        # A digest is as long as its statement was; its beginning tells which one it is.
        digest = textwrap.shorten(row["digest"], max(width - len(indent), 20), placeholder=" ...")
        yield f"{row['rule']:<{rule}}  {row['count']:>{count}}  {row['held']:>{held}}  {digest}"
        for text, hanging in ((_cost(row), ""), (f"-> {row['remedy']}", "   ")):
            yield from textwrap.wrap(
                text,
                width,
                initial_indent=indent,
                subsequent_indent=indent + hanging,
                break_on_hyphens=False,
            )


def holders(rows: list[PinnedSessionRow], width: int) -> Iterator[str]:
    """Yield the lines about sessions that hold a server now, the longest first."""
    if not rows:
        return
    yield ""
    yield "Servers held now, the longest first:"
    for row in rows:
        who = row["application_name"] or row["driver"] or f"{row['user']}@{row['database']}"
        statement = textwrap.shorten(row["statement"], max(width // 2, 20), placeholder=" ...")
        yield (
            f"  {duration(row['held_seconds'])}, {duration(row['idle_seconds'])} idle  "
            f"client {row['client']} ({who}), statement {row['number']}: {statement}"
        )


def _cost(row: PinRow) -> str:
    who = f"{row['application_name']}, " if row["application_name"] else ""
    driver = f"{row['driver']}, " if row["driver"] not in ("", row["application_name"]) else ""
    times = "once" if row["waited"] == 1 else f"{row['waited']} times"
    waited = f"; others waited {times}" if row["waited"] else ""
    held, idle = duration(row["held_seconds"]), duration(row["idle_seconds"])
    return f"{who}{driver}held servers for {held}, {idle} of it idle{waited}"


def duration(seconds: float) -> str:
    """A time span, as short as it is still telling."""
    for limit, unit in ((120, 1), (7200, 60), (172_800, 3600)):
        if seconds < limit:
            name = {1: "s", 60: "min", 3600: "h"}[unit]
            return f"{seconds / unit:.{1 if seconds < 10 else 0}f} {name}"
    return f"{seconds / 86_400:.0f} d"
