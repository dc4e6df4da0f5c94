"""The MD5 password exchange: AuthenticationMD5Password and its answer.

PostgreSQL manual, "Start-up: AuthenticationMD5Password". Deprecated since PostgreSQL 18, offered
by RDS Proxy as POSTGRES_MD5.
"""

from __future__ import annotations

import hashlib


def md5_password(user: bytes, password: bytes, salt: bytes) -> bytes:
    """What a PasswordMessage carries: `md5` and 32 hexadecimal digits.

    Compare it with `hmac.compare_digest`.
    """
    return b"md5" + _hex(_hex(password + user) + salt)


def _hex(data: bytes) -> bytes:
    # Not for security: the protocol asks for it, and FIPS builds allow it under this name only.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode("ascii")
