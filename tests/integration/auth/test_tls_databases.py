"""TLS between the proxy and databases: libpq's modes against a PostgreSQL with TLS, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from protocol.postgres.errors import ProtocolError
from pyproxy.auth.certificate_maker import Pair
from pyproxy.auth.certificates import database_context
from pyproxy.auth.cryptography_maker import CryptographyMaker
from pyproxy.config import TargetConfig
from pyproxy.lab import ownership
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Connected, Proof, Refused, connect
from pyproxy.targets.target import Target
from tests.support.messages import message
from tests.support.postgres import PASSWORD, Postgres, start_postgres, temporary_folder
from tests.support.proxy import start_proxy

pytestmark = pytest.mark.integration

MAKER: Final = CryptographyMaker()
LOOPBACK: Final = ("localhost", "127.0.0.1")


class Authority:
    """An authority, and databases that have its certificates."""

    def __init__(self, folder: Path) -> None:
        self.pair = MAKER.authority()
        self.root = folder / "root.pem"
        self.root.write_bytes(self.pair.certificate)

    def certificate(self, *names: str) -> Pair:
        return MAKER.server(self.pair, names)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@contextlib.contextmanager
def encrypted_postgres(folder: Path, certificate: Pair) -> Iterator[Postgres]:
    """A PostgreSQL with this certificate."""
    postgres = start_postgres(folder)
    try:
        owner = postgres.cluster.programs.owner
        for name, data in (("s.pem", certificate.certificate), ("s.key", certificate.private_key)):
            path = postgres.cluster.data / name
            path.touch(0o600)
            path.write_bytes(data)
            ownership.give(path, owner)
        postgres.cluster.configure({"ssl": "on", "ssl_cert_file": "s.pem", "ssl_key_file": "s.key"})
        with postgres.admin("postgres") as admin:
            admin.query("SELECT pg_reload_conf()")
        yield postgres
    finally:
        postgres.cluster.kill()


@pytest.fixture(scope="module")
def encrypted(folder: Path, authority: Authority) -> Iterator[Postgres]:
    with encrypted_postgres(folder / "right", authority.certificate(*LOOPBACK)) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def misnamed(folder: Path, authority: Authority) -> Iterator[Postgres]:
    with encrypted_postgres(folder / "wrong", authority.certificate("db.example")) as postgres:
        yield postgres


async def log_in(
    port: int, mode: str, root: Path | None = None, host: str = "127.0.0.1"
) -> Connected:
    target = Target(TargetConfig(id="db", host=host, port=port, tls=mode))
    connected = await asyncio.wait_for(
        connect(
            target,
            PoolKey("app", "app", ()),
            Proof(PASSWORD),
            context=database_context(mode, root),
            init_query="",
        ),
        30,
    )
    connected.stream.transport.abort()
    return connected


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("mode", "rooted", "tls"),
    [
        ("disable", False, False),
        ("prefer", False, True),
        ("require", False, True),
        ("require", True, True),
        ("verify-ca", True, True),
        ("verify-full", True, True),
    ],
)
async def test_a_database_with_a_good_certificate(
    encrypted: Postgres, authority: Authority, mode: str, *, rooted: bool, tls: bool
) -> None:
    for host in LOOPBACK:
        root = authority.root if rooted else None
        assert (await log_in(encrypted.port, mode, root, host)).tls is tls


@pytest.mark.both_loops
@pytest.mark.parametrize("mode", ["disable", "prefer"])
async def test_a_database_without_tls(postgres: Postgres, mode: str) -> None:
    assert (await log_in(postgres.port, mode)).tls is False


@pytest.mark.both_loops
@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_database_without_tls_is_refused(postgres: Postgres, mode: str) -> None:
    with pytest.raises(ConnectionError, match=f"does not support TLS, and tls is '{mode}'"):
        await log_in(postgres.port, mode)


@pytest.mark.both_loops
async def test_a_foreign_certificate_is_refused(encrypted: Postgres, tmp_path: Path) -> None:
    foreign = Authority(tmp_path).root
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(ssl.SSLCertVerificationError):
            await log_in(encrypted.port, mode, foreign)
    # Without an authority of its own, those of the system: they don't know it either.
    with pytest.raises(ssl.SSLCertVerificationError):
        await log_in(encrypted.port, "verify-full")
    assert (await log_in(encrypted.port, "prefer", foreign)).tls


@pytest.mark.both_loops
async def test_a_certificate_of_another_host(misnamed: Postgres, authority: Authority) -> None:
    assert (await log_in(misnamed.port, "verify-ca", authority.root)).tls
    for host in LOOPBACK:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
            await log_in(misnamed.port, "verify-full", authority.root, host)


def test_through_the_proxy(encrypted: Postgres, authority: Authority) -> None:
    """What PostgreSQL itself says of the connection."""
    target = {
        "id": "db-a",
        "port": encrypted.port,
        "tls": "verify-full",
        "root_certificate": str(authority.root),
    }
    with (
        temporary_folder() as folder,
        start_proxy(folder, encrypted, target_group={"targets": [target]}) as proxy,
    ):
        with psycopg.connect(proxy.dsn()) as connection:
            row = connection.execute(
                "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).fetchone()
            assert row == (True, "TLSv1.3")
            # More than a record in either direction.
            assert connection.execute("SELECT repeat(%s, 10)", ("x" * 50_000,)).fetchone() == (
                "x" * 500_000,
            )
        assert proxy.metric("pyproxy_database_connection_requests_with_tls_total") == 1


def test_what_only_asks_is_no_request_for_a_connection(encrypted: Postgres) -> None:
    """M-11 is a part of M-10: the monitor's probes are in neither."""
    target = {"id": "db-a", "port": encrypted.port, "tls": "require"}
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            encrypted,
            target_group={"targets": [target]},
            monitoring={"user": "app", "secret": "app"},
        ) as proxy,
    ):
        assert proxy.api("targets")["targets"][0]["available"], "it has been probed"
        with psycopg.connect(proxy.dsn()) as connection:
            connection.execute("SELECT 1")
        for name in ("requests", "requests_with_tls", "setup_succeeded"):
            metric = f"pyproxy_database_connection{'' if 'req' in name else 's'}_{name}_total"
            assert proxy.metric(metric) == 1, name


def test_a_refused_certificate_is_named_in_the_log(encrypted: Postgres, tmp_path: Path) -> None:
    """The client learns nothing of it (E-PG-16)."""
    target = {
        "id": "db-a",
        "port": encrypted.port,
        "tls": "verify-ca",
        "root_certificate": str(Authority(tmp_path).root),
    }
    group = {"targets": [target], "connection_pool_config": {"connection_borrow_timeout": 1}}
    with (
        temporary_folder() as folder,
        start_proxy(folder, encrypted, target_group=group) as proxy,
    ):
        with pytest.raises(psycopg.OperationalError, match="Timed-out waiting to acquire"):
            psycopg.connect(proxy.dsn())
        proxy.wait_for_log(
            r"WARN.*no connection to target db-a: TLS failed: the database's certificate is"
            r" refused: .+"
        )


# -- somebody in the database's place --------------------------------------------------------------

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def impostor(answer: bytes) -> AsyncIterator[int]:
    """Answers SSLRequest with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incomplete = contextlib.suppress(OSError, asyncio.IncompleteReadError)
        with incomplete, contextlib.closing(writer):
            await reader.readexactly(8)
            writer.write(answer)
            await reader.read()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


WELCOME: Final = b"".join(
    (
        message(b"R", bytes(4)),
        message(b"Z", b"I"),
        message(b"D", b"\0\1\0\0\0\1x"),
        message(b"Z", b"I"),
    )
)


@pytest.mark.both_loops
@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_what_a_database_says_in_clear_before_tls_is_an_attack(mode: str) -> None:
    """Invariant 4, CVE-2021-23222: a welcome that was slipped in behind the S is not taken."""
    async with impostor(b"S" + WELCOME) as port:
        with pytest.raises((ssl.SSLError, OSError)):
            await log_in(port, mode)


@pytest.mark.both_loops
@pytest.mark.parametrize("answer", [b"E\0\0\0\x04", b"H", b"\0"])
async def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    async with impostor(answer) as port:
        with pytest.raises((OSError, ProtocolError, Refused)):
            await log_in(port, "prefer")
