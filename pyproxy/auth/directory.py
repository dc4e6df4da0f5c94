"""The access keys that may sign IAM tokens, and what each may do.

AWS never tells the secret of an access key, so the proxy has a directory of its own: the keys of
the configuration (`StaticKeys`), and, for a test bench whose IAM is a moto server, the keys that
exist there (`moto_keys`): users' keys and those that `sts:AssumeRole` handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from pyproxy.auth.policy import Policy, parse
from pyproxy.config import AccessKeyConfig


class AccessKey(NamedTuple):
    """An access key with its secret and its permissions."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    """Of temporary credentials; empty for a user's key."""

    policies: tuple[Policy, ...]
    expires: datetime | None = None
    """When temporary credentials end, in UTC."""

    boundaries: tuple[Policy, ...] = ()
    """Session policies: each of them must allow it, too."""

    def __repr__(self) -> str:
        return f"<AccessKey {self.access_key_id}>"


class KeyDirectory(Protocol):
    """Where `iam.verify` looks for the signer of a token."""

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id, or None. Doesn't block."""
        ...


class StaticKeys:
    """The keys of the configuration."""

    def __init__(self, keys: Iterable[AccessKey]) -> None:
        self._keys: Final[Mapping[str, AccessKey]] = {key.access_key_id: key for key in keys}

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id, or None."""
        return self._keys.get(access_key_id)


class Directories:
    """Several directories, asked in order."""

    def __init__(self, directories: Iterable[KeyDirectory]) -> None:
        self._directories: Final = tuple(directories)

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id in the first directory that has it, or None."""
        for directory in self._directories:
            key = directory.find(access_key_id)
            if key is not None:
                return key
        return None


def configured_keys(entries: Iterable[AccessKeyConfig]) -> StaticKeys:
    """The directory of `iam.access_keys`; raises PolicyError for a policy that IAM would refuse."""
    return StaticKeys(
        AccessKey(
            entry.access_key_id,
            entry.secret_access_key,
            entry.session_token,
            tuple(parse(document) for document in entry.policies),
        )
        for entry in entries
    )
