"""The how-to pages about tokens and rotation are executed, block by block."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
import yaml

from pyproxy.config_file import load
from pyproxy.lab import binaries
from tests.support.bench_of_aws import aws_environment, secret_text
from tests.support.moto_server import client
from tests.support.ports import free_port
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import ROOT, Proxy, start_proxy

pytestmark = pytest.mark.integration

IAM_PAGE = (ROOT / "docs" / "how-to" / "use-iam-tokens.md").read_text()
ROTATION_PAGE = (ROOT / "docs" / "how-to" / "rotate-a-secret.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NEW_PASSWORD = "the new one"


def blocks(page: str, language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(page) if name == language]


def shell(script: str, folder: Path, **variables: str) -> str:
    """Run a block as its reader would: `pyproxy`, `psql` and `aws` are commands."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    for name, module in (("pyproxy", "pyproxy"), ("aws", "tests.support.aws_cli")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"\n')
        command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        env={
            **os.environ,
            "PATH": f"{commands}:{binaries.find()}:{os.environ['PATH']}",
            "LC_ALL": "C",
            **variables,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def proxy_of_the_page(postgres: Postgres) -> Iterator[Proxy]:
    """With the page's `proxy` and `iam` sections."""
    config: dict[str, Any] = yaml.safe_load(blocks(IAM_PAGE, "yaml")[0])
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, endpoints=[{"port": free_port()}], **config) as proxy,
    ):
        yield proxy


def test_the_page_about_tokens(postgres: Postgres) -> None:
    with proxy_of_the_page(postgres) as proxy:
        by_pyproxy, by_aws, *logins = (
            block.replace("6432", str(proxy.port)) for block in blocks(IAM_PAGE, "sh")
        )
        assert len(logins) == 2
        asking = "\n".join(logins).replace('psql "', "psql -XAtc 'SELECT current_user' \"")
        for make in (by_pyproxy, by_aws):
            said = shell(make + asking, proxy.folder, STATE_DIR=str(proxy.folder / "state"))
            assert said == "app\napp\n"
        (python,) = blocks(IAM_PAGE, "python")
        names: dict[str, Any] = {}
        keys = dict(re.findall(r"export (AWS_\w+)=(\S+)", by_aws))
        with patch.dict(os.environ, keys):
            exec("import boto3\n" + python.replace("6432", str(proxy.port)), names)
        with psycopg.connect(
            proxy.dsn("app", sslmode="require").replace(f":{PASSWORD}@", "@"),
            password=names["token"],
        ) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("app",)


def test_what_the_log_says_is_what_the_page_says_it_does() -> None:
    """Every text in the page's table stands in the source, as far as it is not filled in."""
    source = "".join(path.read_text() for path in (ROOT / "pyproxy" / "auth").glob("*.py"))
    table = re.findall(r"^\| `(.+?)` \|", IAM_PAGE, re.MULTILINE)
    assert len(table) > 8
    for text in table:
        for part in re.split(r"\.\.\.|: |'[^']*'", text):
            words = part.strip(" ;")
            assert words in source, words


@pytest.mark.parametrize("section", range(1, len(blocks(IAM_PAGE, "yaml"))))
def test_the_other_sections_are_valid(tmp_path: Path, section: int) -> None:
    config: dict[str, Any] = {
        "proxy": {"auth": [{"secret_arn": "app"}]},
        "target_group": {"targets": [{"id": "db"}]},
    }
    file = tmp_path / "pyproxy.yaml"
    file.write_text(yaml.safe_dump(config | yaml.safe_load(blocks(IAM_PAGE, "yaml")[section])))
    load(file, {})


# -- rotation --------------------------------------------------------------------------------------


@pytest.fixture
def restored(postgres: Postgres) -> Iterator[Postgres]:
    """The password of `app` is its old one again afterwards."""
    yield postgres
    with postgres.admin("postgres") as admin:
        admin.query(f"ALTER ROLE app PASSWORD '{PASSWORD}'")


def change_in_the_database(postgres: Postgres) -> None:
    """The page's first step."""
    (statement,) = re.findall(r"`(ALTER ROLE app PASSWORD '\.\.\.')`", ROTATION_PAGE)
    with postgres.admin("postgres") as admin:
        admin.query(statement.replace("...", NEW_PASSWORD))


def is_in(proxy: Proxy, password: str) -> None:
    options = "host=127.0.0.1 dbname=app user=app sslmode=disable"
    with psycopg.connect(f"{options} port={proxy.port} password='{password}'") as connection:
        connection.execute("SELECT 1")


def test_rotation_in_a_file(restored: Postgres) -> None:
    (block,) = blocks(ROTATION_PAGE, "yaml")
    (arn,) = yaml.safe_load(block)
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            restored,
            proxy={"auth": [{"secret_arn": arn}]},
            secrets={"refresh_interval": 0.2},
        ) as proxy,
    ):
        is_in(proxy, PASSWORD)
        change_in_the_database(restored)
        draft = folder / "secrets.new"
        draft.write_text(block)
        draft.replace(folder / "secrets.yaml")
        proxy.wait_for_log('has a new password for the database user "app"')
        is_in(proxy, NEW_PASSWORD)


def test_rotation_in_secrets_manager(restored: Postgres, moto: str) -> None:
    (block,) = blocks(ROTATION_PAGE, "sh")
    assert json.loads(re.findall(r"'(\{.+\})'", block)[0])["password"] == NEW_PASSWORD
    manager = client("secretsmanager", moto)
    arn = manager.create_secret(Name="app", SecretString=secret_text("app", PASSWORD))["ARN"]
    with (
        aws_environment(),
        temporary_folder() as folder,
        start_proxy(
            folder,
            restored,
            proxy={"auth": [{"secret_arn": arn}]},
            secrets={"provider": "aws", "endpoint_url": moto, "refresh_interval": 0.2},
        ) as proxy,
    ):
        is_in(proxy, PASSWORD)
        change_in_the_database(restored)
        shell(block, folder, AWS_ENDPOINT_URL=moto, AWS_DEFAULT_REGION="us-east-1")
        proxy.wait_for_log('has a new password for the database user "app"')
        is_in(proxy, NEW_PASSWORD)
        assert NEW_PASSWORD not in proxy.log
    manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def test_the_variable_of_a_secret() -> None:
    """What the page says a variable is called."""
    from pyproxy.auth.secrets import variable_of

    (name, variable) = re.findall(r"secret `([^`]+)` is\n`(PYPROXY_SECRET_\w+)`", ROTATION_PAGE)[0]
    assert variable_of(name) == variable
