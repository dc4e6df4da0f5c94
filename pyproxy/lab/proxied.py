"""A proxy for as long as somebody holds its standard input: what a test run puts its code behind.

    python -m pyproxy.lab.proxied        # the first line of standard input is an Order, as JSON

It answers with one line of JSON, a Place or {"error": ...}, and serves until standard input ends.
So it ends with whoever started it, also when that one is killed, and takes its folder with it: a
password is in there. Without a database of somebody else's it makes a PostgreSQL, which ends too.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from pyproxy.app import App
from pyproxy.binder import Problem, bind
from pyproxy.config import Config, ConfigError
from pyproxy.config_file import parse
from pyproxy.event_loop import run_in_loop
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.lab import binaries
from pyproxy.lab.cluster import SUPERUSER, Cluster, ClusterError, Programs
from pyproxy.lab.order import KEPT, Order, Place, url
from pyproxy.logs import configure

USER: Final = "app"
DATABASE: Final = "app"
# A test that waits for a connection which pinned sessions keep should fail within its patience.
BORROW_TIMEOUT: Final = 20
_TLS: Final = {"allow": "prefer", "": "prefer"}


class Upstream(NamedTuple):
    """A database to stand before."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: str = "disable"

    def dsn(self) -> str:
        """A URL for libpq and most drivers."""
        return url(self.user, self.password, self.host, self.port, self.database)


def upstream(text: str) -> Upstream:
    """The parts of a URL; raises ValueError that says what is missing."""
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.username:
        raise ValueError("the database has to be given as postgresql://user:password@host:port/db")
    user = unquote(parts.username)
    mode = parse_qs(parts.query).get("sslmode", [""])[-1]
    return Upstream(
        host=parts.hostname,
        port=parts.port or 5432,
        user=user,
        # A database that trusts us asks for none; the proxy still wants one of its clients.
        password=unquote(parts.password or "") or secrets.token_urlsafe(12),
        database=unquote(parts.path.lstrip("/")) or user,
        tls=_TLS.get(mode, mode),
    )


def configuration(order: Order, database: Upstream) -> Config:
    """The proxy's, with what the given one says of pooling and of AWS's contested rules."""
    text = Path(order.config).read_text("utf-8") if order.config else ""
    given: dict[str, Any] = yaml.safe_load(text) or {}
    group = given.get("target_group") or {}
    pool = {"connection_borrow_timeout": BORROW_TIMEOUT} | (
        group.get("connection_pool_config") or {}
    )
    config: dict[str, Any] = {name: given[name] for name in KEPT if name in given}
    config["proxy"] = (config.get("proxy") or {}) | {
        "auth": [{"secret_arn": "tests"}],
        "default_auth_scheme": "NONE",
    }
    config |= {
        "endpoints": [{"port": 0}],
        "target_group": {
            "connection_pool_config": pool,
            "targets": [
                {
                    "id": "tests",
                    "host": database.host,
                    "port": database.port,
                    "tls": database.tls,
                }
            ],
        },
        "secrets": {"file": "secrets.yaml"},
        "http": {"port": 0},
        "state_dir": "state",
    }
    folder = Path(order.folder)
    secret = {"username": database.user, "password": database.password}
    (folder / "secrets.yaml").touch(0o600)
    (folder / "secrets.yaml").write_text(json.dumps({"tests": secret}))
    name = order.config or "the configuration of the tests"
    try:
        return parse(yaml.safe_dump(config), name=name, environment=os.environ, folder=folder)
    except ConfigError as error:
        raise ConfigError(name, _placed(error.problems, text)) from None


def _placed(problems: Iterable[Problem], text: str) -> Iterator[Problem]:
    """With the places that they have in the given text: what was read is a text of ours."""
    bound = bind(text, Config, os.environ)
    told = {problem.path: problem for problem in bound.problems}
    for problem in problems:
        place = told.get(problem.path) or bound.places.get(problem.path) or problem
        yield problem._replace(line=place.line, column=place.column)


def make_postgres(folder: Path) -> Cluster:
    """A PostgreSQL with a role and a database of its own, running.

    The role may make databases, as the test runners of some frameworks do.
    """
    cluster = Cluster.create(folder / "postgres", Programs(binaries.find(), folder))
    password = secrets.token_urlsafe(12)
    cluster.execute(
        f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{password}';"
        f"CREATE DATABASE {DATABASE} OWNER {USER}"
    )
    cluster.start()
    (folder / "password").touch(0o600)
    (folder / "password").write_text(password)
    return cluster


def main() -> int:
    """Serve one order; returns 2 when it can't, and leaves its last words in the folder."""
    order = Order(**json.loads(sys.stdin.readline()))
    folder = Path(order.folder)
    code = _serve_order(order, folder)
    if not code:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _serve_order(order: Order, folder: Path) -> int:
    cluster: Cluster | None = None
    try:
        admin = ""
        if order.database:
            database = upstream(order.database)
        else:
            cluster = make_postgres(folder)
            password = (folder / "password").read_text()
            database = Upstream("127.0.0.1", cluster.port, USER, password, DATABASE)
            admin = database._replace(user=SUPERUSER, password=cluster.password).dsn()
        config = configuration(order, database)
        with (folder / "pyproxy.log").open("a", encoding="utf-8") as log:
            configure(log, json=True)
            return run_in_loop(_serve(config, database, admin))
    except (
        *(binaries.NoPostgres, ClusterError, ConfigError),
        *(OSError, ValueError, yaml.YAMLError),
    ) as error:
        _answer({"error": str(error)})
        return WRONG
    finally:
        if cluster is not None:
            cluster.kill()


async def _serve(config: Config, database: Upstream, admin: str) -> int:
    app = App(config)
    await app.start()
    try:
        listener = next(iter(app.listeners.values()))
        place = Place(
            host=listener.host,
            port=listener.port,
            user=database.user,
            password=database.password,
            database=database.database,
            direct_dsn=database.dsn(),
            admin_dsn=admin,
        )
        _answer(place._asdict())
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await app.stop()
    return DONE


def _answer(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
