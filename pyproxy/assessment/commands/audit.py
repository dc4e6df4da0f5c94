"""`pyproxy audit`: does RDS Proxy fit this application?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pyproxy.arguments import count, price
from pyproxy.assessment import report
from pyproxy.assessment.advice import PRICE, Verdict, advise
from pyproxy.assessment.commands import given
from pyproxy.assessment.judgement import judge
from pyproxy.assessment.page import html
from pyproxy.assessment.scenarios import what_if
from pyproxy.config_file import switches
from pyproxy.exit_codes import DONE, NO, WRONG
from pyproxy.logs import printable
from pyproxy.unusable import Unusable, plain_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    given.add_arguments(parser)
    parser.add_argument(
        "--max-connections", type=count, default=0, metavar="N", help="of the database instance"
    )
    parser.add_argument(
        "--vcpus", type=count, default=0, metavar="N", help="of the database instance, for the cost"
    )
    parser.add_argument(
        "--price", type=price, default=PRICE, help="dollars per vCPU-hour (%(default)s)"
    )
    parser.add_argument("--format", choices=("markdown", "json", "html"), default="markdown")
    parser.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; returns 1 if RDS Proxy does not fit, 2 for wrong usage."""
    try:
        recording = given.recording(arguments)
        judged_by = switches(arguments)
    except (Unusable, OSError) as problem:
        print(f"pyproxy audit: {plain_words(problem)}", file=sys.stderr)
        return WRONG
    assessment = judge(recording, judged_by)
    advice = advise(
        assessment,
        judged_by,
        clients=arguments.clients,
        max_connections=arguments.max_connections,
        vcpus=arguments.vcpus,
        price=arguments.price,
    )
    outcomes = what_if(recording, judged_by, clients=arguments.clients)
    if arguments.format == "json":
        text = json.dumps(report.as_json(assessment, advice, outcomes), indent=2) + "\n"
    else:
        # Statements are their clients' words, and must not command a terminal.
        lines = report.markdown(assessment, advice, outcomes).split("\n")
        text = "\n".join(map(printable, lines))
        text = html(text) if arguments.format == "html" else text
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return NO if advice.verdict is Verdict.DO_NOT_USE else DONE
