"""TLS between clients and the proxy, on both event loops (TLS-01 to TLS-06)."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import psycopg2
import pytest
import yaml

from pyproxy.auth.development_ca import Files
from pyproxy.lab import binaries
from tests.support.certificates import make_certificates, man_in_the_middle
from tests.support.messages import GSS_REQUEST, SSL_REQUEST, startup
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def encrypted(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Proxy]:
    """A proxy with the certificate that it made itself, and AWS's behaviour."""
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            postgres,
            loop=request.param,
            proxy={"debug_logging": True, "auth": [{"secret_arn": "app"}]},
        ) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def extended(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Proxy]:
    """The same with the extensions."""
    with (
        temporary_folder() as folder,
        start_proxy(
            folder, postgres, loop=request.param, extensions=["direct_tls", "channel_binding"]
        ) as proxy,
    ):
        yield proxy


def trusting(proxy: Proxy) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(proxy.certificate_authority))


def psql(url: str, sql: str = "SELECT 'in'") -> tuple[int, str]:
    """Exit code, and everything it said."""
    done = subprocess.run(
        [binaries.find() / "psql", "-XAtw", url, "-c", sql],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
    )
    return done.returncode, done.stdout + done.stderr


def url(proxy: Proxy, **options: str) -> str:
    return proxy.dsn(**options).replace("127.0.0.1", "localhost")


# -- as AWS ----------------------------------------------------------------------------------------


def test_verify_full_works_at_once(encrypted: Proxy) -> None:
    """TLS-02, with the authority whose path the start has printed."""
    line = encrypted.wait_for_log("Clients verify the proxy with sslrootcert=")
    root = line.rpartition("sslrootcert=")[2]
    for host in ("localhost", "127.0.0.1"):
        verified = encrypted.dsn(sslmode="verify-full", sslrootcert=root).replace("127.0.0.1", host)
        assert psql(verified) == (0, "in\n")
        with psycopg.connect(verified) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT 1").fetchone() == (1,)
        psycopg2.connect(verified).close()


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_the_other_modes(encrypted: Proxy, mode: str) -> None:
    with psycopg.connect(url(encrypted, sslmode=mode)) as connection:
        assert connection.pgconn.ssl_in_use is (mode in ("prefer", "require"))


async def test_asyncpg_verifies(encrypted: Proxy) -> None:
    connection = await asyncpg.connect(url(encrypted), ssl=trusting(encrypted))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(encrypted: Proxy, version: ssl.TLSVersion) -> None:
    """TLS-01, without the two that nobody should use any more."""
    context = trusting(encrypted)
    context.minimum_version = context.maximum_version = version
    with Wire(encrypted.host, encrypted.port) as wire:
        wire.start_tls(context)
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.sock.version() == version.name.replace("_", ".")
        wire.login("app", PASSWORD, "app")
        # More than a record in either direction.
        assert wire.value(f"SELECT length('{'x' * 100_000}')") == "100000"
        assert wire.value("SELECT repeat('y', 100000)") == "y" * 100_000


def test_an_old_version_is_refused(encrypted: Proxy) -> None:
    context = trusting(encrypted)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # It is deprecated; that is the point.
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Wire(encrypted.host, encrypted.port) as wire, pytest.raises((ssl.SSLError, OSError)):
        wire.start_tls(context)


def test_a_client_that_does_not_trust_the_certificate_leaves_and_the_log_says_why(
    encrypted: Proxy, tmp_path: Path
) -> None:
    foreign = make_certificates(tmp_path).authority
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(url(encrypted, sslmode="verify-full", sslrootcert=str(foreign)))
    encrypted.wait_for_log("TLS with the client failed: .*(?i:unknown.ca)")


def test_gss_encryption_is_declined(encrypted: Proxy) -> None:
    """TLS-06: N, and then TLS or clear text as the client likes."""
    with Wire(encrypted.host, encrypted.port) as wire:
        wire.sock.sendall(GSS_REQUEST)
        assert wire.sock.recv(1) == b"N"
        wire.start_tls(trusting(encrypted))
        assert wire.login("app", PASSWORD, "app").value("SELECT 1") == "1"
    with Wire(encrypted.host, encrypted.port) as wire:
        wire.sock.sendall(GSS_REQUEST)
        assert wire.sock.recv(1) == b"N"
        assert wire.login("app", PASSWORD, "app").value("SELECT 1") == "1"


@pytest.mark.parametrize("glued", [startup({"user": "app", "database": "app"}), b"x", SSL_REQUEST])
def test_what_came_in_clear_before_tls_is_an_attack(encrypted: Proxy, glued: bytes) -> None:
    """Invariant 4, CVE-2021-3935: nothing of it is taken for what came through TLS."""
    with Wire(encrypted.host, encrypted.port) as wire:
        wire.sock.sendall(SSL_REQUEST + glued)
        assert wire.sock.recv(1) == b"S"
        with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError, or a reset
            wire.sock = trusting(encrypted).wrap_socket(wire.sock, server_hostname="localhost")
    encrypted.wait_for_log("TLS with the client failed")


def test_direct_tls_is_not_spoken(encrypted: Proxy) -> None:
    """TLS-06: an extension."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url(encrypted, sslmode="require", sslnegotiation="direct"))


def test_channel_binding_is_not_offered(encrypted: Proxy) -> None:
    """AU-20: an extension."""
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(url(encrypted, sslmode="require", channel_binding="require"))


# -- extensions ------------------------------------------------------------------------------------


def test_direct_tls(extended: Proxy) -> None:
    verified = url(
        extended,
        sslmode="verify-full",
        sslnegotiation="direct",
        sslrootcert=str(extended.certificate_authority),
    )
    assert psql(verified) == (0, "in\n")
    with psycopg.connect(verified) as connection:
        assert connection.pgconn.ssl_in_use
    # Others on the same port.
    for mode in ("disable", "require"):
        psycopg.connect(url(extended, sslmode=mode)).close()


async def test_asyncpg_with_direct_tls(extended: Proxy) -> None:
    # As PostgreSQL 17 it must be told; asyncpg leaves a context as it is.
    context = trusting(extended)
    context.set_alpn_protocols(["postgresql"])
    connection = await asyncpg.connect(url(extended), ssl=context, direct_tls=True)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_direct_tls_must_say_what_it_carries(extended: Proxy) -> None:
    """PostgreSQL manual: without ALPN another protocol's bytes could be taken for ours."""
    with Wire(extended.host, extended.port) as wire:
        wire.sock = trusting(extended).wrap_socket(wire.sock, server_hostname="localhost")
        with pytest.raises(LoginFailed, match="without the application protocol postgresql"):
            wire.login("app", PASSWORD, "app")


def test_channel_binding(extended: Proxy) -> None:
    """SCRAM-SHA-256-PLUS with two versions of libpq."""
    bound = url(extended, sslmode="require", channel_binding="require")
    assert psql(bound) == (0, "in\n")
    psycopg.connect(bound).close()
    psycopg.connect(url(extended, sslmode="require", channel_binding="disable")).close()
    with pytest.raises(psycopg.OperationalError, match="The password that was provided"):
        psycopg.connect(bound.replace(f":{PASSWORD}@", ":wrong@"))


def test_channel_binding_finds_the_man_in_the_middle(extended: Proxy, tmp_path: Path) -> None:
    """Who knows no password and has another certificate gets nothing out of it."""
    with man_in_the_middle(make_certificates(tmp_path), extended.port) as port:
        through = url(extended, sslmode="require").replace(str(extended.port), str(port))
        with psycopg.connect(f"{through}&channel_binding=disable") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{through}&channel_binding=require")


# -- require_tls, own certificates, reload ---------------------------------------------------------


def test_require_tls(encrypted: Proxy) -> None:
    """TLS-04, E-PG-06; switched on and off by a reload."""
    config = yaml.safe_load(encrypted.config_file.read_text())
    done = "was reloaded: changed: proxy.require_tls"
    for reloads, required in enumerate((True, False), 1):
        config["proxy"]["require_tls"] = required
        encrypted.config_file.write_text(yaml.safe_dump(config))
        encrypted.signal(signal.SIGHUP)
        wait_until(lambda times=reloads: encrypted.log.count(done) >= times, 10)
        psycopg.connect(url(encrypted, sslmode="require")).close()
        if required:
            with pytest.raises(LoginFailed) as caught:
                encrypted.wire()
            assert (caught.value.fields["S"], caught.value.fields["C"]) == ("FATAL", "28000")
            assert caught.value.fields["M"] == "This RDS Proxy requires TLS connections."
        else:
            encrypted.wire().close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_certificate_is_replaced_without_dropping_anybody(
    postgres: Postgres, tmp_path: Path, loop: str
) -> None:
    """Own certificates; SIGHUP reads them again; a bad file changes nothing."""
    first, second = (make_certificates(tmp_path / n, "proxy.example") for n in ("one", "two"))
    with temporary_folder() as folder:
        certificate, key = folder / "own.pem", folder / "own.key"
        certificate.write_bytes(first.certificate.read_bytes())
        key.write_bytes(first.private_key.read_bytes())
        endpoint = {"port": 0, "tls": {"certificate": str(certificate), "private_key": str(key)}}
        with start_proxy(folder, postgres, loop=loop, endpoints=[endpoint]) as proxy:

            def shown(files: Files, name: str = "proxy.example") -> Wire:
                """A client that trusts only this authority."""
                wire = Wire(proxy.host, proxy.port)
                wire.start_tls(ssl.create_default_context(cafile=str(files.authority)), name)
                return wire.login("app", PASSWORD, "app")

            with shown(first) as old:
                certificate.write_text("rubbish")
                proxy.signal(signal.SIGHUP)
                proxy.wait_for_log("WARN.*Endpoint default keeps its certificate: .*own.pem")
                shown(first).close()
                certificate.write_bytes(second.certificate.read_bytes())
                key.write_bytes(second.private_key.read_bytes())
                proxy.signal(signal.SIGHUP)
                wait_until(lambda: proxy.log.count("was reloaded") >= 2, 10)
                shown(second).close()
                with pytest.raises(ssl.SSLCertVerificationError):
                    shown(first)
                assert old.value("SELECT 1") == "1"


def test_the_authority_is_kept(postgres: Postgres) -> None:
    """Made on the first start only: what clients have been given stays right."""
    with temporary_folder() as folder:
        seen = []
        for _ in range(2):
            with start_proxy(folder, postgres) as proxy:
                seen.append(proxy.certificate_authority.read_bytes())
                psycopg.connect(
                    url(
                        proxy,
                        sslmode="verify-full",
                        sslrootcert=str(proxy.certificate_authority),
                    )
                ).close()
        assert seen[0] == seen[1]
        key = folder / "state" / "tls" / "ca.key"
        assert key.stat().st_mode & 0o777 == 0o600


def test_silence_instead_of_a_handshake_disturbs_nobody(encrypted: Proxy) -> None:
    silent = []
    for said in (b"", SSL_REQUEST[:3], SSL_REQUEST, SSL_REQUEST + b"\x16\x03\x01\x02\x00"):
        sock = socket.create_connection((encrypted.host, encrypted.port))
        sock.sendall(said)
        silent.append(sock)
    psycopg.connect(url(encrypted, sslmode="require")).close()
    for sock in silent:
        sock.close()
    wait_until(lambda: encrypted.metric("pyproxy_client_connections_in_setup") == 0, 10)
    assert not re.search("Traceback|ERROR", encrypted.log)
