"""A real Patroni cluster on loopback: one etcd, two nodes, each Patroni with a PostgreSQL of its own.

Patroni is locked in requirements/ci.lock and etcd comes from the system: CI has both, a laptop
perhaps not. PostgreSQL refuses root, so as root they run in a user namespace of their own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from pyproxy.lab import binaries
from pyproxy.lab.cluster import signal_all
from pyproxy.lab.segments import remove_segment
from tests.support.ports import free_port
from tests.support.postgres import PASSWORD

AS_NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]


def missing() -> str:
    """Why there can be no Patroni here; empty if there can."""
    if find_spec("patroni") is None:
        return "patroni is not installed: pip install -r requirements/ci.lock"
    if shutil.which("etcd") is None:
        return "etcd is not installed: apt-get install etcd-server"
    if os.getuid() == 0 and subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode:
        return "root may make no user namespaces here"
    return ""


class Node:
    """One Patroni and its PostgreSQL."""

    def __init__(self, name: str, folder: Path, etcd: int) -> None:
        self.name = name
        self.port = free_port()
        self.rest = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self._file = folder / "patroni.yaml"
        self._file.write_text(yaml.safe_dump(self._settings(etcd)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    def start(self) -> None:
        prefix = AS_NOBODY if os.getuid() == 0 else []
        with (self._folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "patroni", str(self._file)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )

    def kill(self) -> None:
        """The machine is gone: Patroni and PostgreSQL at once."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        pid_file = self._folder / "data" / "postmaster.pid"
        with contextlib.suppress(OSError, IndexError, ValueError):
            signal_all(int(pid_file.read_text().split()[0]), signal.SIGKILL)
            remove_segment(pid_file.parent)

    def _settings(self, etcd: int) -> dict[str, Any]:
        parameters = {
            "fsync": "off",
            "shared_buffers": "16MB",
            "wal_retrieve_retry_interval": "200ms",
            "unix_socket_directories": "",
        }
        return {
            "scope": "pyproxy",
            "name": self.name,
            "restapi": {
                "listen": f"127.0.0.1:{self.rest}",
                "connect_address": f"127.0.0.1:{self.rest}",
            },
            "etcd3": {"hosts": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "postgresql": {"use_pg_rewind": True, "parameters": parameters},
                },
                "initdb": [{"encoding": "UTF8"}, "no-locale", "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self._folder / "data"),
                "bin_dir": str(binaries.find()),
                "pgpass": str(self._folder / "pgpass"),
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
                "authentication": {
                    "superuser": {"username": "postgres", "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                },
            },
        }


class PatroniCluster:
    """Two nodes, `db-a` and `db-b`."""

    def __init__(self, nodes: list[Node], etcd: str) -> None:
        self.nodes = nodes
        self._etcd = etcd

    def members(self) -> dict[str, dict[str, Any]]:
        """By name, as any living node tells."""
        for node in self.nodes:
            with (
                contextlib.suppress(OSError, ValueError),
                urllib.request.urlopen(f"{node.url}/cluster", timeout=2) as answer,
            ):
                return {m["name"]: m for m in json.loads(answer.read())["members"]}
        return {}

    def await_roles(self, seconds: float = 90.0) -> tuple[Node, Node]:
        """Wait for a leader and a streaming replica; returns both."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            members = self.members()
            roles = {m["role"]: name for name, m in members.items()}
            leader, replica = roles.get("leader"), roles.get("replica")
            if leader and replica and members[replica]["state"] == "streaming":
                by_name = {node.name: node for node in self.nodes}
                return by_name[leader], by_name[replica]
            time.sleep(0.2)
        raise AssertionError("\n".join(node.log for node in self.nodes))

    def switch_over(self, leader: Node, candidate: Node) -> None:
        """As an operator does, by the REST API."""
        request = urllib.request.Request(
            f"{leader.url}/switchover",
            data=json.dumps({"leader": leader.name, "candidate": candidate.name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60):
            pass

    def kill_leader(self, leader: Node) -> None:
        """Its machine is gone; and so is its lease, at once instead of after Patroni's 20 s."""
        leader.kill()
        key = base64.b64encode(b"/service/pyproxy/leader").decode()
        (found,) = self._ask_etcd("kv/range", key=key)["kvs"]
        self._ask_etcd("lease/revoke", ID=found["lease"])

    def _ask_etcd(self, path: str, **fields: str) -> Any:
        request = urllib.request.Request(
            f"{self._etcd}/v3/{path}", data=json.dumps(fields).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def patroni_cluster(folder: Path) -> Iterator[PatroniCluster]:
    """Started, with a leader and a replica."""
    client, peer = free_port(), free_port()
    url = f"http://127.0.0.1:{client}"
    with (folder / "etcd.log").open("wb") as log:
        etcd = subprocess.Popen(
            [
                *("etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
                *("--listen-client-urls", url, "--advertise-client-urls", url),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},
        )
    nodes = [Node(name, folder / name, client) for name in ("db-a", "db-b")]
    try:
        nodes[0].start()
        nodes[1].start()
        cluster = PatroniCluster(nodes, url)
        cluster.await_roles()
        yield cluster
    finally:
        for node in nodes:
            node.kill()
        etcd.kill()
        etcd.wait(20)
