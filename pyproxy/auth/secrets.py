"""Where secrets are kept: a file, the environment, Secrets Manager.

A `SecretStore` finds a `Secret` by ARN or by name: `FileSecrets` in a YAML file,
`EnvironmentSecrets` in environment variables, `secrets_manager` in AWS; `open_store` opens the one
that the configuration names. Stores block: `credentials` calls them in threads, keeps what they
said, and asks again from time to time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from pyproxy.auth.secret import Secret, SecretError, SecretStore, parse_secret, secret_of
from pyproxy.auth.secrets_manager import open_secrets_manager
from pyproxy.config import SecretsConfig

# Secrets Manager appends a hyphen and six characters to a secret's name to make its ARN.
_ARN_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}$")
_NOT_IN_VARIABLES: Final = re.compile(r"[^A-Z0-9]")
VARIABLE_PREFIX: Final = "PYPROXY_SECRET_"


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
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            # 2024-13-45 is a date to PyYAML, and 0x_ a number, until they turn out to be none.
            raise SecretError(f"{self.path} is not valid YAML; put passwords in quotes") from None
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
