"""`pyproxy demo`: a primary and a standby of real PostgreSQL with a proxy before them.

Standard output begins with the URL, and has only what can be pasted; progress goes to standard
error. Ctrl-C, or the end of its terminal, stops everything and removes what was made, unless it was
asked to keep it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from pyproxy.app import App
from pyproxy.arguments import port
from pyproxy.config import Config
from pyproxy.config_file import parse
from pyproxy.event_loop import run_in_loop
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.lab import binaries
from pyproxy.lab.cluster import Cluster, ClusterError, Programs
from pyproxy.lab.interrupts import as_control_c
from pyproxy.lab.leftovers import end_servers, occupied, temporary_folder
from pyproxy.lab.onlookers import Address, Onlookers
from pyproxy.lab.rehearsal import PATH, Rehearsal
from pyproxy.logs import configure
from pyproxy.signals import serve
from pyproxy.unusable import plain_words

USER: Final = "app"
DATABASE: Final = "app"
MONITOR: Final = "rdsproxyadmin"

_SETTINGS: Final = {"max_connections": "60"}


class Pair(NamedTuple):
    """The databases of a demonstration."""

    primary: Cluster
    standby: Cluster | None
    password: str

    @property
    def clusters(self) -> list[Cluster]:
        """Those that there are, by the names of their folders: so their targets are called."""
        both = [self.primary] if self.standby is None else [self.primary, self.standby]
        return sorted(both, key=lambda cluster: cluster.folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--port", type=port, default=6432, help="the proxy's (%(default)s)")
    parser.add_argument("--http-port", type=port, default=8432, help="the page's (%(default)s)")
    parser.add_argument(
        "--standby",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a streaming standby too",
    )
    parser.add_argument("--data-dir", type=Path, metavar="D", help="keep the databases in D")


def run(arguments: argparse.Namespace) -> int:
    """Run until Ctrl-C; returns 2 when it can't."""
    as_control_c()
    if arguments.port == arguments.http_port:
        both = f"--port and --http-port are both {arguments.port}"
        sys.stderr.write(f"pyproxy demo: {both}: give two different ones\n")
        return WRONG
    try:
        for number in (arguments.port, arguments.http_port):
            _check_free(number)
        with _folder(arguments.data_dir) as folder:
            return _demonstrate(arguments, folder)
    except (binaries.NoPostgres, ClusterError, OSError) as error:
        sys.stderr.write(f"pyproxy demo: {plain_words(error)}\n")
        return WRONG


def _demonstrate(arguments: argparse.Namespace, folder: Path) -> int:
    with contextlib.ExitStack() as running:
        pair = _start(folder, running, standby=arguments.standby)
        config = _configuration(folder, pair, arguments)
        configure(sys.stderr)
        return run_in_loop(_serve(config, pair, arguments))


async def _serve(config: Config, pair: Pair, arguments: argparse.Namespace) -> int:
    app = App(config)
    clusters = {f"db-{name}": cluster for name, cluster in zip("ab", pair.clusters, strict=False)}
    client = Address(arguments.port, USER, DATABASE, pair.password)
    rehearsal = Rehearsal(app, clusters, Onlookers(client))
    app.actions[PATH] = rehearsal.act

    def ready() -> None:
        sys.stdout.write(welcome(pair, arguments.port, arguments.http_port))
        sys.stdout.flush()

    try:
        await serve(app, ready=ready)
    finally:
        await rehearsal.stop()
    return DONE


# -- the databases ---------------------------------------------------------------------------------


def _start(folder: Path, running: contextlib.ExitStack, *, standby: bool) -> Pair:
    """The databases, which `running` stops, also when only one of them has come about."""
    programs = Programs(binaries.find(), folder)
    password = _password(folder)
    with _step("PostgreSQL primary"):
        primary, second = _kept(folder, programs)
        fresh = not primary.data.exists()
        if fresh:
            primary = Cluster.create(folder / "a", programs, _SETTINGS)
            primary.execute(
                f"CREATE ROLE {USER} LOGIN PASSWORD '{password}';"
                f"CREATE DATABASE {DATABASE} OWNER {USER};"
                # As RDS Proxy's own user (C-15); a superuser, for it promotes and makes slots.
                f"CREATE ROLE {MONITOR} LOGIN SUPERUSER PASSWORD '{password}'"
            )
        running.callback(primary.stop)
        primary.start()
    if not standby:
        return Pair(primary, None, password)
    with _step("PostgreSQL standby"):
        if not second.data.exists():
            if not fresh:
                raise ClusterError(f"{folder} was made without a standby; add --no-standby")
            second = Cluster.copy_of(primary, folder / "b")
        elif second.follows:
            # The primary may have another port than the last time.
            second.follow(primary)
        running.callback(second.stop)
        second.start()
    return Pair(primary, second, password)


def _kept(folder: Path, programs: Programs) -> tuple[Cluster, Cluster]:
    """The primary and the standby, as they were left; they may have been exchanged."""
    file = folder / "a" / "password"
    password = file.read_text().strip() if file.exists() else ""
    first, second = (Cluster(folder / name, programs, password) for name in "ab")
    return (second, first) if first.follows else (first, second)


def _password(folder: Path) -> str:
    """The application's password, made on the first run; in the form of a secret."""
    file = folder / "secrets.yaml"
    if file.exists():
        entries: dict[str, dict[str, str]] = json.loads(file.read_text())
        return entries["demo"]["password"]
    password = secrets.token_urlsafe(12)
    file.touch(0o600)
    # JSON is YAML too.
    users = {"demo": USER, MONITOR: MONITOR}
    file.write_text(
        json.dumps({arn: {"username": u, "password": password} for arn, u in users.items()})
    )
    return password


def _configuration(folder: Path, pair: Pair, arguments: argparse.Namespace) -> Config:
    targets = "".join(
        f"\n    - {{id: db-{name}, host: 127.0.0.1, port: {cluster.port}, tls: disable}}"
        for name, cluster in zip("ab", pair.clusters, strict=False)
    )
    text = f"""\
proxy:
  db_proxy_name: demo
  auth:
    - secret_arn: demo
endpoints:
  - {{port: {arguments.port}}}
target_group:
  connection_pool_config: {{max_connections_percent: 20}}
  targets:{targets}
secrets: {{file: secrets.yaml}}
monitoring: {{user: {MONITOR}, secret: {MONITOR}}}
http: {{port: {arguments.http_port}}}
state_dir: state
"""
    return parse(text, name="demo", environment={}, folder=folder)


# -- words -----------------------------------------------------------------------------------------


def welcome(pair: Pair, port: int, http_port: int) -> str:
    """The URL first, then what to paste."""
    here = Path(sys.executable)
    psql = at_hand("psql", binaries.find())
    pyproxy, python = at_hand("pyproxy", here.parent), nearest(here)
    # The demonstration itself needs no driver.
    driver = "" if find_spec("psycopg") else f"{python} -m pip install -q 'psycopg[binary]' && "
    url = f"postgresql://{USER}:{pair.password}@127.0.0.1:{port}/{DATABASE}"
    asking = f"psycopg.connect('{url}').execute('select version()').fetchone()"
    standby = failover = ""
    if pair.standby is not None:
        standby = f", standby on 127.0.0.1:{pair.standby.port}"
        failover = f"Failover    {pyproxy} failover --url http://127.0.0.1:{http_port}\n"
    return f"""{url}

{psql} '{url}'
{driver}{python} -c "import psycopg; print({asking})"

The proxy   127.0.0.1:{port}, user {USER}, password {pair.password}, database {DATABASE}
The page    http://127.0.0.1:{http_port}/
Databases   primary on 127.0.0.1:{pair.primary.port}{standby}
See a pin   {psql} '{url}' -c "SET work_mem = '8MB'"; {pyproxy} pins --url http://127.0.0.1:{http_port}
{failover}Stop        Ctrl-C
"""


def at_hand(name: str, folder: Path) -> str:
    """How to call a program: by its name, or by its place where the PATH does not lead to it."""
    path = folder / name
    return name if shutil.which(name) or not path.exists() else nearest(path)


def nearest(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    """Tell what is being done, and how long it took."""
    sys.stderr.write(f"{what} … ")
    sys.stderr.flush()
    began = time.monotonic()
    try:
        yield
    except BaseException:
        sys.stderr.write("failed\n")
        raise
    sys.stderr.write(f"{time.monotonic() - began:.1f} s\n")


# -- places ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Where everything is: a temporary folder, or one that stays."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        folder = kept.absolute()
        with occupied(folder):
            end_servers(folder)
            yield folder
        return
    try:
        with temporary_folder("pyproxy-demo-") as folder:
            yield folder
    finally:
        sys.stderr.write("Everything that the demonstration made is removed.\n")


def _check_free(port: int) -> None:
    """Raise OSError now rather than after the databases have started."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(
                f"port {port} of 127.0.0.1 can't be used ({error.strerror}); "
                "choose others with --port and --http-port"
            ) from None
