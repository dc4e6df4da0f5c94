"""TLS on both sides: what we show to clients, and what we ask of databases.

For clients `ClientTls` holds a context made from two files, and makes a new one when they have
changed (`reload`); connections that are open keep theirs. For databases `database_context` means
by its modes what libpq means by sslmode.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

from pyproxy.auth.fingerprint import tls_server_end_point
from pyproxy.unusable import Unusable

# The protocol's name in TLS (PostgreSQL manual, "SSL Session Encryption"); libpq 17 offers it.
ALPN: Final = "postgresql"
CHANNEL_BINDING: Final = "tls-server-end-point"
_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)


class CertificateError(Unusable):
    """A certificate or key that can't be used; says which file and why."""


class ClientTls:
    """An endpoint's certificate."""

    def __init__(self, certificate: Path, private_key: Path) -> None:
        """Raises CertificateError."""
        self._certificate: Final = certificate
        self._private_key: Final = private_key
        self.context: ssl.SSLContext
        # What SCRAM-SHA-256-PLUS is bound to; None where the certificate allows no binding.
        self.channel_binding: tuple[str, bytes] | None
        self.reload()

    def reload(self) -> None:
        """Read the files again; if they are bad, raises CertificateError and keeps what it has."""
        context = _client_context(self._certificate, self._private_key)
        end_point = _end_point(self._certificate)
        self.context = context
        self.channel_binding = None if end_point is None else (CHANNEL_BINDING, end_point)


def database_context(mode: str, root_certificate: Path | None = None) -> ssl.SSLContext | None:
    """The context for a target whose `tls` is `mode`; None for "disable".

    | mode | TLS | the certificate |
    | --- | --- | --- |
    | prefer | if the database offers it | isn't looked at |
    | require | always | must be of `root_certificate`, if that is given |
    | verify-ca | always | must be of `root_certificate` |
    | verify-full | always | must be of it, or of the system's authorities, and name the host |

    As libpq: require with a root certificate is verify-ca, and the system's authorities without
    the host's name prove nothing (PostgreSQL manual, "SSL Support": sslrootcert). Raises
    CertificateError.
    """
    if mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.check_hostname = mode == "verify-full"
    if mode == "prefer" or (mode == "require" and root_certificate is None):
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_mode = ssl.CERT_REQUIRED
    if root_certificate is not None:
        _load_root(context, root_certificate)
    elif mode == "verify-full":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        raise CertificateError("tls: verify-ca needs a root certificate; or use verify-full")
    return context


def _client_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    # As PostgreSQL (be-secure-openssl.c): no renegotiation, and no tickets, whose key would
    # outlive every session key.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, private_key, password=lambda: b"")
    except ssl.SSLError as error:
        raise CertificateError(
            f"{certificate} and {private_key} are no certificate with its key,"
            f" or the key has a passphrase: {error.reason or error}"
        ) from None
    except OSError as error:
        missing = private_key if certificate.exists() else certificate
        raise CertificateError(f"{missing} can't be read: {error.strerror}") from None
    return context


def _end_point(certificate: Path) -> bytes | None:
    found = _PEM.search(certificate.read_text("ascii", "replace"))
    if found is None:
        raise CertificateError(f"{certificate} has no certificate in PEM")
    return tls_server_end_point(ssl.PEM_cert_to_DER_cert(found[0]))


def _load_root(context: ssl.SSLContext, root_certificate: Path) -> None:
    try:
        context.load_verify_locations(root_certificate)
    except ssl.SSLError as error:
        raise CertificateError(
            f"{root_certificate} has no certificate in PEM: {error.reason or error}"
        ) from None
    except OSError as error:
        raise CertificateError(f"{root_certificate} can't be read: {error.strerror}") from None
