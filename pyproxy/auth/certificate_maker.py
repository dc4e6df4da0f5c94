"""What makes certificates: the interface of `cryptography_maker` and `openssl_maker`."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

AUTHORITY_DAYS: Final = 3650
# Below the 398 days that platforms accept of a server's certificate.
SERVER_DAYS: Final = 397


class Pair(NamedTuple):
    """A certificate and its private key, in PEM."""

    certificate: bytes
    private_key: bytes


class Maker(Protocol):
    """Something that makes certificates."""

    def authority(self) -> Pair:
        """A new authority, valid for AUTHORITY_DAYS."""
        ...

    def server(self, authority: Pair, names: tuple[str, ...]) -> Pair:
        """A server's certificate for host names and addresses, valid for SERVER_DAYS."""
        ...
