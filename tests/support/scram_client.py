"""The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), as small as it can be.

For ASCII passwords, which SASLprep leaves alone. Salted passwords are kept: a test that logs in
a thousand times should spend its time on what it tests.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache


@lru_cache(maxsize=64)
def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


class Scram:
    """One exchange: `first()`, then `final(server_first)`, then `verify(server_final)`."""

    def __init__(self, password: str) -> None:
        self._password = password
        self.nonce = secrets.token_hex(12)
        self._server_signature = b""

    def first(self) -> bytes:
        """The client-first-message; the user is the startup message's, as in PostgreSQL."""
        return f"n,,n=,r={self.nonce}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The client-final-message with our proof."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce), "the server answers another client's nonce"
        salted = _salted(self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = f"c=biws,r={fields['r']}"
        said = f"n=,r={self.nonce},{server_first.decode()},{without_proof}".encode()
        client_key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), said)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = _hmac(_hmac(salted, b"Server Key"), said)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """The server must know the password as well."""
        expected = b"v=" + base64.b64encode(self._server_signature)
        assert server_final.startswith(expected), "the server's signature is wrong"


def md5_response(user: str, password: str, salt: bytes) -> str:
    """PostgreSQL manual, "Authentication": concat('md5', md5(concat(md5(...), salt)))."""
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()
