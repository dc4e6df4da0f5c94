"""An access key of AWS, and what a directory of them can do."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from pyproxy.auth.policy import Policy


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

    async def refresh(self) -> list[str]:
        """Look for new keys; returns what an operator wants to know. Never raises."""
        ...
