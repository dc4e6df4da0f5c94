"""The command line: `pyproxy run | demo | check | token | explain | pins | …`.

Each command's arguments and its doing live in its own room; here they get their names. A command
returns 0 for done, 1 when its answer is "no", 2 for wrong usage or configuration, and says what is
wrong in one line on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pyproxy
from pyproxy.app import App
from pyproxy.assessment.commands import audit, what_if
from pyproxy.auth import token_command
from pyproxy.auth.certificates import CertificateError
from pyproxy.build import BUILD
from pyproxy.config import Config, ConfigError
from pyproxy.config_file import load
from pyproxy.dashboard.commands import healthcheck, metrics, pins
from pyproxy.event_loop import run_in_loop
from pyproxy.lab import demo, failover_command, lab_command
from pyproxy.logs import configure
from pyproxy.pinning import explain

DONE: Final = 0
NO: Final = 1
WRONG: Final = 2

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    except (OSError, CertificateError) as error:
        print(f"pyproxy: {_words(error)}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return 130


def _words(error: Exception) -> str:
    """What happened, and to which file, without the number."""
    text = getattr(error, "strerror", None) or str(error)
    name = getattr(error, "filename", None)
    return f"{name}: {text}" if name else text


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = argparse.ArgumentParser(
        prog="pyproxy", description="Amazon RDS Proxy for your laptop, your CI and your containers."
    )
    parser.add_argument(
        "--version", action="version", version=f"pyproxy {pyproxy.__version__} ({BUILD})"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(commands, "run", "run the proxy", _add_run, _run)
    _add(commands, "demo", "a proxy on a PostgreSQL of its own", demo.add_arguments, demo.run)
    _add(
        commands,
        "failover",
        "rehearse a failover of a running demo",
        failover_command.add_arguments,
        failover_command.run,
    )
    _add(commands, "check", "validate a configuration, contact nothing", _add_config, _check)
    _add(commands, "token", "print an IAM token", token_command.add_arguments, token_command.run)
    _add(commands, "explain", "would this SQL pin, and why", explain.add_arguments, explain.run)
    _add(commands, "lab", "exercises, graded", lab_command.add_arguments, lab_command.run)
    _add(commands, "audit", "does RDS Proxy fit, and why", audit.add_arguments, audit.run)
    _add(
        commands,
        "what-if",
        "how many pins fewer, if …",
        what_if.add_arguments,
        what_if.run,
    )
    _add(commands, "pins", "what has pinned in a running proxy", pins.add_arguments, pins.run)
    _add(commands, "metrics", "the metrics of a running proxy", metrics.add_arguments, metrics.run)
    _add(
        commands,
        "healthcheck",
        "exit 0 if a proxy is alive",
        healthcheck.add_arguments,
        healthcheck.run,
    )
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    command: Command,
) -> None:
    parser = commands.add_parser(name, help=summary, description=summary[:1].upper() + summary[1:])
    add_arguments(parser)
    parser.set_defaults(command=command)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML file")


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        default="auto",
        help="RDS Proxy's lines, or the same facts as JSON (auto: text on a terminal)",
    )


def _run(options: argparse.Namespace) -> int:
    path: Path = options.config

    def read() -> Config:
        return load(path, os.environ)

    config = read()
    as_json = options.log_format == "json" or (
        options.log_format == "auto" and not sys.stderr.isatty()
    )
    configure(sys.stderr, json=as_json)
    return run_in_loop(_serve(config, read, log_as_json=as_json))


async def _serve(config: Config, read: Callable[[], Config], *, log_as_json: bool) -> int:
    if config.workers > 1:
        # A single process has no need of it.
        from pyproxy.workers.supervisor import Supervisor  # noqa: PLC0415

        app: App = Supervisor(config, log_as_json=log_as_json)
    else:
        app = App(config)
    await app.start()
    try:
        await app.run_until_stopped(read)
    finally:
        await app.stop()
    return DONE


def _check(options: argparse.Namespace) -> int:
    load(options.config, os.environ)
    print(f"{options.config}: valid")
    return DONE
