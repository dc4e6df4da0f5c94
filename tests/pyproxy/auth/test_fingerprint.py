"""The hash for channel binding, with `cryptography` making every kind of certificate."""

import contextlib
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth.fingerprint import tls_server_end_point

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
NOW = datetime.now(UTC)


def der(key: object, algorithm: object, **how: object) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    certificate = builder.sign(key, algorithm, **how)  # type: ignore[arg-type]
    return certificate.public_bytes(serialization.Encoding.DER)


def pss(algorithm: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        pytest.param(der(RSA_KEY, hashes.SHA256()), "sha256", id="RSA SHA-256"),
        pytest.param(der(RSA_KEY, hashes.SHA384()), "sha384", id="RSA SHA-384"),
        pytest.param(der(RSA_KEY, hashes.SHA512()), "sha512", id="RSA SHA-512"),
        pytest.param(der(RSA_KEY, hashes.SHA224()), "sha224", id="RSA SHA-224"),
        pytest.param(der(EC_KEY, hashes.SHA256()), "sha256", id="ECDSA SHA-256"),
        pytest.param(der(EC_KEY, hashes.SHA384()), "sha384", id="ECDSA SHA-384"),
        pytest.param(der(EC_KEY, hashes.SHA512()), "sha512", id="ECDSA SHA-512"),
        pytest.param(
            der(RSA_KEY, hashes.SHA256(), rsa_padding=pss(hashes.SHA256())), "sha256", id="PSS 256"
        ),
        pytest.param(
            der(RSA_KEY, hashes.SHA512(), rsa_padding=pss(hashes.SHA512())), "sha512", id="PSS 512"
        ),
    ],
)
def test_the_hash_is_that_of_the_signature(certificate: bytes, name: str) -> None:
    """RFC 5929, section 4.1."""
    assert tls_server_end_point(certificate) == hashlib.new(name, certificate).digest()


@pytest.mark.parametrize("oid", ["2a864886f70d010104", "2a864886f70d010105"], ids=["MD5", "SHA-1"])
def test_weak_hashes_give_way_to_sha256(oid: str) -> None:
    """RFC 5929: MD5 and SHA-1 are replaced."""
    strong = der(RSA_KEY, hashes.SHA256())
    weak = strong.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex(oid))
    assert tls_server_end_point(weak) == hashlib.sha256(weak).digest()


def test_where_there_is_no_hash_there_is_no_binding() -> None:
    """RFC 5929 leaves Ed25519 undefined."""
    key = ed25519.Ed25519PrivateKey.generate()
    assert tls_server_end_point(der(key, None)) is None


@given(st.binary(max_size=60), st.integers(0, 400))
def test_rubbish_is_refused(rubbish: bytes, cut: int) -> None:
    for data in (rubbish, der(EC_KEY, hashes.SHA256())[:cut]):
        with contextlib.suppress(ValueError):
            tls_server_end_point(data)
