"""`pyproxy pins`: what pins sessions in a running proxy, and how to avoid it."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Final, cast

from pyproxy.dashboard.client import DEFAULT_URL, ApiError, get_json
from pyproxy.dashboard.routes import MAX_LIMIT
from pyproxy.dashboard.view import PinRow

HEADER: Final = ("RULE", "COUNT", "HELD", "DIGEST")
MIN_WIDTH: Final = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy pins`."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the proxy's HTTP side (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the ledger."""
    try:
        answer = get_json(arguments.url, f"/api/v1/pins?limit={MAX_LIMIT}")
    except ApiError as problem:
        print(f"pyproxy pins: {problem}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(answer["pins"], indent=2))
        return 0
    # The shape is the one `view` declares; the server is of the same package.
    rows = cast(list[PinRow], answer["pins"])
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
    print("\n".join(table(rows, width)) if rows else "No session has been pinned.")
    if answer["truncated"]:
        print(f"... and more: only the first {len(rows)} are shown.")
    return 0


def table(rows: list[PinRow], width: int) -> Iterator[str]:
    """Yield the lines: one per pin, and below it what to do instead."""
    cells = [HEADER, *((row["rule"], str(row["count"]), str(row["held"])) for row in rows)]
    rule, count, held = (max(len(row[column]) for row in cells) for column in range(3))
    indent = " " * (rule + count + held + 6)
    yield f"{HEADER[0]:<{rule}}  {HEADER[1]:>{count}}  {HEADER[2]:>{held}}  {HEADER[3]}"
    for row in rows:
        # A digest is as long as its statement was; its beginning tells which one it is.
        digest = textwrap.shorten(row["digest"], max(width - len(indent), 20), placeholder=" ...")
        yield f"{row['rule']:<{rule}}  {row['count']:>{count}}  {row['held']:>{held}}  {digest}"
        yield from textwrap.wrap(
            f"-> {row['remedy']}",
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}   ",
            break_on_hyphens=False,
        )
