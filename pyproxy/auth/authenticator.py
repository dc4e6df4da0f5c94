"""Which method a client must use, and the beginning of its exchange.

    authenticator = Authenticator(config.proxy, credentials, keys)
    exchange = authenticator.begin(user, names=names, tls=True)

| the user has | iam_auth | proxy.default_auth_scheme | the client shows |
| --- | --- | --- | --- |
| a secret | DISABLED | any | its password, by MD5 or SCRAM as the secret's entry says |
| a secret | REQUIRED | any | an IAM token, over TLS |
| none, or two | | NONE | what others show; whatever it is, E-PG-02 |
| none | | IAM_AUTH | an IAM token, over TLS |

The client of a user without a secret is asked as the others are, and told afterwards: neither the
messages nor the time until then say whether a user exists. The text of E-PG-02 does; it is AWS's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pyproxy import errors
from pyproxy.auth import METHODS, iam_login, password
from pyproxy.auth.access_key import KeyDirectory
from pyproxy.auth.credentials import Credential, Credentials
from pyproxy.auth.exchange import Exchange, Login, Refusal
from pyproxy.auth.iam import Expected, dbuser_arn
from pyproxy.auth.secret import Secret
from pyproxy.auth.stranger import StrangerExchange
from pyproxy.config import ProxyConfig
from pyproxy.rate_limit import RateLimit

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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # Both may be replaced by a reload.
        self.config = config
        self.keys = keys
        self._credentials: Final = credentials
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._iam_rate: Final = RateLimit()
        # What the salts of users that don't exist are made from: asked twice, they are the same.
        self._stranger_key: Final = os.urandom(32)

    def begin(
        self,
        user: str,
        *,
        names: frozenset[str],
        tls: bool,
        channel_binding: tuple[str, bytes] | None = None,
    ) -> Exchange:
        """The exchange that `user` has to go through.

        `names` are what clients may call this endpoint (`addresses.endpoint_names`). Raises Refusal
        when it needs TLS and there is none, or when too many come at once. Who ends the connection
        instead of answering has not failed: psql does so to ask for a password.
        """
        credential = self._credentials.lookup(user)
        by_default = self.config.default_auth_scheme == "IAM_AUTH"
        # A user in two secrets is ambiguous whatever the default is (AU-15).
        if credential is None and not (by_default and not self._credentials.knows(user)):
            return self._stranger(user, tls, channel_binding)
        method = _method(credential)
        if method == "IAM":
            self._admit_to_iam(tls, by_default=credential is None)
        secret = None if credential is None else credential.secret
        return METHODS[method](self._login(user, secret, names, channel_binding))

    def _admit_to_iam(self, tls: bool, *, by_default: bool) -> None:
        if not tls:
            # E-PG-01 and E-PG-05 are two texts for one condition (AU-32).
            error = errors.iam_needs_tls_by_default() if by_default else errors.iam_needs_tls()
            raise Refusal(error, iam_login.NAME, "IAM authentication needs TLS.")
        limit = self.config.iam_connection_rate_limit
        if not self._iam_rate.admit(limit, self._monotonic()):
            reason = f"More than {limit} clients a second log in by IAM."
            raise Refusal(errors.iam_rate_exceeded(), iam_login.NAME, reason)

    def _stranger(
        self, user: str, tls: bool, channel_binding: tuple[str, bytes] | None
    ) -> Exchange:
        """The exchange of a user that has no secret, or two (AU-15, AU-16)."""
        why = self._credentials.why_missing(user)
        methods = {
            _method(self._credentials.lookup(known)) for known in self._credentials.users()
        } or {_DEFAULT_PASSWORD_METHOD}
        method = next((each for each in METHODS if each in methods), _DEFAULT_PASSWORD_METHOD)
        if method == "IAM" and not tls:
            # Nothing can be asked in clear where everybody has to show a token.
            raise Refusal(errors.no_credentials(user), password.NAME, why)
        secret = Secret.stranger(user, self._stranger_key)
        login = self._login(user, secret, frozenset(), channel_binding)
        return StrangerExchange(METHODS[method](login), user, why)

    def _login(
        self,
        user: str,
        secret: Secret | None,
        names: frozenset[str],
        channel_binding: tuple[str, bytes] | None,
    ) -> Login:
        return Login(
            user,
            secret,
            self._expected(user, names),
            self.keys,
            self._clock,
            channel_binding,
            self.config.default_auth_scheme == "IAM_AUTH",
        )

    def _expected(self, user: str, names: frozenset[str]) -> Expected:
        config = self.config
        resource = dbuser_arn(config.region, config.account_id, config.resource_id, user)
        return Expected(user, names, config.region, resource)


def _method(credential: Credential | None) -> str:
    if credential is None or credential.iam_auth == "REQUIRED":
        return "IAM"
    return credential.client_password_auth_type or _DEFAULT_PASSWORD_METHOD
