"""The hash of our certificate that binds SCRAM to its TLS connection (`tls-server-end-point`).

RFC 5929, section 4.1: the hash is that of the certificate's signature algorithm, or SHA-256 where
that would be MD5 or SHA-1. It is of the certificate alone, so it is computed from the file; the
TLS connection need not be asked.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

# Object identifiers as they stand in DER: PKCS #1, RFC 5758 (ECDSA), NIST (hashes).
_PKCS1: Final = bytes.fromhex("2a864886f70d0101")
_ECDSA_SHA2: Final = bytes.fromhex("2a8648ce3d0403")
_NIST_HASHES: Final = bytes.fromhex("6086480165030402")
_RSA_PSS: Final = _PKCS1 + b"\x0a"

_HASHES: Final = {
    _PKCS1 + b"\x04": "sha256",  # MD5
    _PKCS1 + b"\x05": "sha256",  # SHA-1
    _PKCS1 + b"\x0b": "sha256",
    _PKCS1 + b"\x0c": "sha384",
    _PKCS1 + b"\x0d": "sha512",
    _PKCS1 + b"\x0e": "sha224",
    bytes.fromhex("2a8648ce3d0401"): "sha256",  # ECDSA with SHA-1
    _ECDSA_SHA2 + b"\x01": "sha224",
    _ECDSA_SHA2 + b"\x02": "sha256",
    _ECDSA_SHA2 + b"\x03": "sha384",
    _ECDSA_SHA2 + b"\x04": "sha512",
    _NIST_HASHES + b"\x01": "sha256",
    _NIST_HASHES + b"\x02": "sha384",
    _NIST_HASHES + b"\x03": "sha512",
    _NIST_HASHES + b"\x04": "sha224",
}


class _Element(NamedTuple):
    """One element of DER: its tag, its content, and where the next one starts."""

    tag: int
    content: bytes
    end: int


def tls_server_end_point(certificate: bytes) -> bytes | None:
    """The hash for a certificate in DER; None where RFC 5929 defines none, as for Ed25519.

    Raises ValueError for what is no certificate.
    """
    name = _hash_name(certificate)
    return None if name is None else hashlib.new(name, certificate).digest()


def _hash_name(certificate: bytes) -> str | None:
    whole = _read(certificate, 0).content
    to_be_signed = _read(whole, 0)
    algorithm = _read(whole, to_be_signed.end).content
    identifier = _read(algorithm, 0)
    if identifier.content == _RSA_PSS:
        return _pss_hash_name(algorithm[identifier.end :])
    return _HASHES.get(identifier.content)


def _pss_hash_name(parameters: bytes) -> str | None:
    """RSASSA-PSS names its hash in a parameter; the default is SHA-1 (RFC 4055)."""
    if parameters:
        first = _read(parameters, 0).content
        if first and (hash_algorithm := _read(first, 0)).tag == 0xA0:
            return _HASHES.get(_read(_read(hash_algorithm.content, 0).content, 0).content)
    return "sha256"


def _read(data: bytes, start: int) -> _Element:
    """The element that begins at `start`; only what certificates use: short tags, known lengths."""
    try:
        tag, length = data[start], data[start + 1]
    except IndexError:
        raise ValueError("the certificate is cut off") from None
    begin = start + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[begin : begin + size], "big")
        begin += size
    if begin + length > len(data):
        raise ValueError("the certificate is cut off")
    return _Element(tag, data[begin : begin + length], begin + length)
