"""What is compared: PostgreSQL itself, PgBouncer, and the proxy in its two builds.

All stand before the same PostgreSQL with the same pool, ask their clients for SCRAM, and are
started and stopped here. Each is a `Peer`: a port, and the processes whose cost is measured.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from tests.support.imports import ROOT
from tests.support.postgres import PASSWORD, Postgres

HOST = "127.0.0.1"
USER = DATABASE = "app"
POOL = 16
# Of 100: what the proxy's percentage makes a pool of POOL.
MAX_CONNECTIONS = 100
# Out of a debugging session: nothing that costs time while something is measured.
DATABASE_SETTINGS = {
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "256MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
}


class Peer:
    """One of those compared."""

    def __init__(
        self,
        name: str,
        port: int,
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        prepares: bool = True,
    ) -> None:
        self.name = name
        self.port = port
        # Does it know a prepared statement again, whatever connection it runs on?
        self.prepares = prepares
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = self._start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not listen")

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def pids(self) -> list[int]:
        """Its processes; none for the database, whose cost is not the question."""
        return [] if self._process is None else [self._process.pid, *children(self._process.pid)]

    def cpu(self) -> float:
        """Seconds of CPU that it has used, in user and system mode."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        """Bytes that it alone is the reason for (PSS)."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total


def children(pid: int) -> list[int]:
    """All processes below one."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [below for child in map(int, text.split()) for below in (child, *children(child))]


def unprivileged() -> dict[str, object]:
    """How to start what does not run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def direct(postgres: Postgres) -> Peer:
    """The database, with nobody between."""
    peer = Peer("direct", postgres.port, lambda: subprocess.Popen(["true"]))
    peer.start = peer.stop = lambda: None  # type: ignore[method-assign]
    return peer


def _version_of(program: str) -> tuple[int, ...]:
    """Of a PgBouncer."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", told)
    assert found is not None, f"{program} is no PgBouncer"
    return tuple(map(int, found.groups()))


def pgbouncer(postgres: Postgres, folder: Path, program: str, host: str = HOST) -> Peer:
    """PgBouncer as its manual would have it for this, TLS as far as the client wants it."""
    port = free_port()
    version = _version_of(program)
    prepares = version >= (1, 21)
    (folder / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
    settings: dict[str, object] = {
        "listen_addr": HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users.txt",
        "pool_mode": "transaction",
        "default_pool_size": POOL,
        "max_client_conn": 15_000,
        "log_connections": 0,
        "log_disconnections": 0,
        "server_tls_sslmode": "disable",
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": folder / "cert.pem",
        "client_tls_key_file": folder / "key.pem",
    }
    if prepares:
        settings["max_prepared_statements"] = 200
    lines = [f"{name} = {value}" for name, value in settings.items()]
    target = f"{DATABASE} = host={host} port={postgres.port}"
    ini = folder / f"pgbouncer-{port}.ini"
    ini.write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))

    def start() -> subprocess.Popen[bytes]:
        with (folder / "pgbouncer.log").open("ab") as log:
            return subprocess.Popen([program, str(ini)], stderr=log, **unprivileged())  # type: ignore[call-overload,no-any-return]

    return Peer(f"PgBouncer {'.'.join(map(str, version))}", port, start, prepares=prepares)


def proxy(
    postgres: Postgres, folder: Path, name: str, tree: Path, host: str = HOST, *, workers: int = 1
) -> Peer:
    """The proxy from the sources in `tree`."""
    port = free_port()
    tls = {"certificate": str(folder / "cert.pem"), "private_key": str(folder / "key.pem")}
    # JSON is YAML.
    config = {
        "workers": workers,
        "proxy": {"auth": [{"secret_arn": "bench"}]},
        "endpoints": [{"port": port, "tls": tls}],
        "target_group": {
            "connection_pool_config": {"max_connections_percent": POOL},
            "targets": [{"id": "db", "host": host, "port": postgres.port, "tls": "disable"}],
        },
        "secrets": {"provider": "environment"},
        "http": {"port": 0},
        "state_dir": str(folder / f"state-{port}"),
    }
    path = folder / f"{name}-{port}.yaml"
    path.write_text(json.dumps(config))
    secret = json.dumps({"username": USER, "password": PASSWORD})

    def start() -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pyproxy", "run", "--config", str(path)],
                cwd=tree,
                env=os.environ | {"PYPROXY_SECRET_BENCH": secret, "PYTHONPATH": str(tree)},
                stdout=log,
                stderr=log,
            )

    return Peer(name, port, start)


def copy_sources(folder: Path) -> Path:
    """The packages without anything compiled."""
    for package in ("protocol", "pyproxy"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    return folder


def compile_sources(folder: Path) -> Path | None:
    """The packages with their hot modules compiled: those that `make compile` has left in place.

    None where it has not. Those of another Python would not be imported, and the name be a lie.
    """
    suffix = EXTENSION_SUFFIXES[0]
    made = [
        path for part in ("", "protocol/**/", "pyproxy/**/") for path in ROOT.glob(f"{part}*.so")
    ]
    if not made:
        return None
    foreign = [path.name for path in made if not path.name.endswith(suffix)]
    assert not foreign, f"not for this Python ({suffix}): {foreign[0]}; run `make compile` again"
    copy_sources(folder)
    for path in made:
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


def make_certificate(folder: Path) -> None:
    """What the peers show to clients over TLS."""
    wanted = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        ["openssl", *wanted.split(), "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "key.pem").chmod(0o644)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(peers: list[Peer]) -> Iterator[list[Peer]]:
    """The peers, started; stopped at the end."""
    try:
        for peer in peers:
            peer.start()
        yield peers
    finally:
        for peer in peers:
            peer.stop()
