"""Tokens: made as boto3 makes them, taken apart without trust."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.auth import token
from pyproxy.auth.sigv4 import SigningCredentials
from tests.support.aws_oracle import NOW, boto3_token

HOST = "my-proxy.proxy-abc.us-east-1.rds.amazonaws.com"
VECTOR = "6aa61eb1fa9e4540b630bbb5e770d849ba7dc55a5f490c9d92e1baa500127f44"
GOOD = boto3_token("app")


def generated(user: str, host: str = HOST, port: int = 5432, session_token: str = "") -> str:
    return token.generate(
        SigningCredentials("AKIDEXAMPLE", "secret", session_token),
        host=host,
        port=port,
        user=user,
        region="us-east-1",
        now=NOW,
    )


def test_the_test_vector() -> None:
    """AU-34."""
    text = generated("jane doe")
    assert text.startswith(f"{HOST}:5432/?Action=connect&DBUser=jane%20doe&X-Amz-Algorithm=")
    assert text.endswith(f"&X-Amz-Signature={VECTOR}")


@pytest.mark.parametrize("user", ["app", "jane doe", "Jürgen", "a/b+c&d=e%f", "日本", "x" * 63])
@pytest.mark.parametrize("session_token", ["", "FQoGZXIvYXdzE//////////wEaD+abc=="])
def test_a_token_is_letter_for_letter_boto3s(user: str, session_token: str) -> None:
    """AU-33."""
    oracle = boto3_token(user, key=("AKIDEXAMPLE", "secret", session_token or None))
    assert generated(user, session_token=session_token) == oracle


def test_the_host_keeps_its_case_and_is_signed_in_lower_case() -> None:
    assert generated("app", host="My-Proxy.Example") == boto3_token("app", host="My-Proxy.Example")


def test_an_ipv6_address_gets_brackets() -> None:
    assert generated("app", host="::1", port=6432).startswith("[::1]:6432/?")


def test_a_token_is_taken_apart() -> None:
    parsed = token.parse(boto3_token("jane doe", key=("AKIDEXAMPLE", "secret", "a+b/c=")))
    assert (parsed.host, parsed.user) == (f"{HOST}:5432", "jane doe")
    assert (parsed.access_key_id, parsed.session_token) == ("AKIDEXAMPLE", "a+b/c=")
    assert (parsed.signed_at, parsed.expires) == (NOW, 900)
    assert str(parsed.scope) == "20261123/us-east-1/rds-db/aws4_request"
    assert b"X-Amz-Signature" not in dict(parsed.parameters)


def test_the_slash_before_the_question_mark_may_be_missing() -> None:
    """AWS's SDK for Go leaves it out."""
    assert token.parse(GOOD.replace("/?", "?")) == token.parse(GOOD)


@pytest.mark.parametrize(
    ("mutilated", "cause"),
    [
        pytest.param("hunter2", "not an IAM token", id="a password"),
        pytest.param("", "not an IAM token", id="nothing"),
        pytest.param("what?", "not an IAM token", id="a question"),
        pytest.param("https://" + GOOD, "not an IAM token", id="with its scheme"),
        pytest.param(GOOD.replace("/?", "/x?"), "not an IAM token", id="another path"),
        pytest.param(GOOD.replace("=connect", "=delete"), "Action is 'delete'", id="action"),
        pytest.param(GOOD.replace("rds-db", "s3"), "service 's3'", id="service"),
        pytest.param(GOOD.replace("HMAC-SHA256", "HMAC-MD5"), "X-Amz-Algorithm", id="algorithm"),
        pytest.param(GOOD.replace("=host", "=host%3Bx"), "X-Amz-SignedHeaders", id="headers"),
        pytest.param(GOOD.replace("=900", "=-1"), "X-Amz-Expires", id="expires negative"),
        pytest.param(GOOD.replace("=900", "=0"), "X-Amz-Expires", id="expires zero"),
        pytest.param(GOOD.replace("=900", "=9e2"), "X-Amz-Expires", id="expires in science"),
        pytest.param(GOOD.replace("=900", "=%D9%A9"), "X-Amz-Expires", id="Arabic digit"),
        pytest.param(GOOD.replace("aws4_request", "aws5"), "X-Amz-Credential", id="scope"),
        pytest.param(GOOD.replace("Date=2026", "Date=2025"), "not on the day", id="other day"),
        pytest.param(GOOD.replace("T140905Z", "T990905Z"), "X-Amz-Date", id="no such hour"),
        pytest.param(GOOD.replace("T140905Z", "T140905"), "X-Amz-Date", id="no zone"),
        pytest.param(GOOD[:-1], "X-Amz-Signature is not complete", id="cut by one"),
        pytest.param(GOOD[:150], "cut off", id="cut in the middle"),
        pytest.param(GOOD + "&DBUser=root", "DBUser' more than once", id="twice"),
        pytest.param(GOOD + "&%44BUser=root", "more than once", id="twice, escaped"),
        pytest.param(GOOD.replace("=app", "=%FF"), "DBUser is not UTF-8", id="not UTF-8"),
        pytest.param(GOOD.replace("=app", "="), "no DBUser", id="nobody"),
        pytest.param(GOOD.replace("DBUser", "dbuser"), "no DBUser", id="wrong case"),
    ],
)
def test_what_is_no_token_is_refused_with_its_cause(mutilated: str, cause: str) -> None:
    with pytest.raises(token.TokenError, match=re.escape(cause)):
        token.parse(mutilated)


@given(st.text(max_size=300))
def test_the_cause_shows_nothing_of_a_password(password: str) -> None:
    """Invariant 9: what is no token may be a password."""
    try:
        token.parse(password)
    except token.TokenError as error:
        assert str(error) == "What the client sent is not an IAM token"


@settings(max_examples=300)
@given(st.integers(0, len(GOOD)), st.text(max_size=3), st.integers(0, 5))
def test_a_changed_token_is_refused_or_read_but_never_an_accident(
    position: int, text: str, cut: int
) -> None:
    changed = GOOD[:position] + text + GOOD[position + cut :]
    try:
        token.parse(changed)
    except token.TokenError as error:
        assert len(str(error)) < 400


def test_a_signature_is_never_shown() -> None:
    """Invariant 9: whoever reads the log must not be able to log in for the rest of the 900 s."""
    assert token.parse(GOOD).signature not in repr(token.parse(GOOD))


def test_a_name_in_a_log_line_is_escaped_and_not_endless() -> None:
    assert token.shown("a\nb") == r"'a\nb'"
    assert len(token.shown("x" * 5000)) < 130
