"""Who may log in, and how they prove it.

To add a method of authentication: write an `exchange.Exchange` and enter it in `METHODS`.

- `authenticator`   which method a client must use; begins its exchange
- `exchange`        what all methods have in common: Challenge, Accepted, Refusal
- `password`        SCRAM-SHA-256 and MD5
- `stranger`        for users that the proxy has no credentials for
- `iam_login`       an IAM token as the password
- `iam`, `token`, `sigv4`   is a token good? what does it say? how is it signed?
- `policy`, `wildcard`      would IAM allow it?
- `directory`, `access_key`, `moto_keys`   who may sign tokens
- `role`            the proxy's own identity: signs tokens for databases
- `credentials`     the users, made from the secrets; rotation
- `secret`, `secrets`, `secrets_manager`   a user's password, and where it is kept
- `certificates`, `fingerprint`   TLS: what we show to clients and ask of databases
- `development_ca`, `certificate_maker`, `cryptography_maker`, `openssl_maker`   a certificate where
  there is none
- `token_command`   `pyproxy token`

Nothing here waits, but for `credentials` and the places where secrets are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pyproxy.auth.exchange import Exchange, Login
from pyproxy.auth.iam_login import TokenExchange
from pyproxy.auth.password import Md5Exchange, ScramExchange

METHODS: Final[Mapping[str, Callable[[Login], Exchange]]] = {
    # The first two are values of AWS's client_password_auth_type (AU-03).
    "POSTGRES_SCRAM_SHA_256": ScramExchange,
    "POSTGRES_MD5": Md5Exchange,
    "IAM": TokenExchange,
}
