"""Secrets Manager: moto on the other side, asked through boto3 and without."""

import importlib.util
import json
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from pyproxy.auth import secrets_manager
from pyproxy.auth.secret import Secret, SecretError, SecretStore
from pyproxy.auth.secrets_manager import BotoSecrets, SignedSecrets, open_secrets_manager
from pyproxy.auth.sigv4 import SigningCredentials
from tests.support.moto_server import KEYS, client

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="moto is not installed"),
]
PASSWORD = "corr3ct-horse"


@pytest.fixture
def url(moto: str) -> str:
    return moto


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["aws_secret_access_key"])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_an_endpoint_that_boto3_will_not_have_is_an_error_of_the_secret() -> None:
    with pytest.raises(SecretError, match=r"secret 'app': Invalid endpoint: http://a_b:1$"):
        BotoSecrets("http://a_b:1", "us-east-1").fetch("app")


def signed(url: str) -> SecretStore:
    return SignedSecrets(url, "us-east-1", SigningCredentials("AKIDEXAMPLE", "secret"))


@pytest.fixture(
    params=[
        pytest.param(lambda url: BotoSecrets(url, "us-east-1"), id="boto3"),
        pytest.param(signed, id="without boto3"),
    ]
)
def open_store(request: pytest.FixtureRequest) -> Callable[[str], SecretStore]:
    opened: Callable[[str], SecretStore] = request.param
    return opened


@pytest.fixture
def manager(url: str) -> Any:
    return client("secretsmanager", url)


def create(manager: Any, **value: object) -> tuple[str, str]:
    """A new secret; returns its name and ARN."""
    name = f"app/{uuid.uuid4()}"
    return name, manager.create_secret(Name=name, **value)["ARN"]


def text(username: str, password: str) -> str:
    return json.dumps({"username": username, "password": password, "engine": "postgres"})


def test_a_secret_is_fetched_by_name_and_by_arn(
    manager: Any, url: str, open_store: Callable[[str], SecretStore]
) -> None:
    """AU-10."""
    name, arn = create(manager, SecretString=text("app", PASSWORD))
    store = open_store(url)
    assert store.fetch(name) == store.fetch(arn) == Secret("app", PASSWORD)


def test_only_awscurrent_counts(
    manager: Any, url: str, open_store: Callable[[str], SecretStore]
) -> None:
    """AU-12: what a rotation prepares is not used before it is current."""
    _, arn = create(manager, SecretString=text("app", "old"))
    store = open_store(url)
    version = manager.put_secret_value(
        SecretId=arn,
        SecretString=text("app", "new"),
        VersionStages=["AWSPENDING"],
        ClientRequestToken=str(uuid.uuid4()),
    )["VersionId"]
    assert store.fetch(arn).password == "old"
    manager.update_secret_version_stage(
        SecretId=arn,
        VersionStage="AWSCURRENT",
        MoveToVersionId=version,
        RemoveFromVersionId=next(
            number
            for number, stages in manager.describe_secret(SecretId=arn)[
                "VersionIdsToStages"
            ].items()
            if "AWSCURRENT" in stages
        ),
    )
    assert store.fetch(arn).password == "new"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        pytest.param({"SecretString": PASSWORD}, "must be JSON", id="no JSON"),
        pytest.param({"SecretString": '{"username": "app"}'}, "has no password", id="half"),
        pytest.param({"SecretBinary": PASSWORD.encode()}, "is binary", id="binary"),
    ],
)
def test_a_secret_that_rds_proxy_could_not_use_is_refused(
    manager: Any,
    url: str,
    open_store: Callable[[str], SecretStore],
    value: dict[str, object],
    complaint: str,
) -> None:
    _, arn = create(manager, **value)
    with pytest.raises(SecretError, match=complaint) as caught:
        open_store(url).fetch(arn)
    assert PASSWORD not in str(caught.value)


def test_a_missing_secret_is_said_to_be_missing(
    url: str, open_store: Callable[[str], SecretStore]
) -> None:
    with pytest.raises(SecretError, match="ResourceNotFoundException: no such secret"):
        open_store(url).fetch("no/such")


def test_a_source_that_is_away_is_an_error(open_store: Callable[[str], SecretStore]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SecretError, match=r"secret 'app': "):
        open_store(f"http://127.0.0.1:{port}").fetch("app")


@pytest.mark.slow
def test_a_source_that_hangs_is_given_up(open_store: Callable[[str], SecretStore]) -> None:
    """No thread outlives its question by much."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(SecretError):
            open_store(f"http://127.0.0.1:{silent.getsockname()[1]}").fetch("app")
        assert time.monotonic() - begin < 9.0


def test_the_region_is_that_of_the_arn() -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app"
    store = SignedSecrets("", "us-east-1", SigningCredentials("AKIDEXAMPLE", "secret"))
    from tests.support.aws_oracle import NOW

    request = store.request(arn, NOW)
    assert request.full_url == "https://secretsmanager.eu-west-1.amazonaws.com"
    assert "/eu-west-1/secretsmanager/aws4_request" in str(request.get_header("Authorization"))
    china = store.request(arn.replace("eu-west-1", "cn-north-1"), NOW)
    assert china.full_url == "https://secretsmanager.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(("endpoint", "region"), [("", ""), ("file:///etc/passwd", "us-east-1")])
def test_an_impossible_address_is_refused(endpoint: str, region: str) -> None:
    with pytest.raises(SecretError, match="no region, or"):
        SignedSecrets(endpoint, region, SigningCredentials("A", "b")).fetch("app")


def test_boto3_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_secrets_manager("", "us-east-1", {}), BotoSecrets)
    monkeypatch.setattr(secrets_manager.importlib.util, "find_spec", lambda _: None)
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "x"}
    assert isinstance(open_secrets_manager("", "us-east-1", keys), SignedSecrets)
    with pytest.raises(SecretError, match=r"install it, or set AWS_ACCESS_KEY_ID"):
        open_secrets_manager("", "us-east-1", {})
