"""TLS contexts: ours and those for databases."""

import ssl
from pathlib import Path

import pytest

from pyproxy.auth.certificates import CertificateError, ClientTls, database_context
from pyproxy.auth.development_ca import Files, ensure
from pyproxy.auth.fingerprint import tls_server_end_point


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return ensure(tmp_path_factory.mktemp("state"), [])


@pytest.mark.parametrize(
    ("mode", "with_root", "verify", "names"),
    [
        ("prefer", False, ssl.CERT_NONE, False),
        ("prefer", True, ssl.CERT_NONE, False),
        ("require", False, ssl.CERT_NONE, False),
        ("require", True, ssl.CERT_REQUIRED, False),
        ("verify-ca", True, ssl.CERT_REQUIRED, False),
        ("verify-full", True, ssl.CERT_REQUIRED, True),
        ("verify-full", False, ssl.CERT_REQUIRED, True),
    ],
)
def test_the_modes_mean_what_libpq_means(
    files: Files, mode: str, verify: ssl.VerifyMode, *, with_root: bool, names: bool
) -> None:
    """PostgreSQL manual, "SSL Support": sslmode."""
    context = database_context(mode, files.authority if with_root else None)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (verify, names)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_disable_needs_no_context() -> None:
    assert database_context("disable") is None


def test_verify_ca_needs_a_root_certificate() -> None:
    with pytest.raises(CertificateError, match="verify-ca needs a root certificate"):
        database_context("verify-ca")


def test_bad_files_are_named(files: Files, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    missing = tmp_path / "missing.pem"
    for certificate, key, complaint in (
        (missing, files.private_key, "missing.pem can't be read"),
        (files.certificate, missing, "missing.pem can't be read"),
        (rubbish, files.private_key, "rubbish.pem"),
        (files.authority, files.private_key, "no certificate with its key"),
    ):
        with pytest.raises(CertificateError, match=complaint):
            ClientTls(certificate, key)
    for root, complaint in ((missing, "can't be read"), (rubbish, "no certificate in PEM")):
        with pytest.raises(CertificateError, match=complaint):
            database_context("verify-full", root)


def test_a_key_with_a_passphrase_is_refused_without_asking(files: Files, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.private_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    with pytest.raises(CertificateError, match="passphrase"):
        ClientTls(files.certificate, locked)


def test_clients_get_tls_1_2_or_better_and_no_tickets(files: Files) -> None:
    context = ClientTls(files.certificate, files.private_key).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_channel_is_bound_to_the_first_certificate(files: Files, tmp_path: Path) -> None:
    """RFC 5929: the server's, not its authority's."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.certificate.read_bytes() + files.authority.read_bytes())
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    expected = ("tls-server-end-point", tls_server_end_point(der))
    assert ClientTls(chain, files.private_key).channel_binding == expected


def test_a_reload_takes_new_files_and_survives_bad_ones(tmp_path: Path) -> None:
    made = ensure(tmp_path, [])
    tls = ClientTls(made.certificate, made.private_key)
    context, binding = tls.context, tls.channel_binding
    good = made.certificate.read_bytes()
    made.certificate.write_text("rubbish")
    with pytest.raises(CertificateError):
        tls.reload()
    assert (tls.context, tls.channel_binding) == (context, binding)
    made.certificate.write_bytes(good)
    ensure(tmp_path, ["another.example"])
    tls.reload()
    assert tls.context is not context
    assert tls.channel_binding != binding
