"""A real PostgreSQL for tests: one per worker, made in half a second, gone at the end.

    def test_x(postgres): postgres.dsn("app")      # straight to the database

Users: `app`/`secret` owns the database `app`; `md5`, `clear` and `trusted` log in by these methods;
`postgres` is the superuser.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproxy.lab import binaries
from pyproxy.lab.cluster import SUPERUSER, Cluster, Programs
from tests.support.wire import Wire

PASSWORD = "secret"
_ROLES = f"""
CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE app OWNER app;
SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE trusted LOGIN
"""
_HBA = """\
local all all trust
host all md5 127.0.0.1/32 md5
host all clear 127.0.0.1/32 password
host all trusted 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""


class Postgres:
    """A running cluster, and ways in."""

    host = "127.0.0.1"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def port(self) -> int:
        return self.cluster.port

    def password(self, user: str) -> str:
        return self.cluster.password if user == SUPERUSER else PASSWORD

    def dsn(self, user: str = "app", database: str = "app", **options: str) -> str:
        """A URL for libpq and most drivers."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        place = f"{self.host}:{self.port}/{database}"
        return f"postgresql://{user}:{self.password(user)}@{place}" + (f"?{query}" if query else "")

    def wire(self, user: str = "app", database: str = "app", **startup: str) -> Wire:
        """A logged-in client that says exactly what it is told to."""
        return Wire(self.host, self.port).login(user, self.password(user), database, **startup)

    def admin(self, database: str = "app") -> Wire:
        """The superuser."""
        return self.wire(SUPERUSER, database)

    def make_database(self, name: str) -> None:
        """An empty database of the user `app`."""
        with contextlib.closing(self.admin("postgres")) as admin:
            admin.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.query(f"CREATE DATABASE {name} OWNER app")


@functools.cache
def _model() -> Cluster:
    """A cluster with the users of the tests, never started: a copy is made faster than another."""
    folder = Path(tempfile.mkdtemp(prefix="pyproxy-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o711)
    cluster = Cluster.create(folder / "model", Programs(binaries.find(), folder))
    cluster.execute(_ROLES)
    (cluster.data / "pg_hba.conf").write_text(_HBA)
    return cluster


def start_postgres(folder: Path, **settings: str) -> Postgres:
    """A new cluster with the users of the tests, running."""
    model = _model()
    folder.mkdir(parents=True, exist_ok=True)
    # With its owner, who is another user where we are root.
    subprocess.run(["cp", "-Rp", model.folder, folder / "primary"], check=True)
    cluster = Cluster(folder / "primary", model.programs, model.password)
    cluster.configure(settings)
    cluster.start()
    return Postgres(cluster)


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A new cluster for as long as it is needed."""
    with temporary_folder() as folder:
        postgres = start_postgres(folder)
        try:
            yield postgres
        finally:
            postgres.cluster.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this worker; shared, so leave it as it was."""
    with own_postgres() as postgres:
        yield postgres


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that another user may enter: PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="pyproxy-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
