"""`pyproxy what-if`: how many pins and database connections fewer with a change."""

from __future__ import annotations

import argparse
import json
import sys

from pyproxy.assessment import report, scenarios
from pyproxy.assessment.commands import given
from pyproxy.config_file import switches
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.unusable import Unusable, plain_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    given.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    """Print the scenarios; returns 2 for wrong usage."""
    try:
        recording = given.recording(arguments)
        judged_by = switches(arguments)
    except (Unusable, OSError) as problem:
        print(f"pyproxy what-if: {plain_words(problem)}", file=sys.stderr)
        return WRONG
    outcomes = scenarios.what_if(recording, judged_by, clients=arguments.clients)
    if arguments.json:
        print(json.dumps(report.outcomes_as_json(outcomes), indent=2))
    else:
        sys.stdout.write(report.what_if_text(outcomes))
    return DONE
