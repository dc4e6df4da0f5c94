"""The room that an exercise happens in: databases and a proxy of its own, and somebody watching.

async with room.stage(max_connections_percent=20) as stage:
client = await Client.connect(stage.proxied)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from pyproxy.app import App
from pyproxy.config_file import parse
from pyproxy.dashboard.view import ProxySummary
from pyproxy.lab import binaries
from pyproxy.lab.client import Address, Client
from pyproxy.lab.cluster import SUPERUSER, Cluster, Programs

USER: Final = "app"
DATABASE: Final = "app"
# How often the line that shows the pool is written anew, in seconds.
_GLANCE: Final = 0.05


class Stage:
    """Databases with a proxy before them."""

    def __init__(self, folder: Path, primary: Cluster, password: str, app: App) -> None:
        self.folder = folder
        self.primary = primary
        self.app = app
        self.direct = Address("127.0.0.1", primary.port, USER, password, DATABASE)
        listener = app.listeners["default"]
        self.proxied = self.direct._replace(port=listener.port)
        self.admin = self.direct._replace(
            user=SUPERUSER, password=primary.password, database="postgres"
        )
        # The most database connections and pinned ones at one time.
        self.most_servers = self.most_pinned = 0

    @property
    def secrets_file(self) -> Path:
        """What the proxy reads the password from."""
        return self.folder / "secrets.yaml"

    def proxy(self) -> ProxySummary:
        """How the proxy is now; remembers the peaks."""
        summary = self.app.view.proxy()
        self.most_servers = max(self.most_servers, summary["servers"])
        self.most_pinned = max(self.most_pinned, summary["pinned"])
        return summary

    async def as_admin(self, *statements: str, database: str = "") -> None:
        """Run something as the superuser, past the proxy."""
        address = self.admin._replace(database=database or self.admin.database)
        client = await Client.connect(address)
        try:
            for sql in statements:
                await client.query(sql)
        finally:
            client.close()


class Room:
    """Where stages are built; tells what happens."""

    def __init__(self, folder: Path, *, http_port: int = 0, hold: bool = False) -> None:
        self._folder = folder
        self._http_port = http_port
        self._hold = hold
        self._programs: Programs | None = None
        self._primary: Cluster | None = None
        self._standby: Cluster | None = None
        self._password = secrets.token_urlsafe(12)
        self._number = 0

    def say(self, text: str) -> None:
        """Tell what is being done, on standard error."""
        sys.stderr.write(f"\r\033[K{text}\n" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()

    @contextlib.asynccontextmanager
    async def stage(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        standby: bool = False,
        **pool: object,
    ) -> AsyncIterator[Stage]:
        """A proxy before the room's database.

        `pool` are settings of connection_pool_config, `config` sections of the configuration;
        `settings` are the database's, and make it anew; `standby` gives it one that streams.
        """
        primary = await asyncio.to_thread(self._database, settings or {})
        if standby and self._standby is None:
            self._standby = await asyncio.to_thread(self._copy, primary)
        self._number += 1
        folder = self._folder / f"proxy-{self._number}"
        folder.mkdir()
        app = App(parse(self._configuration(folder, config or {}, pool), name="lab",
                        environment={}, folder=folder))  # fmt: skip
        await app.start()
        try:
            stage = Stage(folder, primary, self._password, app)
            self.say(f"Watch it: http://127.0.0.1:{app.http_port}/   Join in: {stage.proxied.url}")
            watching = asyncio.create_task(self._watch(stage))
            try:
                yield stage
                if self._hold:
                    self.say("Held until Ctrl-C: look around.")
                    await asyncio.Event().wait()
            finally:
                watching.cancel()
        finally:
            await app.stop()

    def close(self) -> None:
        """Remove the databases."""
        for cluster in (self._standby, self._primary):
            if cluster is not None:
                cluster.remove()

    def _database(self, settings: Mapping[str, str]) -> Cluster:
        if self._programs is None:
            self._programs = Programs(binaries.find(), self._folder)
        if self._primary is not None and settings:
            self._primary.remove()
            self._primary = None
        if self._primary is None:
            self.say("Making a PostgreSQL …")
            primary = Cluster.create(self._folder / "primary", self._programs, settings)
            primary.execute(
                f"CREATE ROLE {USER} LOGIN PASSWORD '{self._password}';"
                f"CREATE DATABASE {DATABASE} OWNER {USER}"
            )
            primary.start()
            self._primary = primary
        return self._primary

    def _copy(self, primary: Cluster) -> Cluster:
        self.say("Making a standby …")
        standby = Cluster.copy_of(primary, self._folder / "standby")
        standby.start()
        return standby

    def _configuration(
        self, folder: Path, config: Mapping[str, Any], pool: Mapping[str, object]
    ) -> str:
        clusters = [cluster for cluster in (self._primary, self._standby) if cluster is not None]
        known = {
            "lab": {"username": USER, "password": self._password},
            "monitor": {"username": SUPERUSER, "password": clusters[0].password},
        }
        (folder / "secrets.yaml").write_text(json.dumps(known))
        sections: dict[str, Any] = {
            "proxy": {"db_proxy_name": "lab", "auth": [{"secret_arn": "lab"}]},
            "endpoints": [{"port": 0}],
            "target_group": {
                "connection_pool_config": {"max_connections_percent": 20, **pool},
                "targets": [
                    {"id": f"db-{letter}", "port": cluster.port, "tls": "disable"}
                    for letter, cluster in zip("ab", clusters, strict=False)
                ],
            },
            "monitoring": {"user": SUPERUSER, "secret": "monitor"},
            "secrets": {"file": "secrets.yaml", "refresh_interval": 0.2},
            "http": {"port": self._http_port},
            "state_dir": "state",
        }
        for name, value in config.items():
            ours = sections.get(name)
            both = isinstance(value, dict) and isinstance(ours, dict)
            sections[name] = ours | value if both else value
        # JSON is YAML too.
        return json.dumps(sections)

    async def _watch(self, stage: Stage) -> None:
        """The live line of a terminal, and the peaks for the grades."""
        while True:
            now = stage.proxy()
            if sys.stderr.isatty():
                sys.stderr.write(
                    f"\r\033[Kclients {now['clients']}  waiting {now['clients_waiting']}"
                    f"  database connections {now['servers']}  borrowed {now['borrowed']}"
                    f"  pinned {now['pinned']}"
                )
                sys.stderr.flush()
            await asyncio.sleep(_GLANCE)
