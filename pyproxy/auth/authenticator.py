"""Which method a client must use, and the beginning of its exchange.

    authenticator = Authenticator(config.proxy, credentials, keys)
    exchange = authenticator.begin(user, names=names, tls=True)

| the user has | iam_auth | proxy.default_auth_scheme | the client shows |
| --- | --- | --- | --- |
| a secret | DISABLED | any | its password, by MD5 or SCRAM as the secret's entry says |
| a secret | REQUIRED | any | an IAM token, over TLS |
| none, or two | | NONE | nothing: E-PG-02 |
| none | | IAM_AUTH | an IAM token, over TLS |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pyproxy import errors
from pyproxy.auth import METHODS, iam_login, password
from pyproxy.auth.access_key import KeyDirectory
from pyproxy.auth.credentials import Credential, Credentials
from pyproxy.auth.exchange import Exchange, Login, Refusal
from pyproxy.auth.iam import Expected, dbuser_arn
from pyproxy.config import ProxyConfig

# AU-03: what a user logs in with when the entry doesn't say.
_DEFAULT_PASSWORD_METHOD: Final = "POSTGRES_SCRAM_SHA_256"  # noqa: S105 - a method's name


class Authenticator:
    """Lets clients in, or not."""

    def __init__(
        self,
        config: ProxyConfig,
        credentials: Credentials,
        keys: KeyDirectory,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # Both may be replaced by a reload.
        self.config = config
        self.keys = keys
        self._credentials: Final = credentials
        self._clock: Final = clock

    def begin(
        self,
        user: str,
        *,
        names: frozenset[str],
        tls: bool,
        channel_binding: tuple[str, bytes] | None = None,
    ) -> Exchange:
        """The exchange that `user` has to go through.

        `names` are what clients may call this endpoint (`iam.endpoint_names`). Raises Refusal when
        the user can't log in, or not without TLS. Who ends the connection instead of answering
        has not failed: psql does so to ask for a password.
        """
        credential = self._credentials.lookup(user)
        by_default = self.config.default_auth_scheme == "IAM_AUTH"
        # A user in two secrets is ambiguous whatever the default is (AU-15).
        if credential is None and not (by_default and not self._credentials.knows(user)):
            reason = self._credentials.why_missing(user)
            raise Refusal(errors.no_credentials(user), password.NAME, reason)
        method = _method(credential)
        if method == "IAM" and not tls:
            # E-PG-01 and E-PG-05 are two texts for one condition (AU-32).
            error = errors.iam_needs_tls() if credential else errors.iam_needs_tls_by_default()
            raise Refusal(error, iam_login.NAME, "IAM authentication needs TLS.")
        return METHODS[method](
            Login(
                user,
                None if credential is None else credential.secret,
                self._expected(user, names),
                self.keys,
                self._clock,
                channel_binding,
                by_default,
            )
        )

    def _expected(self, user: str, names: frozenset[str]) -> Expected:
        config = self.config
        resource = dbuser_arn(config.region, config.account_id, config.resource_id, user)
        return Expected(user, names, config.region, resource)


def _method(credential: Credential | None) -> str:
    if credential is None or credential.iam_auth == "REQUIRED":
        return "IAM"
    return credential.client_password_auth_type or _DEFAULT_PASSWORD_METHOD
