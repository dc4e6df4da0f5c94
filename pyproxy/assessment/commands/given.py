"""What both commands are given: a source of statements, and the switches of a configuration."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from protocol.postgres.errors import ProtocolError
from pyproxy.arguments import count, proxy_url
from pyproxy.assessment import sources
from pyproxy.assessment.recording import Recording
from pyproxy.config_file import add_switches_argument
from pyproxy.dashboard.client import ApiError
from pyproxy.postgres.connect import Refused
from pyproxy.unusable import Unusable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that both have."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--log", type=Path, metavar="FILE", help="a PostgreSQL log, any format")
    where.add_argument("--sql", type=Path, metavar="FILE", help="a file of SQL; - for stdin")
    where.add_argument("--url", type=proxy_url, help="the HTTP side of a running proxy: its ledger")
    where.add_argument(
        "--pg-stat-statements",
        metavar="URL|FILE",
        help="postgresql://… of a database, or a CSV file with a header",
    )
    parser.add_argument(
        "--log-line-prefix", default="", metavar="PREFIX", help="of --log, where it isn't guessed"
    )
    parser.add_argument(
        "--clients", type=count, default=0, metavar="N", help="clients at the same time"
    )
    add_switches_argument(parser)


def recording(arguments: argparse.Namespace) -> Recording:
    """The recording that was asked for. Raises Unusable."""
    try:
        return _recording(arguments)
    except OSError as error:
        name = error.filename or "the database"
        raise Unusable(f"{name}: {error.strerror or error}") from None
    except (sources.SourceError, ApiError) as error:
        raise Unusable(str(error)) from None
    except (Refused, ProtocolError) as error:
        raise Unusable(f"the database said: {error}") from None


def _recording(arguments: argparse.Namespace) -> Recording:
    if arguments.log is not None:
        return sources.of_log(arguments.log, arguments.log_line_prefix)
    if arguments.sql is not None:
        path: Path = arguments.sql
        return sources.of_sql(path, _standard_input() if str(path) == "-" else _text(path))
    if arguments.url is not None:
        return sources.of_proxy(arguments.url)
    place: str = arguments.pg_stat_statements
    if "://" in place:
        return asyncio.run(sources.of_statements(place))
    return sources.of_statements_file(Path(place), _text(Path(place)))


def _text(path: Path) -> str:
    # Old dumps are in Latin-1, which spoils a name at most; what no text of SQL has is a NUL.
    return _readable(path.read_text(encoding="utf-8", errors="replace"), str(path))


def _standard_input() -> str:
    try:
        text = sys.stdin.read()
        # Where the locale is C, surrogates stand for what could not be decoded.
        text.encode()
    except UnicodeError:
        raise Unusable("standard input: it is not UTF-8") from None
    return _readable(text, "standard input")


def _readable(text: str, name: str) -> str:
    if "\0" in text:
        raise Unusable(f"{name}: it is binary, where a text is wanted")
    return text
