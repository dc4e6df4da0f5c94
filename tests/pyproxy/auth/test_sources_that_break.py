"""Sources of secrets and keys that answer nonsense, or stop in the middle of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyproxy.auth.moto_keys import MotoKeys
from pyproxy.auth.role import NoRoleError, Role
from pyproxy.auth.secret import SecretError
from pyproxy.auth.secrets_manager import SignedSecrets
from pyproxy.auth.sigv4 import SigningCredentials
from pyproxy.config import RoleCredentialsConfig
from tests.support.broken_server import says

CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"
CUT_OFF_ERROR = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"
DEEP = b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000
DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/xml\r\n\r\n"
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
    b"<Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"
)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        pytest.param(b"220 a mail server\r\n\r\n", "220 a mail server", id="not HTTP"),
        pytest.param(CUT_OFF, "IncompleteRead", id="cut off"),
        pytest.param(DEEP, "recursion", id="very deep"),
    ],
)
async def test_a_moto_that_answers_nonsense_is_told_and_asked_again(
    answer: bytes, complaint: str
) -> None:
    with says(answer) as url:
        keys = MotoKeys(url)
        told = await keys.refresh()
        assert len(told) == 1
        assert told[0].startswith(f"The access keys of {url} can't be read: ")
        assert complaint in told[0]
        assert await keys.refresh() == []


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        pytest.param(CUT_OFF_ERROR, "secret 'app': HTTP status 500", id="an error cut off"),
        pytest.param(DEEP, "secret 'app' is binary", id="very deep"),
    ],
)
def test_a_secrets_manager_that_answers_nonsense_has_no_secret(
    answer: bytes, complaint: str
) -> None:
    with (
        says(answer) as url,
        pytest.raises(SecretError, match=complaint),
    ):
        SignedSecrets(url, "us-east-1", SigningCredentials("A", "b")).fetch("app")


async def test_a_role_that_may_not_be_assumed_is_no_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AU-50: whoever asks for a database connection learns why there is none."""
    pytest.importorskip("boto3")
    profiles = tmp_path / "config"
    profiles.write_text(
        "[profile proxy]\nrole_arn = arn:aws:iam::123456789012:role/proxy\n"
        "source_profile = base\nregion = us-east-1\n"
        "[profile base]\naws_access_key_id = A\naws_secret_access_key = b\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("AWS_PROFILE", "proxy")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with says(DENIED) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with pytest.raises(NoRoleError, match=r"credential chain failed: .*AccessDenied"):
            await Role(RoleCredentialsConfig(), "us-east-1").token("db", 5432, "app")
