"""`pyproxy check`: is a configuration one that `pyproxy run` would take?"""

from __future__ import annotations

import argparse
import os

from pyproxy.config_file import add_argument, load
from pyproxy.exit_codes import DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyproxy check`."""
    add_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Read it and say so; raises ConfigError. Nothing is contacted."""
    load(options.config, os.environ)
    print(f"{options.config}: valid")
    return DONE
