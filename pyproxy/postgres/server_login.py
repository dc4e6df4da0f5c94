"""Logging in at a target as one of its users: with which proof, and whether it has the right role.

The secret's password, once more with a fresh one where the database refuses it (AU-11); without a
secret a token of the proxy's own (AU-50).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyproxy.auth.credentials import Credentials
from pyproxy.auth.role import NoRoleError, Role
from pyproxy.metrics.counters import TargetCounters
from pyproxy.pinning.audit import LOOK
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Connected, Proof, Refused, connect
from pyproxy.targets.target import READ_ONLY, READ_WRITE, Target

# The database does not accept our password: the secret may have been rotated (AU-11).
_PASSWORD_REFUSED: Final = frozenset({"28P01", "28000"})


@dataclass(frozen=True)
class ServerSettings:
    """What new server connections are like."""

    max_connections_percent: int = 100
    max_idle_connections_percent: int = 50
    connection_borrow_timeout: float = 120.0
    init_query: str = ""
    statement_limit: int = 500
    role: Role | None = None
    """Signs tokens for users without a secret, by default_auth_scheme IAM_AUTH (AU-50)."""
    leak_guard: bool = False


class WrongRoleError(ConnectionAbortedError):
    """A database is well, and not what is asked of it: a standby for a writer, or the reverse."""


class ServerLogin:
    """The door of one target."""

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        tls_context: Callable[[Target], ssl.SSLContext | None],
    ) -> None:
        self._target: Final = target
        self._credentials: Final = credentials
        self._tls_context: Final = tls_context

    async def connect(
        self, key: PoolKey, settings: ServerSettings, counters: TargetCounters
    ) -> Connected:
        """A connection for this user and database; raises what `connect` does."""
        user = key.user
        credential = self._credentials.lookup(user)
        if credential is None and settings.role and not self._credentials.knows(user):
            proof = await self._token(user, settings.role)
            return await self._prove(key, proof, settings, counters)
        while credential is not None:
            secret = credential.secret
            try:
                proof = Proof(secret.password, secret.salted)
                return await self._prove(key, proof, settings, counters)
            except Refused as refused:
                if refused.sqlstate not in _PASSWORD_REFUSED:
                    raise
                credential = await self._credentials.reread(user, secret)
                if credential is None:
                    raise
                # That attempt has failed, and here comes another one.
                counters.setup_failed += 1
                counters.requests += 1
        raise Refused.with_message(self._credentials.why_missing(user))

    async def _token(self, user: str, role: Role) -> Proof:
        """A token of the proxy's own, for the database."""
        config = self._target.config
        try:
            text = await role.token(config.host, config.port, user)
        except NoRoleError as error:
            raise Refused.with_message(str(error)) from None
        return Proof(text, is_token=True)

    async def _prove(
        self, key: PoolKey, proof: Proof, settings: ServerSettings, counters: TargetCounters
    ) -> Connected:
        return await connect(
            self._target,
            key,
            proof,
            context=self._tls_context(self._target),
            init_query=settings.init_query,
            look=LOOK if settings.leak_guard else "",
            counters=counters,
        )


def require_role(connected: Connected, role: str) -> None:
    """Close it and raise WrongRoleError unless the database has shown the role.

    The fence of each connection (lessons 26, 27): what the monitor has seen is a moment old.
    """
    limits = connected.limits
    why = ""
    if role == READ_WRITE and (limits.in_recovery or limits.refuses_writes):
        why = "it is a standby" if limits.in_recovery else "it is set to be read-only"
    elif role == READ_ONLY and not limits.in_recovery:
        why = "it is no standby"
    if why:
        connected.stream.transport.close()
        raise WrongRoleError(why)
