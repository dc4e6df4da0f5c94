"""Certificates made where there are none, by both makers."""

import importlib.util
import json
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pyproxy.auth import development_ca
from pyproxy.auth.certificate_maker import Maker, Pair
from pyproxy.auth.certificates import CertificateError, ClientTls, database_context
from pyproxy.auth.cryptography_maker import CryptographyMaker
from pyproxy.auth.development_ca import Files, ensure
from pyproxy.auth.openssl_maker import OpensslMaker

HAS_OPENSSL = shutil.which("openssl") is not None


@pytest.fixture(
    params=[
        pytest.param(CryptographyMaker, id="cryptography"),
        pytest.param(
            OpensslMaker,
            id="openssl",
            marks=pytest.mark.skipif(not HAS_OPENSSL, reason="no openssl command"),
        ),
    ]
)
def maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Maker]:
    monkeypatch.setattr(development_ca, "_maker", lambda _: request.param())
    made: Callable[[], Maker] = request.param
    return made


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """Shake hands over a socket pair; returns the protocol that ALPN chose."""
    ours, theirs = socket.socketpair()
    failures: list[Exception] = []

    def serve() -> None:
        try:
            with ours, server.wrap_socket(ours, server_side=True) as wrapped:
                wrapped.recv(1)
        except (ssl.SSLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs, client.wrap_socket(theirs, server_hostname=name) as wrapped:
            chosen = wrapped.selected_alpn_protocol() or ""
            wrapped.send(b"x")
            return chosen
    finally:
        thread.join(10)


@pytest.mark.usefixtures("maker")
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "proxy.example", "10.0.0.7"])
def test_a_client_that_verifies_in_full_connects(tmp_path: Path, name: str) -> None:
    """TLS-02: all modes up to verify-full work."""
    files = ensure(tmp_path, ["Proxy.Example:5432", "10.0.0.7", "0.0.0.0", ""])
    server = ClientTls(files.certificate, files.private_key)
    client = database_context("verify-full", files.authority)
    assert client is not None
    assert handshake(server.context, client, name) == "postgresql"


@pytest.mark.usefixtures("maker")
def test_the_strictest_verification_accepts_it(tmp_path: Path) -> None:
    """Python 3.13 turns X.509's strict rules on by default."""
    files = ensure(tmp_path, [])
    client = ssl.create_default_context(cafile=str(files.authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ClientTls(files.certificate, files.private_key)
    assert handshake(server.context, client, "localhost") == ""


@pytest.mark.usefixtures("maker")
def test_another_name_is_not_in_it(tmp_path: Path) -> None:
    files = ensure(tmp_path, [])
    client = database_context("verify-full", files.authority)
    assert client is not None
    server = ClientTls(files.certificate, files.private_key)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server.context, client, "elsewhere.example")


@pytest.mark.usefixtures("maker")
def test_the_second_start_changes_nothing(tmp_path: Path) -> None:
    before = [path.read_bytes() for path in ensure(tmp_path, ["a.example"])]
    assert [path.read_bytes() for path in ensure(tmp_path, ["a.example"])] == before
    assert [path.read_bytes() for path in ensure(tmp_path, [])] == before


@pytest.mark.usefixtures("maker")
def test_a_new_name_gets_a_new_certificate_of_the_same_authority(tmp_path: Path) -> None:
    """Who has our ca.pem keeps trusting us."""
    authority, certificate, _ = (path.read_bytes() for path in ensure(tmp_path, ["a.example"]))
    files = ensure(tmp_path, ["a.example", "b.example"])
    assert files.authority.read_bytes() == authority
    assert files.certificate.read_bytes() != certificate
    client = database_context("verify-full", files.authority)
    assert client is not None
    handshake(ClientTls(files.certificate, files.private_key).context, client, "b.example")


def not_after(files: Files) -> datetime:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc


def test_a_certificate_is_renewed_before_it_expires(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = ensure(tmp_path, [], now=now)
    before = files.certificate.read_bytes()
    assert timedelta(days=396) < not_after(files) - now < timedelta(days=398)
    ensure(tmp_path, [], now=now + timedelta(days=366))
    assert files.certificate.read_bytes() == before
    ensure(tmp_path, [], now=now + timedelta(days=368))
    assert files.certificate.read_bytes() != before


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"names": 1, "not_after": 2}', "\x00"])
def test_a_broken_record_means_a_new_certificate(tmp_path: Path, record: str) -> None:
    files = ensure(tmp_path, [])
    before = files.certificate.read_bytes()
    (tmp_path / "tls" / "server.json").write_text(record)
    ensure(tmp_path, [])
    assert files.certificate.read_bytes() != before
    assert "localhost" in json.loads((tmp_path / "tls" / "server.json").read_text())["names"]


def test_nobody_else_may_read_the_keys(tmp_path: Path) -> None:
    files = ensure(tmp_path, [])
    for key in (files.private_key, tmp_path / "tls" / "ca.key"):
        assert key.stat().st_mode & 0o077 == 0
    assert (tmp_path / "tls").stat().st_mode & 0o077 == 0


def test_without_either_maker_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CertificateError, match=r"install cryptography or openssl"):
        OpensslMaker()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="file"):
        ensure(tmp_path / "file", [])


@pytest.mark.skipif(not HAS_OPENSSL, reason="no openssl command")
def test_only_the_state_folder_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container with a read-only root has no /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    ensure(tmp_path, ["db.internal"])
    left = sorted(path.name for path in (tmp_path / "tls").iterdir())
    assert left == ["ca.key", "ca.pem", "lock", "server.json", "server.key", "server.pem"]


def test_what_openssl_says_is_passed_on(tmp_path: Path) -> None:
    if not HAS_OPENSSL:
        pytest.skip("no openssl command")
    with pytest.raises(CertificateError, match=r"openssl x509 .* failed: "):
        OpensslMaker().server(Pair(b"rubbish", b"rubbish"), ("localhost",))
