"""Certificates made by the `openssl` command, where the `cryptography` package is missing.

The options are those that OpenSSL and LibreSSL share: on Intel Macs, which `cryptography` has no
wheel for, the command is LibreSSL's.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from pyproxy.addresses import is_address
from pyproxy.auth.certificate_maker import AUTHORITY_DAYS, SERVER_DAYS, Pair
from pyproxy.auth.certificates import CertificateError

_TIMEOUT: Final = 30.0
_CONFIGURATION: Final = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {names}
"""


class OpensslMaker:
    """Makes ECDSA certificates over P-256, signed with SHA-256."""

    def __init__(self, folder: Path | None = None) -> None:
        """Its files lie in `folder` for a moment, by default in the system's for such things.

        Raises CertificateError when there is no openssl either.
        """
        self._folder: Final = folder
        self._command: Final = shutil.which("openssl") or ""
        if not self._command:
            raise CertificateError(
                "no certificate could be made: install cryptography or openssl,"
                " or give the endpoint its own in tls.certificate and tls.private_key"
            )

    def authority(self) -> Pair:
        """A new authority, valid for AUTHORITY_DAYS."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            self._configure(folder, "PyProxy development CA", ())
            self._run(folder, "ecparam -name prime256v1 -genkey -noout -out ca.key")
            self._run(
                folder,
                "req -new -x509 -sha256 -key ca.key -config openssl.cnf -extensions authority"
                f" -set_serial {_serial()} -days {AUTHORITY_DAYS} -out ca.pem",
            )
            return Pair((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())

    def server(self, authority: Pair, names: tuple[str, ...]) -> Pair:
        """A server's certificate for host names and addresses, valid for SERVER_DAYS."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            (folder / "ca.pem").write_bytes(authority.certificate)
            (folder / "ca.key").write_bytes(authority.private_key)
            self._configure(folder, "PyProxy", names)
            self._run(folder, "ecparam -name prime256v1 -genkey -noout -out server.key")
            self._run(folder, "req -new -key server.key -config openssl.cnf -out server.csr")
            self._run(
                folder,
                "x509 -req -sha256 -in server.csr -CA ca.pem -CAkey ca.key"
                f" -set_serial {_serial()} -days {SERVER_DAYS}"
                " -extfile openssl.cnf -extensions server -out server.pem",
            )
            return Pair((folder / "server.pem").read_bytes(), (folder / "server.key").read_bytes())

    def _configure(self, folder: Path, common_name: str, names: tuple[str, ...]) -> None:
        listed = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
        text = _CONFIGURATION.format(common_name=common_name, names=listed or "DNS:localhost")
        (folder / "openssl.cnf").write_text(text)

    def _run(self, folder: Path, arguments: str) -> None:
        """Run openssl in a folder that only we may enter."""
        try:
            subprocess.run(  # noqa: S603 - our own words; names stand in the file
                [self._command, *arguments.split()],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except subprocess.CalledProcessError as error:
            said: str = error.stderr
            why = said.strip() or f"exit code {error.returncode}"
            raise CertificateError(f"openssl {arguments} failed: {why}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CertificateError(f"openssl could not be run: {error}") from None


def _serial() -> str:
    # RFC 5280: positive, at most 20 octets.
    return f"0x{secrets.randbits(159) | 1:x}"
