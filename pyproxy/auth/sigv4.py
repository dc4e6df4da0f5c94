"""AWS Signature Version 4: the canonical request, the signing key, the signature.

Pure. It makes and checks the presigned request that an IAM token is (AU-33), and signs a request
by header, as calls to AWS need it. Source: AWS General Reference, "Signature Version 4 signing
process"; botocore, `auth.SigV4QueryAuth`, is the oracle of the tests.

    query = presigned_query(credentials, scope, host="db:5432", parameters=[...], now=...)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"
EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()
"""The hash of an empty body."""

# RFC 3986's unreserved characters; quote() adds letters and digits.
_UNRESERVED: Final = "-_.~"

Parameter = tuple[str | bytes, str | bytes]
"""Name and value of a query parameter, not escaped; bytes where it need not be UTF-8."""


class SigningCredentials(NamedTuple):
    """What a request is signed with."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return f"<SigningCredentials {self.access_key_id}>"


class Scope(NamedTuple):
    """What a signature is good for: a day, a region and a service."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def escape(value: str | bytes) -> str:
    """Percent-encode all but RFC 3986's unreserved characters, the slash included."""
    return quote(value, safe=_UNRESERVED)


def canonical_query(parameters: Iterable[Parameter]) -> str:
    """The parameters escaped and sorted: by name, then by value."""
    return "&".join(
        f"{name}={value}" for name, value in sorted((escape(n), escape(v)) for n, v in parameters)
    )


def canonical_request(
    method: str, path: str, query: str, headers: Iterable[tuple[str, str]], body_hash: str
) -> str:
    """The request as both sides write it; `headers` have lower-case names, sorted."""
    listed = list(headers)
    lines = [f"{name}:{value}" for name, value in listed]
    names = ";".join(name for name, _ in listed)
    return "\n".join((method, path, query, *lines, "", names, body_hash))


def signing_key(secret_access_key: str, scope: Scope) -> bytes:
    """The key of one day, region and service, derived from the secret access key."""
    key = b"AWS4" + secret_access_key.encode()
    for part in (scope.date, scope.region, scope.service, TERMINATOR):
        key = _hmac(key, part)
    return key


def signature(secret_access_key: str, scope: Scope, timestamp: str, request: str) -> str:
    """The signature of a canonical request, 64 hexadecimal digits."""
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join((ALGORITHM, timestamp, str(scope), hashed))
    return _hmac(signing_key(secret_access_key, scope), text).hex()


def query_signature(
    secret_access_key: str,
    scope: Scope,
    timestamp: str,
    host: str,
    parameters: Iterable[Parameter],
) -> str:
    """The signature of `GET https://<host>/` with these parameters, all but X-Amz-Signature."""
    request = canonical_request(
        "GET", "/", canonical_query(parameters), [("host", host)], EMPTY_HASH
    )
    return signature(secret_access_key, scope, timestamp, request)


def presigned_query(
    credentials: SigningCredentials,
    *,
    region: str,
    service: str,
    host: str,
    parameters: Iterable[tuple[str, str]],
    expires: int,
    now: datetime,
) -> str:
    """The query of a presigned `GET https://<host>/`, in botocore's order.

    `now` is in UTC, `expires` in seconds. The host is signed in lower case, as botocore signs it.
    """
    timestamp = now.strftime(TIME_FORMAT)
    scope = Scope(timestamp[:8], region, service)
    everything = [
        *parameters,
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{credentials.access_key_id}/{scope}"),
        ("X-Amz-Date", timestamp),
        ("X-Amz-Expires", str(expires)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if credentials.session_token:
        everything.append(("X-Amz-Security-Token", credentials.session_token))
    signed = query_signature(
        credentials.secret_access_key, scope, timestamp, host.lower(), everything
    )
    everything.append(("X-Amz-Signature", signed))
    return "&".join(f"{escape(name)}={escape(value)}" for name, value in everything)


def signed_headers(
    credentials: SigningCredentials,
    *,
    region: str,
    service: str,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    now: datetime,
) -> dict[str, str]:
    """`headers` (Host among them) and those that sign them, names in lower case.

    For requests without a query. `path` is escaped already.
    """
    timestamp = now.strftime(TIME_FORMAT)
    scope = Scope(timestamp[:8], region, service)
    signed = {name.lower(): " ".join(value.split()) for name, value in headers}
    signed["x-amz-date"] = timestamp
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    request = canonical_request(
        method, path, "", sorted(signed.items()), hashlib.sha256(body).hexdigest()
    )
    result = signature(credentials.secret_access_key, scope, timestamp, request)
    names = ";".join(sorted(signed))
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope},"
        f" SignedHeaders={names}, Signature={result}"
    )
    return signed


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
