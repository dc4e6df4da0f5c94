"""Is this IAM token good for this login?

Pure: a token, what is expected of it, the access keys and the time make a `Decision`. The client
learns yes or no, in AWS's words; the operator learns which of the checks failed and by how much.

AU-30 to AU-42. The checks come in this order, the cheap and telling ones first: shape, service,
action, user, host and port, region, age, key, session token, signature, policy.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pyproxy.auth import policy, sigv4
from pyproxy.auth.access_key import AccessKey, KeyDirectory
from pyproxy.auth.token import LIFETIME, Token, TokenError, parse, shown

CLOCK_SKEW: Final = 300
"""Seconds that a token may come from the future: what AWS grants to a client's clock.

Nothing is added at the other end: no token is good for more than 900 s after its own date.
"""


class Expected(NamedTuple):
    """What a token has to say."""

    user: str
    """The startup message's user, compared with its case (AU-39)."""

    names: frozenset[str]
    """What this endpoint is known as, `host:port` (`addresses.endpoint_names`; AU-35)."""

    region: str
    resource: str
    """The ARN that the signer's policies must allow (AU-37)."""


class Decision(NamedTuple):
    """The answer, and for the operator why."""

    allowed: bool
    cause: str
    readable: bool = True
    """False if it was no token, or a mutilated one."""


class _Refused(Exception):
    """A check has failed; the text is the cause."""


def dbuser_arn(region: str, account_id: str, resource_id: str, user: str) -> str:
    """The resource of `rds-db:connect` for one database user behind the proxy (AU-37)."""
    return f"arn:aws:rds-db:{region}:{account_id}:dbuser:{resource_id}/{user}"


def verify(text: str, expected: Expected, keys: KeyDirectory, now: datetime) -> Decision:
    """Judge a token; `now` is in UTC. Never raises."""
    try:
        token = parse(text)
    except TokenError as error:
        return Decision(False, str(error), readable=False)
    try:
        _check_claims(token, expected)
        _check_age(token, now)
        key = _check_key(token, keys, now)
        _check_signature(token, key)
        _check_policy(key, expected)
    except _Refused as refused:
        return Decision(False, str(refused))
    return Decision(True, f"access key {token.access_key_id}")


def _check_claims(token: Token, expected: Expected) -> None:
    if token.user != expected.user:
        raise _Refused(
            f"The token was signed for the user {shown(token.user)},"
            f" the client logs in as {shown(expected.user)}"
        )
    if token.host.lower() not in expected.names:
        raise _Refused(
            f"The token was signed for {shown(token.host)};"
            f" this endpoint is known as {', '.join(sorted(expected.names))} (see public_host)"
        )
    if token.scope.region != expected.region:
        raise _Refused(
            f"The token was signed for the region {shown(token.scope.region)},"
            f" the proxy is in {expected.region!r}"
        )


def _check_age(token: Token, now: datetime) -> None:
    age = (now - token.signed_at).total_seconds()
    lifetime = min(token.expires, LIFETIME)
    if age > lifetime:
        raise _Refused(
            f"The token expired {_seconds(age - lifetime)} ago:"
            f" it was signed at {token.timestamp} and lived {lifetime} s"
        )
    if -age > CLOCK_SKEW:
        raise _Refused(
            f"The token is dated {_seconds(-age)} in the future ({token.timestamp}), more than"
            f" the {CLOCK_SKEW} s that clocks may differ: is the client's clock right?"
        )


def _check_key(token: Token, keys: KeyDirectory, now: datetime) -> AccessKey:
    key = keys.find(token.access_key_id)
    if key is None:
        raise _Refused(
            f"The access key {shown(token.access_key_id)} is not known to the proxy"
            " (see iam.access_keys)"
        )
    if key.expires is not None and now >= key.expires:
        late = _seconds((now - key.expires).total_seconds())
        raise _Refused(f"The temporary credentials {key.access_key_id} expired {late} ago")
    # AU-36: temporary credentials are their three parts, and those of a user have only two.
    if bool(token.session_token) != bool(key.session_token):
        raise _Refused(
            f"The token has no session token, and the access key {key.access_key_id} needs one"
            if key.session_token
            else f"The token has a session token, and the access key {key.access_key_id} is not"
            " temporary"
        )
    if not _equal(token.session_token, key.session_token):
        raise _Refused(f"The session token is not that of the access key {key.access_key_id}")
    return key


def _check_signature(token: Token, key: AccessKey) -> None:
    # botocore leaves the host's case in the token and signs it in lower case, and without the port
    # if that is HTTPS's own; others sign what they write. Every candidate is computed, equal or
    # not, so that the time says nothing.
    hosts = {token.host, token.host.lower()}
    hosts |= {host.removesuffix(":443") for host in hosts}
    valid = False
    for host in hosts:
        signature = sigv4.query_signature(
            key.secret_access_key, token.scope, token.timestamp, host, token.parameters
        )
        valid |= _equal(signature, token.signature)
    if not valid:
        raise _Refused(
            f"The token's signature is wrong: it was not signed with the secret of the access key"
            f" {key.access_key_id}, or was changed afterwards"
        )


def _check_policy(key: AccessKey, expected: Expected) -> None:
    # IAM User Guide, "Policy evaluation logic": what a session may do is what both its identity
    # and its session policy allow.
    for policies in (key.policies, *((boundary,) for boundary in key.boundaries)):
        verdict = policy.evaluate(policies, policy.CONNECT, expected.resource)
        if not verdict.allowed:
            raise _Refused(f"The access key {key.access_key_id} may not connect: {verdict.cause}")


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _seconds(seconds: float) -> str:
    # A token has whole seconds; a huge number is read more easily as days and hours.
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 2 * LIFETIME else str(timedelta(seconds=whole))
