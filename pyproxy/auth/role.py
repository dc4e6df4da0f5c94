"""The proxy's own identity: with it, it signs tokens for databases (AU-50).

With `default_auth_scheme: IAM_AUTH` a user without a secret logs in to the database by IAM as well;
the client's token is for the proxy, so the proxy makes one of its own for the database. In AWS it
has an IAM role for that; here `iam.role_credentials`, or else AWS's own chain: the environment, and
through boto3 (the extra `aws`) profiles, SSO, instance and container roles.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from pyproxy.auth import token
from pyproxy.auth.sigv4 import SigningCredentials
from pyproxy.config import RoleCredentialsConfig


class NoRoleError(Exception):
    """The proxy has no credentials to sign with; says what to do."""


class _BotoCredentials(Protocol):
    """As much of boto3's credentials as is used."""

    access_key: str
    secret_key: str
    token: str | None


class Role:
    """Signs tokens for databases."""

    def __init__(
        self,
        config: RoleCredentialsConfig,
        region: str,
        *,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config: Final = config
        self._region: Final = region
        self._environment: Final = environment
        self._clock: Final = clock

    async def token(self, host: str, port: int, user: str) -> str:
        """A token for `user` at a database; raises NoRoleError."""
        own = self._config
        credentials = (
            SigningCredentials(own.access_key_id, own.secret_access_key, own.session_token)
            if own.access_key_id
            else await asyncio.to_thread(self._by_chain)
        )
        return token.generate(
            credentials, host=host, port=port, user=user, region=self._region, now=self._clock()
        )

    def _by_chain(self) -> SigningCredentials:
        """AWS's credential chain, or without boto3 its first link."""
        if importlib.util.find_spec("boto3") is not None:
            return _from_boto3()
        environment = self._environment
        credentials = SigningCredentials(
            environment.get("AWS_ACCESS_KEY_ID", ""),
            environment.get("AWS_SECRET_ACCESS_KEY", ""),
            environment.get("AWS_SESSION_TOKEN", ""),
        )
        if not (credentials.access_key_id and credentials.secret_access_key):
            raise NoRoleError(
                "the proxy has no credentials to sign a token for the database with: give"
                " iam.role_credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return credentials


def _from_boto3() -> SigningCredentials:
    # A session each time: profiles and roles are resolved and refreshed by it, and an instance's
    # credentials change every few hours.
    import boto3  # noqa: PLC0415 - the extra
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        found = boto3.session.Session().get_credentials()
        frozen: _BotoCredentials | None = found.get_frozen_credentials() if found else None
    except (BotoCoreError, ClientError) as error:
        # The latter of a role that may not be assumed.
        raise NoRoleError(f"AWS's credential chain failed: {error}") from None
    if frozen is None:
        raise NoRoleError(
            "AWS's credential chain has no credentials to sign a token for the database with;"
            " give iam.role_credentials"
        )
    return SigningCredentials(frozen.access_key, frozen.secret_key, frozen.token or "")
