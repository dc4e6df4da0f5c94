"""Tokens judged: by boto3's own tokens, and by what is done to them."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.auth import iam, policy, token
from pyproxy.auth.access_key import AccessKey
from pyproxy.auth.directory import Directories, StaticKeys
from pyproxy.auth.sigv4 import SigningCredentials
from tests.support.aws_oracle import NOW, boto3_token

HOST = "my-proxy.proxy-abc.us-east-1.rds.amazonaws.com"
RESOURCE_ID = "prx-0123456789abcdef0"
ANYTHING = policy.parse({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
ONLY_READER = policy.parse(
    {
        "Statement": {
            "Effect": "Allow",
            "Action": "rds-db:connect",
            "Resource": f"arn:aws:rds-db:us-east-1:123456789012:dbuser:{RESOURCE_ID}/reader",
        }
    }
)
KEYS = StaticKeys(
    [
        AccessKey("AKIDEXAMPLE", "secret", "", (ANYTHING,)),
        AccessKey("AKIDREADER", "secret2", "", (ONLY_READER,)),
        AccessKey("AKIDNOTHING", "secret3", "", ()),
        AccessKey("ASIATEMPORARY", "secret4", "session+token/==", (ANYTHING,)),
        AccessKey("ASIAOVER", "secret5", "st", (ANYTHING,), expires=NOW - timedelta(seconds=30)),
        AccessKey("ASIANARROW", "secret6", "st", (ANYTHING,), boundaries=(ONLY_READER,)),
    ]
)


def expected(user: str = "app", *names: str) -> iam.Expected:
    return iam.Expected(
        user,
        frozenset(names or (f"{HOST}:5432",)),
        "us-east-1",
        iam.dbuser_arn("us-east-1", "123456789012", RESOURCE_ID, user),
    )


def judge(text: str, *, user: str = "app", now: datetime = NOW, name: str = "") -> iam.Decision:
    return iam.verify(text, expected(user, *([name] if name else [])), KEYS, now)


@pytest.mark.parametrize("user", ["app", "jane doe", "Jürgen", "a/b+c&d=e%f", "日本"])
def test_boto3s_token_is_accepted(user: str) -> None:
    """AU-33."""
    assert judge(boto3_token(user), user=user) == (True, "access key AKIDEXAMPLE", True)


def test_a_token_of_temporary_credentials_is_accepted() -> None:
    """AU-36."""
    key = ("ASIATEMPORARY", "secret4", "session+token/==")
    assert judge(boto3_token("app", key=key)).allowed


@pytest.mark.parametrize("host", ["My-Proxy.Example", "my-proxy.example", "MY-PROXY.EXAMPLE"])
def test_the_case_of_the_host_does_not_matter(host: str) -> None:
    assert judge(boto3_token("app", host=host), name="my-proxy.example:5432").allowed


def test_a_signer_that_does_not_lower_the_host_is_accepted() -> None:
    """boto3 signs the host in lower case; other SDKs need not."""
    parts = token.parse(boto3_token("app", host="My-Proxy"))
    from pyproxy.auth.sigv4 import query_signature

    signature = query_signature(
        "secret", parts.scope, parts.timestamp, "My-Proxy:5432", parts.parameters
    )
    text = boto3_token("app", host="My-Proxy").rpartition("=")[0] + f"={signature}"
    assert judge(text, name="my-proxy:5432").allowed


def test_the_port_of_https_is_signed_or_not() -> None:
    """The Host header of botocore is without it."""
    assert judge(boto3_token("app", port=443), name=f"{HOST}:443").allowed


def test_the_order_of_the_parameters_does_not_matter() -> None:
    """SDKs differ in it."""
    head, _, query = boto3_token("app").partition("?")
    assert judge(f"{head}?{'&'.join(reversed(query.split('&')))}").allowed


def test_a_token_without_the_slash_is_accepted() -> None:
    """As AWS's SDK for Go makes it."""
    assert judge(boto3_token("app").replace("/?", "?")).allowed


def test_another_signed_parameter_is_covered_by_the_signature() -> None:
    assert "signature is wrong" in judge(boto3_token("app") + "&x-id=1").cause


@pytest.mark.parametrize(
    ("seconds", "allowed"),
    [(0, True), (900, True), (901, False), (-300, True), (-301, False), (86400, False)],
)
def test_a_token_lives_900_seconds(seconds: int, *, allowed: bool) -> None:
    """AU-36; a clock may be ahead by five minutes."""
    assert judge(boto3_token("app"), now=NOW + timedelta(seconds=seconds)).allowed is allowed


def longer_token(expires: int) -> str:
    from pyproxy.auth.sigv4 import presigned_query

    query = presigned_query(
        SigningCredentials("AKIDEXAMPLE", "secret"),
        region="us-east-1",
        service="rds-db",
        host=f"{HOST}:5432",
        parameters=[("Action", "connect"), ("DBUser", "app")],
        expires=expires,
        now=NOW,
    )
    return f"{HOST}:5432/?{query}"


@pytest.mark.parametrize(
    ("claims", "age", "allowed"),
    [(604800, 900, True), (604800, 901, False), (60, 60, True), (60, 61, False)],
)
def test_a_token_may_claim_less_than_900_seconds_never_more(
    claims: int, age: int, *, allowed: bool
) -> None:
    """AU-36, whatever X-Amz-Expires says."""
    decision = judge(longer_token(claims), now=NOW + timedelta(seconds=age))
    assert decision.allowed is allowed


@pytest.mark.parametrize(
    ("decision", "cause"),
    [
        pytest.param(
            lambda: judge(boto3_token("app"), now=NOW + timedelta(seconds=912)),
            "The token expired 12 s ago: it was signed at 20261123T140905Z and lived 900 s",
            id="expired",
        ),
        pytest.param(
            lambda: judge(boto3_token("app"), now=NOW + timedelta(days=3, seconds=900)),
            "The token expired 3 days, 0:00:00 ago",
            id="expired long ago",
        ),
        pytest.param(
            lambda: judge(boto3_token("app"), now=NOW - timedelta(seconds=400)),
            "The token is dated 400 s in the future (20261123T140905Z)",
            id="from the future",
        ),
        pytest.param(
            lambda: judge(boto3_token("app"), user="App"),
            "signed for the user 'app', the client logs in as 'App'",
            id="another user, by case (AU-39)",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", host="db-a.example")),
            f"signed for 'db-a.example:5432'; this endpoint is known as {HOST}:5432",
            id="another host (AU-35)",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", port=6432)),
            f"signed for '{HOST}:6432'",
            id="another port",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", region="eu-west-1")),
            "signed for the region 'eu-west-1', the proxy is in 'us-east-1'",
            id="another region",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("AKIDSTRANGER", "x", None))),
            "The access key 'AKIDSTRANGER' is not known to the proxy",
            id="an unknown key",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("AKIDEXAMPLE", "guess", None))),
            "The token's signature is wrong",
            id="a wrong secret",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("ASIATEMPORARY", "secret4", None))),
            "The token has no session token, and the access key ASIATEMPORARY needs one",
            id="no session token",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("AKIDEXAMPLE", "secret", "st"))),
            "The token has a session token, and the access key AKIDEXAMPLE is not temporary",
            id="a session token too many",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("ASIATEMPORARY", "secret4", "other"))),
            "The session token is not that of the access key ASIATEMPORARY",
            id="another session token",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("ASIAOVER", "secret5", "st"))),
            "The temporary credentials ASIAOVER expired 30 s ago",
            id="temporary credentials are over (AU-36)",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("AKIDREADER", "secret2", None))),
            "The access key AKIDREADER may not connect: no policy allows rds-db:connect on"
            f" arn:aws:rds-db:us-east-1:123456789012:dbuser:{RESOURCE_ID}/app",
            id="a policy for somebody else (AU-37)",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("AKIDNOTHING", "secret3", None))),
            "may not connect: no policy allows",
            id="no policy",
        ),
        pytest.param(
            lambda: judge(boto3_token("app", key=("ASIANARROW", "secret6", "st"))),
            "may not connect: no policy allows",
            id="a session policy narrows",
        ),
    ],
)
def test_the_operator_learns_the_cause(decision: object, cause: str) -> None:
    assert callable(decision)
    allowed, told, readable = decision()
    assert (allowed, readable) == (False, True)
    assert cause in told


@pytest.mark.parametrize("text", ["", "hunter2", boto3_token("app")[:100]])
def test_what_is_no_token_is_not_readable(text: str) -> None:
    """AU-42: it gets another of AWS's texts."""
    assert judge(text).readable is False


def test_the_checks_come_in_order() -> None:
    """A token that is wrong in every way is told the first."""
    wrong = boto3_token("root", host="x", region="eu-west-1", key=("AKIDSTRANGER", "x", None))
    later = NOW + timedelta(days=1)
    assert "for the user" in judge(wrong, now=later).cause
    assert "signed for 'x:5432'" in judge(wrong, user="root", now=later).cause
    assert "for the region" in judge(wrong, user="root", name="x:5432", now=later).cause
    right_region = boto3_token("app", key=("AKIDSTRANGER", "x", None))
    assert "expired" in judge(right_region, now=later).cause
    assert "not known" in judge(right_region).cause


GOOD = boto3_token("app")


@settings(max_examples=500)
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_no_changed_character_is_accepted(position: int, character: str) -> None:
    """Except where it says the same: the case of the host or of an escape, and the slash."""
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    if changed.lower() != GOOD.lower():
        assert not judge(changed).allowed


@settings(max_examples=300)
@given(st.text(max_size=400))
def test_nothing_is_an_accident(text: str) -> None:
    assert not judge(text).allowed
    assert not judge(f"{HOST}:5432/?Action=connect&{text}").allowed


def test_a_cause_never_shows_a_secret() -> None:
    """Invariant 9."""
    session_token = "another-session-token"
    wrong = boto3_token("app", key=("ASIATEMPORARY", "secret4", session_token))
    cause = judge(wrong).cause
    assert session_token not in cause
    assert "session+token" not in cause
    assert "secret4" not in repr(KEYS.find("ASIATEMPORARY"))


def test_directories_are_asked_in_order() -> None:
    first = AccessKey("AKID", "first", "", ())
    second = AccessKey("AKID", "second", "", ())
    other = AccessKey("OTHER", "other", "", ())
    both = Directories([StaticKeys([first]), StaticKeys([second, other])])
    assert (both.find("AKID"), both.find("OTHER"), both.find("?")) == (first, other, None)
