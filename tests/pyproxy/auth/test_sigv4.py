"""Signature Version 4, with botocore as the oracle."""

from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth import sigv4
from tests.support.aws_oracle import NOW, botocore_time


@given(st.text(max_size=40))
def test_only_unreserved_characters_stay_unescaped(text: str) -> None:
    assert sigv4.escape(text.encode()) == quote(text.encode(), safe="-_.~")


def test_the_slash_is_escaped_in_a_query() -> None:
    assert sigv4.canonical_query([("a", "x/y")]) == "a=x%2Fy"


def test_parameters_are_sorted_by_name_then_value() -> None:
    assert sigv4.canonical_query([("b", "1"), ("a", "2"), ("a", "1")]) == "a=1&a=2&b=1"


def test_parameters_are_sorted_as_escaped() -> None:
    """AWS General Reference: sort after encoding; `_` sorts behind `%`."""
    assert sigv4.canonical_query([("a_", "1"), ("a/", "2")]) == "a%2F=2&a_=1"


def test_the_signing_key_of_the_aws_documentation() -> None:
    """IAM User Guide, "Deriving the signing key": the published example."""
    key = sigv4.signing_key(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", sigv4.Scope("20120215", "us-east-1", "iam")
    )
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


@given(
    body=st.binary(max_size=100),
    secret=st.text(min_size=1, max_size=40),
    token=st.one_of(st.just(""), st.text("abc+/=", min_size=1, max_size=30)),
)
def test_signed_headers_are_botocores(body: bytes, secret: str, token: str) -> None:
    host, target = "secretsmanager.eu-west-1.amazonaws.com", "secretsmanager.GetSecretValue"
    headers = {
        "Host": host,
        "X-Amz-Target": target,
        "Content-Type": "application/x-amz-json-1.1",
    }
    ours = sigv4.signed_headers(
        sigv4.SigningCredentials("AKIDEXAMPLE", secret, token),
        region="eu-west-1",
        service="secretsmanager",
        method="POST",
        path="/",
        headers=headers.items(),
        body=body,
        now=NOW,
    )
    request = AWSRequest("POST", f"https://{host}/", headers=headers, data=body)
    with botocore_time(NOW):
        SigV4Auth(
            Credentials("AKIDEXAMPLE", secret, token or None), "secretsmanager", "eu-west-1"
        ).add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def test_credentials_hide_their_secrets() -> None:
    """Invariant 9."""
    credentials = sigv4.SigningCredentials("AKIDEXAMPLE", "very secret", "token")
    assert "very secret" not in f"{credentials} {credentials!r}"
    assert "token" not in repr(credentials)
