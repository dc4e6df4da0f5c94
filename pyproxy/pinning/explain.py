"""`pyproxy explain`: would this SQL pin, by which rule, in AWS's words, and how to avoid it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from pyproxy.config import CompatibilityConfig, ConfigError
from pyproxy.config_file import load
from pyproxy.pinning.classifier import Classifier, Pin
from pyproxy.pinning.rules import RULES

NO_PIN: Final = 0
PINS: Final = 1
WRONG: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("sql", metavar="SQL", nargs="?", default="-", help="a text, or - for stdin")
    parser.add_argument("--config", type=Path, metavar="FILE", help="for its `compatibility:`")


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict; returns 1 if it pins, 0 if not, 2 for wrong usage."""
    compatibility = CompatibilityConfig()
    if arguments.config is not None:
        try:
            compatibility = load(arguments.config, os.environ).compatibility
        except (ConfigError, OSError) as error:
            sys.stderr.write(f"pyproxy explain: {error}\n")
            return WRONG
    text = sys.stdin.read() if arguments.sql == "-" else arguments.sql
    pin = Classifier(compatibility).judge(text.encode()).pin
    sys.stdout.write(explanation(pin))
    return NO_PIN if pin is None else PINS


def explanation(pin: Pin | None) -> str:
    """The verdict in words."""
    if pin is None:
        return (
            "does not pin\n  What functions and procedures do inside is not seen (NOPIN-PG-02).\n"
        )
    rule = RULES[pin.rule]
    wording = "PyProxy's wording; AWS's is not known" if rule.ours else "AWS's wording"
    return (
        "pins\n"
        f"  statement  {pin.statement}\n"
        f"  rule       {rule.id}: {rule.matches} ({rule.source})\n"
        f"  reason     {pin.reason}\n"
        f"             ({wording})\n"
        f"  remedy     {rule.remedy}\n"
    )
