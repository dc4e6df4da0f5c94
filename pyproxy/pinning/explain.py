"""`pyproxy explain`: would this SQL pin, by which rule, in AWS's words, and how to avoid it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pyproxy.config import ConfigError
from pyproxy.config_file import add_switches_argument, switches
from pyproxy.exit_codes import DONE, NO, WRONG
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.explained import Explained, as_json, explain, in_words
from pyproxy.pinning.sarif import as_sarif
from pyproxy.pinning.script import sendable
from pyproxy.unusable import plain_words

_FORMATS: Final[dict[str, Callable[[Sequence[Explained]], str]]] = {
    "text": in_words,
    "json": as_json,
    "sarif": as_sarif,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("sql", metavar="SQL", nargs="?", help="a text, or - for standard input")
    parser.add_argument(
        "--file",
        metavar="F",
        dest="files",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        help="files of SQL, such as migrations; - is standard input",
    )
    parser.add_argument(
        "--format",
        choices=tuple(_FORMATS),
        default="text",
        help="for people, for programs, or for code scanning (SARIF 2.1.0)",
    )
    add_switches_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the verdicts; returns 1 if anything pins, 0 if not, 2 for wrong usage."""
    if arguments.files and arguments.sql is not None:
        sys.stderr.write("pyproxy explain: give SQL or --file, not both\n")
        return WRONG
    try:
        classifier = Classifier(switches(arguments))
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"pyproxy explain: {plain_words(error)}\n")
        return WRONG
    explained: list[Explained] = []
    if arguments.files:
        for path in arguments.files:
            try:
                text = _utf8(sys.stdin.read()) if str(path) == "-" else _read(path)
            except (OSError, ValueError) as error:
                sys.stderr.write(f"pyproxy explain: {path}: {_why(error)}\n")
                return WRONG
            explained += explain(classifier, sendable(text), "" if str(path) == "-" else str(path))
    else:
        try:
            given = sys.stdin.read() if arguments.sql in (None, "-") else arguments.sql
            text = _utf8(given)
        except ValueError as error:
            sys.stderr.write(f"pyproxy explain: SQL: {_why(error)}\n")
            return WRONG
        explained += explain(classifier, text)
    if not explained and arguments.format == "text":
        sys.stdout.write("does not pin: there is no statement\n")
    else:
        sys.stdout.write(_FORMATS[arguments.format](explained).rstrip("\n") + "\n")
    return NO if any(each.pin is not None for each in explained) else DONE


def _read(path: Path) -> str:
    # As it is: what a line is, SQL and SARIF decide.
    return path.read_bytes().decode("utf-8-sig")


def _utf8(text: str) -> str:
    """The same; raises ValueError where Python has put surrogates for what it could not decode."""
    text.encode()
    return text


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not UTF-8"
