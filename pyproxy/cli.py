"""The command line: `pyproxy run | demo | check | token | explain | pins | …`.

Each command's arguments and its doing live in its own room; here they get their names. Only the
room of the command that is wanted is opened: a container's health check, every few seconds, has no
need of the proxy. A command returns 0 for done, 1 when its answer is "no", 2 for wrong usage or
configuration, and says what is wrong in one line on standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple, NoReturn, Protocol, cast

import pyproxy
from pyproxy import output
from pyproxy.exit_codes import NOBODY_READS, WRONG
from pyproxy.unusable import Unusable, plain_words


class Room(Protocol):
    """What the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code. Raises Unusable, or OSError."""


class Command(NamedTuple):
    """A command, and where it lives."""

    name: str
    summary: str
    module: str


COMMANDS: Final = (
    Command("run", "run the proxy", "pyproxy.run_command"),
    Command("demo", "a proxy on a PostgreSQL of its own", "pyproxy.lab.demo"),
    Command("failover", "rehearse a failover of a running demo", "pyproxy.lab.failover_command"),
    Command("check", "validate a configuration, contact nothing", "pyproxy.check_command"),
    Command("token", "print an IAM token", "pyproxy.auth.token_command"),
    Command("explain", "would this SQL pin, and why", "pyproxy.pinning.explain"),
    Command("lab", "exercises, graded", "pyproxy.lab.lab_command"),
    Command("audit", "does RDS Proxy fit, and why", "pyproxy.assessment.commands.audit"),
    Command("what-if", "how many pins fewer, if …", "pyproxy.assessment.commands.what_if"),
    Command("pins", "what has pinned in a running proxy", "pyproxy.dashboard.commands.pins"),
    Command("metrics", "the metrics of a running proxy", "pyproxy.dashboard.commands.metrics"),
    Command("healthcheck", "exit 0 if a proxy is ready", "pyproxy.dashboard.commands.healthcheck"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    _heed_sigterm()
    output.prepare()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(words).parse_args(words)
    room: Room = options.room
    try:
        code = room.run(options)
        # A disk may be full, and who reads may have gone: that is known now, not when Python ends.
        sys.stdout.flush()
    except Unusable as error:
        print(f"{error.speaker}{error}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        output.give_up()
        return NOBODY_READS
    except OSError as error:
        print(f"pyproxy: {plain_words(error)}", file=sys.stderr)
        output.give_up()
        return WRONG
    except KeyboardInterrupt:
        return 130
    return code


def _heed_sigterm() -> None:
    """As process 1, a container's, be ended by it too, though nothing handles it yet.

    For that process alone the kernel drops a signal that has no handler: `docker stop` while a
    proxy starts would wait for its time to be over, and kill it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """All commands, and the arguments of the one that stands among the `words`."""
    parser = _Parser(
        prog="pyproxy", description="Amazon RDS Proxy for your laptop, your CI and your containers."
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version and the build"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Ahead of a command there are only options that take no value.
    wanted = next((word for word in words if not word.startswith("-")), "")
    for name, summary, module in COMMANDS:
        about = summary[:1].upper() + summary[1:]
        below = commands.add_parser(name, help=summary, description=about)
        if name == wanted:
            room = cast("Room", import_module(module))
            room.add_arguments(below)
            below.set_defaults(room=room)
    return parser


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line, where argparse tells the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end with 2."""
        self.exit(WRONG, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """--version, which looks at the build only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pyproxy.build import BUILD  # noqa: PLC0415 - it opens the relay's room

        print(f"pyproxy {pyproxy.__version__} ({BUILD})")
        parser.exit()
