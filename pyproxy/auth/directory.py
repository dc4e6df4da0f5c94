"""The access keys that may sign IAM tokens, and what each may do.

AWS never tells the secret of an access key, so the proxy has a directory of its own: the keys of
the configuration (`StaticKeys`), and, for a test bench whose IAM is a moto server, the keys that
exist there (`moto_keys`): users' keys and those that `sts:AssumeRole` handed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from pyproxy.auth.access_key import AccessKey, KeyDirectory
from pyproxy.auth.moto_keys import MotoKeys
from pyproxy.auth.policy import parse
from pyproxy.config import AccessKeyConfig, IamConfig


class StaticKeys:
    """The keys of the configuration."""

    def __init__(self, keys: Iterable[AccessKey]) -> None:
        self._keys: Final[Mapping[str, AccessKey]] = {key.access_key_id: key for key in keys}

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id, or None."""
        return self._keys.get(access_key_id)

    async def refresh(self) -> list[str]:
        """Nothing: the configuration changes by a reload."""
        return []


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

    async def refresh(self) -> list[str]:
        """Look for new keys in each."""
        told = await asyncio.gather(*(directory.refresh() for directory in self._directories))
        return [text for texts in told for text in texts]


def open_directory(config: IamConfig) -> KeyDirectory:
    """The directory that the configuration names; call its refresh() at the start and by a timer.

    Raises PolicyError for a policy that IAM would refuse.
    """
    static = configured_keys(config.access_keys)
    if not config.endpoint_url:
        return static
    return Directories([static, MotoKeys(config.endpoint_url)])


def configured_keys(entries: Iterable[AccessKeyConfig]) -> StaticKeys:
    """The keys of `iam.access_keys`; raises PolicyError for a policy that IAM would refuse."""
    return StaticKeys(
        AccessKey(
            entry.access_key_id,
            entry.secret_access_key,
            entry.session_token,
            tuple(parse(document) for document in entry.policies),
        )
        for entry in entries
    )
