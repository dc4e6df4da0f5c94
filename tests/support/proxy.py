"""A real proxy for tests: `pyproxy run` as a process of its own, on free ports.

    with start_proxy(tmp_path, postgres, max_connections_percent=4) as proxy:
        proxy.dsn("app")

It must end well: the test fails when it logs a traceback or does not stop by SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.wire import Wire

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 30.0
_PORTS = re.compile(r"PyProxy is ready: default on \S+:(\d+)[,;].*http on \S+:(\d+)")

Config = dict[str, Any]

# How long a reader may take to follow a new writer where `loop` is "hasty", in seconds: PostgreSQL
# looks for its primary five times a second here.
FOLLOW_PATIENCE = 4.0

_PROGRAM = {
    "uvloop": ("-m", "pyproxy"),
    # As where uvloop is not installed.
    "asyncio": (
        "-c",
        "import sys; sys.modules['uvloop'] = None; import pyproxy.__main__",
    ),
    # Gives up a database connection on which nothing arrives after 4 s.
    "impatient": (
        "-c",
        "from pyproxy import keepalive as s; s.KEEPALIVE = s.KEEPALIVE_PROBES = 2; import pyproxy.__main__",
    ),
    # Asks its idle connections at once whether they are there.
    "pinging": (
        "-c",
        "from pyproxy.postgres import servers as s; s.PING = 0.5; import pyproxy.__main__",
    ),
    # Expects readers to follow soon.
    "hasty": (
        "-c",
        f"import pyproxy.targets.failover as f; f.FOLLOW_PATIENCE = {FOLLOW_PATIENCE}; import pyproxy.__main__",
    ),
}


class Proxy:
    """A running proxy, and ways in."""

    host = "127.0.0.1"

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.config_file = folder / "pyproxy.yaml"
        self.log_file = folder / "pyproxy.log"
        self.port = self.http_port = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def certificate_authority(self) -> Path:
        return self.folder / "state" / "tls" / "ca.pem"

    def dsn(
        self, user: str = "app", database: str = "app", password: str = PASSWORD, **options: str
    ) -> str:
        """A URL for libpq and most drivers."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        url = f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"
        return f"{url}?{query}" if query else url

    def wire(self, user: str = "app", database: str = "app", **startup: str) -> Wire:
        """A logged-in client that says exactly what it is told to."""
        return Wire(self.host, self.port).login(user, PASSWORD, database, **startup)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        url = f"http://{self.host}:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def api(self, name: str) -> Any:
        """What the JSON API says."""
        status, body = self.get(f"/api/v1/{name}")
        assert status == 200, body
        return json.loads(body)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if re.match(rf"{name}(\{{|\s)", line) and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def await_metric(self, name: str, value: float, seconds: float = 10.0, **labels: str) -> None:
        """Wait until the sum of a metric's series is `value`."""
        deadline = time.monotonic() + seconds
        while (now := self.metric(name, **labels)) != value:
            assert time.monotonic() < deadline, f"{name} is {now}, not {value}"
            time.sleep(0.02)

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_log(self, pattern: str, seconds: float = 10.0, since: int = 0) -> str:
        """Wait for a line after so many characters; returns it. Who has ended says no more."""
        deadline = time.monotonic() + seconds
        ended = False
        while time.monotonic() < deadline and not ended:
            # Asked first: what it wrote last is there by then.
            ended = self.process.poll() is not None
            for line in self.log[since:].splitlines():
                if re.search(pattern, line):
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} within {seconds} s in:\n{self.log[-3000:]}")

    def await_writer(self, name: str, seconds: float = 30.0) -> None:
        """Wait until a target has the role of the writer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for row in self.api("targets")["targets"]:
                if row["id"] == name and row["available"] and row["role"] == "READ_WRITE":
                    return
            time.sleep(0.02)
        raise AssertionError(f"{name} is no writer: {self.log[-3000:]}")

    def server_ids(self) -> set[int]:
        """Its database connections."""
        return {row["id"] for row in self.api("servers")["servers"]}

    def await_rest(self, seconds: float = 10.0) -> None:
        """Wait until no server is lent, being reset or closed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(row["state"] == "IDLE" for row in self.api("servers")["servers"]):
                return
            time.sleep(0.02)
        raise AssertionError(f"not at rest: {self.api('servers')}")

    def await_borrowed(self, count: int, seconds: float = 10.0) -> None:
        """Wait until so many servers are lent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = self.api("servers")["servers"]
            if sum(row["state"] == "BORROWED" for row in rows) == count:
                return
            time.sleep(0.02)
        raise AssertionError(f"not {count} borrowed: {self.api('servers')}")


class Database(Protocol):
    """What a proxy may be put in front of: a real PostgreSQL or a fake one."""

    @property
    def port(self) -> int: ...


def configuration(postgres: Database, **changes: Any) -> Config:
    """A configuration as a value; `changes` name its sections, or keys of the pool."""
    pool = {"max_connections_percent": 4, "connection_borrow_timeout": 20}
    for key in list(changes):
        if key in ("max_connections_percent", "connection_borrow_timeout", "init_query"):
            pool[key] = changes.pop(key)
    config: Config = {
        "proxy": {
            "auth": [
                {"secret_arn": "app"},
                {"secret_arn": "md5", "client_password_auth_type": "POSTGRES_MD5"},
                {"secret_arn": "clear"},
                {"secret_arn": "trusted"},
            ]
        },
        "endpoints": [{"port": 0}],
        "target_group": {
            "connection_pool_config": pool,
            "targets": [{"id": "db-a", "port": postgres.port}],
        },
        "secrets": {"file": "secrets.yaml"},
        "http": {"port": 0},
        "state_dir": "state",
    }
    for section, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(section), dict):
            config[section] |= value
        else:
            config[section] = value
    return config


@contextlib.contextmanager
def start_proxy(folder: Path, postgres: Database, **changes: Any) -> Iterator[Proxy]:
    """A proxy of its own for one test, which listens; the rest is `begin_proxy`'s."""
    with begin_proxy(folder, postgres, **changes) as proxy:
        line = proxy.wait_for_log("PyProxy is ready|Error|pyproxy.yaml", START_TIMEOUT)
        found = _PORTS.search(line)
        assert found, proxy.log
        proxy.port, proxy.http_port = int(found[1]), int(found[2])
        yield proxy


@contextlib.contextmanager
def proxy_of(connections: int, postgres: Database, **changes: Any) -> Iterator[Proxy]:
    """One in a folder of its own, with so many database connections for everybody.

    The databases here take a hundred, so that one percent is one.
    """
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, max_connections_percent=connections, **changes) as proxy,
    ):
        yield proxy


@contextlib.contextmanager
def begin_proxy(
    folder: Path,
    postgres: Database,
    *,
    log_format: str = "text",
    loop: str = "uvloop",
    **changes: Any,
) -> Iterator[Proxy]:
    """One that is about to start; `loop` names one of _PROGRAM."""
    config = configuration(postgres, **changes)
    (folder / "pyproxy.yaml").write_text(yaml.safe_dump(config))
    users = ("app", "md5", "clear", "trusted", "rdsproxyadmin")
    secrets = {user: {"username": user, "password": PASSWORD} for user in users}
    (folder / "secrets.yaml").write_text(yaml.safe_dump(secrets))
    with (folder / "pyproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, *_PROGRAM[loop], "run"),
                *("--config", str(folder / "pyproxy.yaml")),
                *("--log-format", log_format),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    proxy = Proxy(process, folder)
    try:
        yield proxy
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            code = process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"it did not stop:\n{proxy.log[-3000:]}") from None
    assert code == 0, f"it ended with {code}:\n{proxy.log[-3000:]}"
    assert "Traceback" not in proxy.log, proxy.log[-6000:]


@pytest.fixture(scope="session")
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    """The proxy of this worker, with at most four database connections; leave it as it was."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        yield proxy
