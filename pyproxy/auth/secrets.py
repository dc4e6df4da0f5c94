"""Database credentials, and where they are kept.

A `Secret` is one user name with its password, as AWS Secrets Manager stores them (AU-10). A
`SecretStore` finds one by ARN or by name: `FileSecrets` in a YAML file, `EnvironmentSecrets` in
environment variables, `secrets_manager` in AWS. Stores block: `credentials` calls
them in threads, keeps what they said, and asks again from time to time.

No password leaves this room in a text: not by repr, and not in what a parser says about a line.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import yaml

from protocol.postgres.scram import Verifier
from pyproxy.config import SecretsConfig

# Secrets Manager appends a hyphen and six characters to a secret's name to make its ARN.
_ARN_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}$")
_NOT_IN_VARIABLES: Final = re.compile(r"[^A-Z0-9]")
VARIABLE_PREFIX: Final = "PYPROXY_SECRET_"


class SecretError(Exception):
    """A secret that can't be had; says which one and why, never what is in it."""


class Secret:
    """One user name and its password.

    Equal when both are; then the older object is the one to keep, with the verifier it has made.
    """

    __slots__ = ("_verifier", "password", "username")

    def __init__(self, username: str, password: str) -> None:
        self.username: Final = username
        self.password: Final = password
        self._verifier: Verifier | None = None

    @property
    def verifier(self) -> Verifier:
        """What SCRAM needs to know of the password, derived on first use.

        PBKDF2 takes milliseconds: once per secret, never per client. 4096 iterations whatever
        the database has (AU-20).
        """
        if self._verifier is None:
            self._verifier = Verifier.from_password(self.password)
        return self._verifier

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


class FileSecrets:
    """Secrets in a YAML file: `{<secret ARN or name>: {username: app, password: "..."}}`.

    The file is read again when it has changed, so that writing it is rotating. Values are taken
    literally: `${...}` is not looked up, it may be part of a password.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        # What the file said, and the state it was in; replaced as one, so that no lock is needed.
        self._read: tuple[tuple[int, ...], Mapping[str, object]] = ((), {})

    def fetch(self, name: str) -> Secret:
        """The secret under its ARN, or else under the name in it."""
        entries = self._entries()
        for key in names_of(name):
            if key in entries:
                return secret_of(entries[key], f"{self.path}: secret {key!r}")
        raise SecretError(f"{self.path} has no secret named {name!r}")

    def _entries(self) -> Mapping[str, object]:
        try:
            stat = self.path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read[0] != state:
                self._read = (state, self._parse(self.path.read_text("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretError(f"{self.path} can't be read: {why}") from None
        return self._read[1]

    def _parse(self, text: str) -> Mapping[str, object]:
        try:
            document: object = yaml.safe_load(text)
        except yaml.YAMLError as error:
            # Not the error's own text: PyYAML quotes the line, and the line has the password.
            mark = getattr(error, "problem_mark", None)
            place = f"{self.path}:{mark.line + 1}" if mark is not None else str(self.path)
            raise SecretError(f"{place} is not valid YAML") from None
        if not isinstance(document, dict):
            raise SecretError(
                f"{self.path} must map names of secrets to {{username: ..., password: ...}}"
            )
        return {str(key): value for key, value in document.items()}


class EnvironmentSecrets:
    """Secrets in environment variables, each with AWS's JSON as its value.

    The secret `app/db` is looked for in `PYPROXY_SECRET_APP_DB`: the name in capitals, every
    other character an underscore. Of an ARN the part after `:secret:` counts, with or without the
    six characters that Secrets Manager appends: `PYPROXY_SECRET_APP_DB='{"username": "app",
    "password": "..."}'`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment: Final = environment

    def fetch(self, name: str) -> Secret:
        """The secret in the first of its variables that is set."""
        variables = [variable_of(key) for key in names_of(name) if not key.startswith("arn:")]
        for variable in variables:
            if variable in self._environment:
                return parse_secret(self._environment[variable], f"variable {variable}")
        raise SecretError(f"secret {name!r} is not in the environment: set {variables[-1]}")


def open_store(
    config: SecretsConfig, *, region: str = "", environment: Mapping[str, str] = os.environ
) -> SecretStore:
    """The store that the configuration names; raises SecretError if it can't be used.

    `region` is for secrets that are named without an ARN. A relative file is relative to the
    configuration, which `config` has resolved.
    """
    if config.provider == "environment":
        return EnvironmentSecrets(environment)
    if config.provider == "aws":
        # Imported here: it stands on this module.
        from pyproxy.auth.secrets_manager import open_secrets_manager  # noqa: PLC0415

        return open_secrets_manager(config.endpoint_url, region, environment)
    return FileSecrets(Path(config.file))


def names_of(name: str) -> tuple[str, ...]:
    """What a secret may be filed under: its ARN, its name with AWS's suffix, its name."""
    _, arn, tail = name.partition(":secret:")
    if not (arn and name.startswith("arn:")):
        return (name,)
    return tuple(dict.fromkeys((name, tail, _ARN_SUFFIX.sub("", tail))))


def variable_of(name: str) -> str:
    """The environment variable of a secret's name."""
    return VARIABLE_PREFIX + _NOT_IN_VARIABLES.sub("_", name.upper())


def parse_secret(text: str, where: str) -> Secret:
    """A secret from the JSON that Secrets Manager keeps (AU-10); `where` begins the error."""
    try:
        document: object = json.loads(text)
    except ValueError:
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
    return value
