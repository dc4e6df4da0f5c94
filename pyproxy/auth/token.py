"""An IAM authentication token taken apart (AU-33).

A token is a presigned request without its scheme: `host:port/?Action=connect&DBUser=...`. Only its
shape is judged here; what it says is `iam`'s business. Texts of TokenError go to the operator:
they quote names from the token, never a signature, and nothing at all of what is no token, for
that may be a password.

SDKs differ: the order of the parameters is anybody's, and Go's leaves out the slash before the
question mark.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from pyproxy import addresses
from pyproxy.auth import sigv4

SERVICE: Final = "rds-db"
ACTION: Final = "connect"
LIFETIME: Final = 900
"""Seconds that a token lives (AU-36), whatever it claims."""

_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_EXPIRES: Final = re.compile(r"[0-9]{1,6}")
_SCOPE_PARTS: Final = 5
_LONGEST_SHOWN: Final = 120


class TokenError(ValueError):
    """Something that is no token, or not a complete one."""


class Token(NamedTuple):
    """What a token says; nothing of it is proven."""

    host: str
    """`host:port` as written; signatures are over this or its lower case."""

    user: str
    access_key_id: str
    scope: sigv4.Scope
    timestamp: str
    signed_at: datetime
    expires: int
    session_token: str
    signature: str
    parameters: tuple[tuple[bytes, bytes], ...]
    """Everything that is signed: all but the signature, unescaped."""

    def __repr__(self) -> str:
        return f"<Token of {self.access_key_id} for {self.user!r} at {self.host!r}>"


def looks_like_token(text: str) -> bool:
    """Was this meant to be a token rather than a password?"""
    return "X-Amz-Signature=" in text or "Action=connect" in text


def generate(
    credentials: sigv4.SigningCredentials,
    *,
    host: str,
    port: int,
    user: str,
    region: str,
    now: datetime,
) -> str:
    """A token, letter for letter as `aws rds generate-db-auth-token` prints it.

    `now` is in UTC. An IPv6 address gets its brackets here.
    """
    netloc = addresses.join(host, port)
    query = sigv4.presigned_query(
        credentials,
        region=region,
        service=SERVICE,
        host=netloc,
        parameters=[("Action", ACTION), ("DBUser", user)],
        expires=LIFETIME,
        now=now,
    )
    return f"{netloc}/?{query}"


def parse(text: str) -> Token:
    """Take a token apart; raises TokenError."""
    netloc, question_mark, query = text.partition("?")
    netloc = netloc.removesuffix("/")
    if not question_mark or "/" in netloc or not looks_like_token(text):
        raise TokenError("What the client sent is not an IAM token")
    fields = _fields(query)
    if (action := _take(fields, "Action")) != ACTION:
        raise TokenError(f"The token's Action is {shown(action)}, not {ACTION!r}")
    if (algorithm := _take(fields, "X-Amz-Algorithm")) != sigv4.ALGORITHM:
        raise TokenError(f"The token's X-Amz-Algorithm is {shown(algorithm)}")
    # A signature that covers other headers than Host can't be checked: there are none.
    if (headers := _take(fields, "X-Amz-SignedHeaders")) != "host":
        raise TokenError(f"The token's X-Amz-SignedHeaders is {shown(headers)}, not 'host'")
    access_key_id, scope = _credential(_take(fields, "X-Amz-Credential"))
    timestamp = _take(fields, "X-Amz-Date")
    return Token(
        host=netloc,
        user=_take(fields, "DBUser"),
        access_key_id=access_key_id,
        scope=scope,
        timestamp=timestamp,
        signed_at=_time(timestamp, scope),
        expires=_expires(_take(fields, "X-Amz-Expires")),
        session_token=_optional(fields, "X-Amz-Security-Token"),
        signature=_signature(_take(fields, "X-Amz-Signature")),
        parameters=tuple(
            (name, value) for name, value in fields.items() if name != b"X-Amz-Signature"
        ),
    )


def shown(text: str) -> str:
    """A name from a token as a log line may have it: escaped, and not without end."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def _fields(query: str) -> dict[bytes, bytes]:
    """The parameters, unescaped.

    The canonical request is rebuilt from these very values: what was read is what was signed. A
    parameter that stands there twice would be read by one and signed by the other.
    """
    fields: dict[bytes, bytes] = {}
    for item in query.split("&"):
        name, _, value = item.partition("=")
        key = unquote_to_bytes(name)
        if key in fields:
            raise TokenError(f"The token has {shown(name)} more than once")
        fields[key] = unquote_to_bytes(value)
    return fields


def _take(fields: dict[bytes, bytes], name: str) -> str:
    value = _optional(fields, name)
    if not value:
        raise TokenError(f"The token has no {name}; it may have been cut off")
    return value


def _optional(fields: dict[bytes, bytes], name: str) -> str:
    try:
        return fields.get(name.encode(), b"").decode()
    except UnicodeDecodeError:
        raise TokenError(f"The token's {name} is not UTF-8") from None


def _credential(value: str) -> tuple[str, sigv4.Scope]:
    parts = value.split("/")
    if len(parts) != _SCOPE_PARTS or parts[-1] != sigv4.TERMINATOR or not parts[0]:
        raise TokenError(f"The token's X-Amz-Credential is malformed: {shown(value)}")
    access_key_id, date, region, service, _ = parts
    if service != SERVICE:
        raise TokenError(f"The token is for the service {shown(service)}, not {SERVICE!r}")
    return access_key_id, sigv4.Scope(date, region, service)


def _time(timestamp: str, scope: sigv4.Scope) -> datetime:
    try:
        if not _TIMESTAMP.fullmatch(timestamp):
            raise ValueError
        moment = datetime.strptime(timestamp, sigv4.TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise TokenError(f"The token's X-Amz-Date is malformed: {shown(timestamp)}") from None
    # The signing key is of one day; AWS refuses a scope of another day than the request's.
    if scope.date != timestamp[:8]:
        raise TokenError("The token's X-Amz-Date is not on the day of its X-Amz-Credential")
    return moment


def _expires(value: str) -> int:
    if not _EXPIRES.fullmatch(value) or int(value) == 0:
        raise TokenError(f"The token's X-Amz-Expires is {shown(value)}, not a number of seconds")
    return int(value)


def _signature(value: str) -> str:
    if not _SIGNATURE.fullmatch(value):
        raise TokenError("The token's X-Amz-Signature is not complete; it may have been cut off")
    return value
