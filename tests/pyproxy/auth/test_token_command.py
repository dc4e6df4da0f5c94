"""`pyproxy token` prints what AWS's own tools print."""

import argparse
from pathlib import Path

import pytest

from pyproxy import config_file
from pyproxy.auth import token_command
from tests.support.aws_oracle import NOW, boto3_token

CONFIG = """\
proxy:
  region: eu-west-1
  auth:
    - secret_arn: arn:aws:secretsmanager:eu-west-1:123456789012:secret:app
endpoints:
  - db_proxy_endpoint_name: default
    host: 0.0.0.0
    port: 6432
  - db_proxy_endpoint_name: reader
    host: 127.0.0.1
    port: 6433
    public_host: Proxy.Example:5432
    target_role: READ_ONLY
target_group:
  targets:
    - {id: db-a, host: 127.0.0.1, port: 5432}
    - {id: db-b, host: 127.0.0.1, port: 5433}
iam:
  access_keys:
    - {access_key_id: AKIDFIRST, secret_access_key: first-secret}
    - {access_key_id: ASIASECOND, secret_access_key: second-secret, session_token: a/b+c=}
"""
FIRST = ("AKIDFIRST", "first-secret", None)
SECOND = ("ASIASECOND", "second-secret", "a/b+c=")


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    token_command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pyproxy.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    ("options", "host", "port", "key"),
    [
        pytest.param([], "localhost", 6432, FIRST, id="the first endpoint and key"),
        pytest.param(
            ["--endpoint", "reader"], "Proxy.Example", 5432, FIRST, id="a public host and port"
        ),
        pytest.param(["--host", "db", "--port", "1"], "db", 1, FIRST, id="another host and port"),
        pytest.param(
            ["--access-key-id", "ASIASECOND"], "localhost", 6432, SECOND, id="another key"
        ),
    ],
)
def test_the_token_is_boto3s(
    file: Path, options: list[str], host: str, port: int, key: tuple[str, str, str | None]
) -> None:
    arguments = parsed("--config", str(file), "--user", "jane doe", *options)
    made = token_command.make_token(config_file.load(file, {}), arguments, NOW)
    assert made == boto3_token("jane doe", host=host, port=port, key=key, region="eu-west-1")


def test_it_prints_the_token_and_nothing_else(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert token_command.run(parsed("--config", str(file), "--user", "app")) == 0
    out, err = capsys.readouterr()
    assert out.startswith("localhost:6432/?Action=connect&DBUser=app&")
    assert (out.count("\n"), err) == (1, "")


@pytest.mark.parametrize(
    ("options", "change", "complaint"),
    [
        pytest.param(
            ["--endpoint", "writer"], "", "no endpoint 'writer'; there is default", id="endpoint"
        ),
        pytest.param(
            ["--access-key-id", "X"], "", "has no access key 'X'; it has AKI", id="access key"
        ),
        pytest.param([], "iam", "iam.access_keys is empty", id="no keys"),
        pytest.param(["--access-key-id", "X"], "iam", "keys is empty", id="none of no keys"),
        pytest.param([], "gone", "No such file", id="no file"),
    ],
)
def test_what_is_wrong_is_one_line_on_standard_error(
    file: Path,
    options: list[str],
    change: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2: wrong usage or configuration."""
    if change == "iam":
        file.write_text(CONFIG.partition("iam:")[0])
    if change == "gone":
        file.unlink()
    assert token_command.run(parsed("--config", str(file), "--user", "app", *options)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("pyproxy token: ")
    assert complaint in err
