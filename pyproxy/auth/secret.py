"""One user name and its password, as AWS Secrets Manager stores them (AU-10).

No password leaves this room in a text: not by repr, and not in what a parser says about a line.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from typing import Final, Protocol

from protocol.postgres.scram import Verifier, salted_password

# Databases have one salt for each user; a promoted standby has the same.
_SALTS_KEPT: Final = 8


class SecretError(Exception):
    """A secret that can't be had; says which one and why, never what is in it.

    `as_on_aws` is the same in RDS Proxy's words, where they are known (L-14).
    """

    def __init__(self, message: str, as_on_aws: str = "") -> None:
        super().__init__(message)
        self.as_on_aws = as_on_aws


class Secret:
    """One user name and its password.

    Equal when both are; then the older object is the one to keep, with the verifier it has made.
    """

    __slots__ = ("_salted", "_salting", "_verifier", "password", "username")

    def __init__(self, username: str, password: str) -> None:
        self.username: Final = username
        self.password: Final = password
        self._verifier: Verifier | None = None
        # PBKDF2's results by the database's salt and iterations.
        self._salted: dict[tuple[bytes, bytes, int], bytes] = {}
        self._salting: Final = threading.Lock()

    def salted(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """`scram.salted_password`, remembered: a storm of new connections to a database pays once.

        May be called in threads; those that come at the same time wait for the first.
        """
        key = (password, salt, iterations)
        with self._salting:
            found = self._salted.get(key)
            if found is None:
                found = salted_password(password, salt, iterations)
                if len(self._salted) >= _SALTS_KEPT:
                    self._salted = {}
                self._salted[key] = found
        return found

    @property
    def verifier(self) -> Verifier:
        """What SCRAM needs to know of the password, derived on first use.

        PBKDF2 takes milliseconds: once per secret, never per client. 4096 iterations whatever
        the database has (AU-20).
        """
        if self._verifier is None:
            self._verifier = Verifier.from_password(self.password)
        return self._verifier

    @classmethod
    def stranger(cls, user: str, key: bytes) -> Secret:
        """One that nobody knows, for a user that doesn't exist; `key` decides on the salt."""
        secret = cls(user, secrets.token_hex())
        secret._verifier = Verifier.mock(user, key)
        return secret

    def derive(self) -> None:
        """Make the verifier now: takes milliseconds, in a thread."""
        _ = self.verifier

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        same_password = hmac.compare_digest(self.password.encode(), other.password.encode())
        return self.username == other.username and same_password

    def __hash__(self) -> int:
        return hash(self.username)

    def __repr__(self) -> str:
        return f"<Secret of {self.username!r}>"


class SecretStore(Protocol):
    """Where secrets are kept."""

    def fetch(self, name: str) -> Secret:
        """The current version of the secret with this ARN or name. Blocks.

        Raises SecretError. Must be safe to call from several threads at once.
        """
        ...


def parse_secret(text: str, where: str) -> Secret:
    """A secret from the JSON that Secrets Manager keeps (AU-10); `where` begins the error."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        raise SecretError(
            f'{where} must be JSON: {{"username": "...", "password": "..."}}'
        ) from None
    return secret_of(document, where)


def secret_of(document: object, where: str) -> Secret:
    """A secret from its keys; others than `username` and `password` are ignored (AU-10)."""
    if not isinstance(document, Mapping):
        raise SecretError(f"{where} must have the keys username and password")
    return Secret(_text(document, "username", where), _text(document, "password", where))


def _text(document: Mapping[object, object], key: str, where: str) -> str:
    value = document.get(key)
    if value is None:
        raise SecretError(f"{where} has no {key}; the key is written in lower case")
    if not isinstance(value, str):
        raise SecretError(f"{where}: {key} must be a string; put it in quotes")
    if not value or "\0" in value:
        raise SecretError(f"{where}: {key} is empty or has a NUL character")
    # JSON's \ud800 is half of a character, which cannot be sent to anybody.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise SecretError(f"{where}: {key} is no text; a \\u without its other half is in it")
    return value
