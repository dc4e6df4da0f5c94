"""IAM from end to end, default_auth_scheme IAM_AUTH: no secret, and the proxy signs as well (AU-50)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproxy.auth.development_ca import Files, ensure
from tests.support.bench_of_aws import Bench, Key, aws_bench
from tests.support.moto_server import KEYS
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.rds_with_iam import REFUSAL, RdsWithIam, rds_with_iam
from tests.support.wire import LoginFailed

pytestmark = pytest.mark.integration

ROLE = Key("ASIAPROXYROLE", "role-secret-access-key", "role/session+token==")
ROLE_CREDENTIALS = {
    "access_key_id": ROLE.access_key_id,
    "secret_access_key": ROLE.secret_access_key,
    "session_token": ROLE.session_token,
}


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with temporary_folder() as folder:
        yield ensure(folder, ["127.0.0.1"])


@pytest.fixture(scope="module")
def database(postgres: Postgres, files: Files) -> Iterator[RdsWithIam]:
    with rds_with_iam(files, ROLE, postgres.port, by_password=("app",)) as database:
        yield database


def iam_to(port: int, moto: str, root: Path | None = None, **role: Any) -> dict[str, Any]:
    """A configuration for a database on `port`."""
    target = {"id": "db-a", "port": port}
    if root is not None:
        target |= {"tls": "verify-full", "root_certificate": str(root)}
    return {
        "proxy": {"default_auth_scheme": "IAM_AUTH"},
        "target_group": {
            "targets": [target],
            "connection_pool_config": {"connection_borrow_timeout": 20},
        },
        "iam": {"endpoint_url": moto, "role_credentials": role},
    }


@pytest.fixture(scope="module")
def bench(postgres: Postgres, moto: str, database: RdsWithIam, files: Files) -> Iterator[Bench]:
    settings = iam_to(database.port, moto, files.authority, **ROLE_CREDENTIALS)
    with aws_bench(postgres, moto, **settings) as bench:
        yield bench


def told(bench: Bench, user: str, password: str, *, tls: bool = True) -> tuple[str, str]:
    """SQLSTATE and text of the refusal."""
    with pytest.raises(LoginFailed) as caught:
        bench.login(user, password, tls=tls)
    return caught.value.fields["C"], caught.value.fields["M"]


def test_the_proxy_signs_a_token_of_its_own(bench: Bench, database: RdsWithIam) -> None:
    """AU-50: the client's is for the proxy, the database gets one for itself."""
    token = bench.token("no_secret", key=bench.keys["anyone"])
    with bench.login("no_secret", token) as wire:
        assert wire.value("SELECT session_user") == "trusted"
    assert "no_secret" in database.users
    assert token not in database.passwords
    assert any(
        shown.startswith(f"127.0.0.1:{database.port}/?Action=connect&DBUser=no_secret&")
        and f"X-Amz-Credential={ROLE.access_key_id}%2F" in shown
        for shown in database.passwords
    )


def test_users_with_a_secret_go_on_as_before(bench: Bench, database: RdsWithIam) -> None:
    """AU-51: both on one proxy."""
    with bench.login("app", PASSWORD) as wire:
        assert wire.value("SELECT current_user") == "app"
    assert not any("DBUser=app&" in shown for shown in database.passwords)


def test_a_password_by_default_is_refused(bench: Bench) -> None:
    """E-PG-20."""
    assert told(bench, "no_secret", "a password") == (
        "28000",
        "Enable IAM authentication for the client connection to the proxy and try again.",
    )


def test_tls_is_needed_by_default(bench: Bench) -> None:
    """E-PG-05."""
    token = bench.token("no_secret", key=bench.keys["anyone"])
    assert told(bench, "no_secret", token, tls=False) == (
        "28000",
        "IAM is allowed only with SSL connections.",
    )


def test_a_role_that_may_not_is_told_in_the_databases_words(
    postgres: Postgres, moto: str, files: Files
) -> None:
    """E-PG-17, with what RDS says; the credentials come from the environment."""
    with rds_with_iam(files, ("AKIDOTHER", "x", None), postgres.port) as database:
        settings = iam_to(database.port, moto, files.authority)
        with aws_bench(postgres, moto, **settings) as bench:
            token = bench.token("no_secret", key=bench.keys["anyone"])
            state, text = told(bench, "no_secret", token)
            assert (state, text) == (
                "XX000",
                f"Request returned an error: {REFUSAL.format('no_secret')}",
            )
            assert f"X-Amz-Credential={KEYS['aws_access_key_id']}%2F" in database.passwords[0]
            assert "X-Amz-Signature" not in bench.proxy.log


def test_a_token_is_not_sent_where_it_was_not_asked_for(
    postgres: Postgres, moto: str, files: Files
) -> None:
    """Neither in clear, nor to a database that asks for a password (no rds_iam there)."""
    with aws_bench(postgres, moto, **iam_to(postgres.port, moto)) as bench:
        token = bench.token("no_secret", key=bench.keys["anyone"])
        state, text = told(bench, "no_secret", token)
        assert state == "XX000"
        assert text.endswith("The database has no TLS, and an IAM token is not sent in clear")
    with rds_with_iam(files, ROLE, postgres.port, by_password=("no_secret",)) as database:
        settings = iam_to(database.port, moto, files.authority, **ROLE_CREDENTIALS)
        with aws_bench(postgres, moto, **settings) as bench:
            token = bench.token("no_secret", key=bench.keys["anyone"])
            state, text = told(bench, "no_secret", token)
            assert state == "XX000"
            assert 'does not ask for an IAM token of the user "no_secret"' in text
