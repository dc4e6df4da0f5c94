"""Rotation: secret and database change their password under load, and nobody notices (AU-11 to AU-13)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
import yaml

from tests.support.bench_of_aws import Bench, aws_bench, aws_environment, secret_text
from tests.support.moto_server import client, moto_server, unique
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.integration

CLIENTS = 50
USER = "rotated"


def wrong_password(user: str) -> tuple[str, str]:
    return "28P01", f"The password that was provided for the role {user} is wrong."


def no_credentials(user: str) -> tuple[str, str]:
    return (
        "28000",
        f"This RDS proxy has no credentials for the role {user}. Check the credentials for this role and try again.",
    )


def alter(postgres: Postgres, user: str, password: str) -> None:
    with postgres.admin("postgres") as admin:
        admin.query(f"ALTER ROLE {user} PASSWORD '{password}'")


@pytest.fixture
def rotating(postgres: Postgres) -> Iterator[Postgres]:
    """A role whose password may be changed."""
    with postgres.admin("postgres") as admin:
        admin.query(f"CREATE ROLE {USER} LOGIN PASSWORD 'the-0ld-one'")
    yield postgres
    with postgres.admin("postgres") as admin:
        admin.query(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
        )
        admin.query(f"DROP ROLE {USER}")


def is_let_in(proxy: Proxy, user: str, password: str) -> bool:
    try:
        with psycopg.connect(proxy.dsn(user, password=password)) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def refusal(proxy: Proxy, user: str, password: str) -> tuple[str, str]:
    with pytest.raises(LoginFailed) as caught:
        Wire(proxy.host, proxy.port).login(user, password, "app")
    return caught.value.fields["C"], caught.value.fields["M"]


class Crowd:
    """Clients that work without a pause; only two at a time until `everybody` is set."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.everybody = asyncio.Event()
        self.stop = asyncio.Event()
        self.answers = 0
        self._few = asyncio.Semaphore(2)

    async def work(self, number: int) -> int:
        """Ask until stopped, on one connection; any error is the test's failure."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            turns = 0
            while not self.stop.is_set():
                quiet = contextlib.nullcontext() if self.everybody.is_set() else self._few
                async with quiet:
                    cursor = await connection.execute("SELECT %s::int, pg_sleep(0.005)", (number,))
                    assert (await cursor.fetchone() or ())[0] == number
                turns += 1
                self.answers += 1
            return turns

    async def wait_answers(self, count: int) -> None:
        goal = self.answers + count
        async with asyncio.timeout(30):
            while self.answers < goal:  # noqa: ASYNC110 - a condition of the test's own
                await asyncio.sleep(0.01)


async def test_rotation_under_load(rotating: Postgres, moto: str) -> None:
    """Fifty clients work on; in between the database is ahead of the secret."""
    manager = client("secretsmanager", moto)
    arn = manager.create_secret(Name=unique(USER), SecretString=secret_text(USER, "the-0ld-one"))[
        "ARN"
    ]
    with (
        aws_environment(),
        temporary_folder() as folder,
        start_proxy(
            folder,
            rotating,
            max_connections_percent=10,
            proxy={"auth": [{"secret_arn": arn}]},
            secrets={"provider": "aws", "endpoint_url": moto, "refresh_interval": 0.5},
        ) as proxy,
    ):
        crowd = Crowd(proxy.dsn(USER, password="the-0ld-one"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(crowd.work(number)) for number in range(CLIENTS)]
            await crowd.wait_answers(4 * CLIENTS)
            before = len(proxy.api("servers")["servers"])
            await asyncio.to_thread(alter, rotating, USER, "the-n3w-one")
            # More servers are wanted than there are, and for a while none can be opened.
            crowd.everybody.set()
            await asyncio.to_thread(
                proxy.wait_for_log, f'password authentication failed for user "{USER}"'
            )
            await crowd.wait_answers(2 * CLIENTS)
            assert (await asyncio.to_thread(proxy.get, "/readyz"))[0] == 200
            await asyncio.to_thread(
                manager.put_secret_value,
                SecretId=arn,
                SecretString=secret_text(USER, "the-n3w-one"),
            )
            await asyncio.to_thread(proxy.wait_for_log, f'has a new password for .* "{USER}"')
            await asyncio.to_thread(
                wait_until, lambda: len(proxy.api("servers")["servers"]) > max(before, 5)
            )
            # The new password is the one that counts, while the others are still at work.
            assert await asyncio.to_thread(refusal, proxy, USER, "the-0ld-one") == wrong_password(
                USER
            )
            assert await asyncio.to_thread(is_let_in, proxy, USER, "the-n3w-one")
            await crowd.wait_answers(2 * CLIENTS)
            crowd.stop.set()
        assert before <= 5
        assert min(task.result() for task in tasks) > 0
        assert proxy.metric("pyproxy_client_connections_received_total") >= CLIENTS
        assert "the-n3w-one" not in proxy.log
        assert "the-0ld-one" not in proxy.log


def test_a_failed_login_reads_the_secret_at_once(rotating: Postgres) -> None:
    """AU-13: long before the timer, the first new database connection finds the new password."""
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            rotating,
            proxy={"auth": [{"secret_arn": "app"}, {"secret_arn": USER}]},
            secrets={"refresh_interval": 3600},
        ) as proxy,
    ):
        write(folder, {USER: "the-0ld-one"})
        # It was not there when the proxy started; SIGHUP looks as well.
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log(f'was read for the database user "{USER}"')
        alter(rotating, USER, "the-n3w-one")
        write(folder, {USER: "the-n3w-one"})
        # With the old password, for that is what the proxy knows; the database says no, and the
        # proxy comes back with the new one.
        assert is_let_in(proxy, USER, "the-0ld-one")
        assert refusal(proxy, USER, "the-0ld-one") == wrong_password(USER)
        assert is_let_in(proxy, USER, "the-n3w-one")


def write(folder: Path, passwords: dict[str, str]) -> None:
    """The file of secrets, renamed into place."""
    secrets = {name: {"username": name, "password": word} for name, word in passwords.items()}
    secrets.setdefault("app", {"username": "app", "password": PASSWORD})
    draft = folder / "secrets.new"
    draft.write_text(yaml.safe_dump(secrets))
    draft.replace(folder / "secrets.yaml")


def test_a_store_that_is_away_stops_nobody(postgres: Postgres) -> None:
    """AU-11: what it said last stays good, for those who are here and for those who come."""
    with contextlib.ExitStack() as stack:
        away = stack.enter_context(contextlib.ExitStack())
        url = away.enter_context(moto_server())
        bench = stack.enter_context(aws_bench(postgres, url))
        with bench.login("app", PASSWORD) as here:
            away.close()
            bench.proxy.wait_for_log("WARN.*Credentials couldn't be retrieved.*last known value")
            bench.proxy.wait_for_log("WARN.*access keys of .* can't be read")
            assert here.value("SELECT 1") == "1"
            bench.login("app", PASSWORD).close()
            bench.login("iam_user", bench.token()).close()
            assert bench.proxy.log.count("last known value") <= len(bench.arns)


def test_alternating_users_break_the_other_name(postgres: Postgres, moto: str) -> None:
    """AU-12, as on AWS; the log says so."""
    with aws_bench(postgres, moto) as bench:
        rename(bench, "app", "app_clone")
        bench.proxy.wait_for_log('changed its user from "app" to "app_clone"; "app" can no longer')
        assert refusal(bench.proxy, "app", PASSWORD) == no_credentials("app")
        rename(bench, "app", "app")
        wait_until(lambda: is_let_in(bench.proxy, "app", PASSWORD))


def rename(bench: Bench, secret: str, user: str) -> None:
    client("secretsmanager", bench.moto).put_secret_value(
        SecretId=bench.arns[secret], SecretString=secret_text(user, PASSWORD)
    )


def test_a_user_in_two_secrets_is_refused(postgres: Postgres, moto: str) -> None:
    """AU-15, L-15."""
    with aws_bench(postgres, moto) as bench:
        rename(bench, "md5", "app")
        wait_until(lambda: not is_let_in(bench.proxy, "app", PASSWORD))
        assert refusal(bench.proxy, "app", PASSWORD) == no_credentials("app")
        bench.proxy.wait_for_log(
            'The database user "app" was found in multiple DB proxy authentication entries'
        )


def test_secrets_in_the_environment(postgres: Postgres) -> None:
    variables = {"PYPROXY_SECRET_TEAM_APP": secret_text("app", PASSWORD)}
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/app-AbCdEf"
    with (
        patch.dict(os.environ, variables),
        temporary_folder() as folder,
        start_proxy(
            folder,
            postgres,
            proxy={"auth": [{"secret_arn": arn}]},
            secrets={"provider": "environment"},
        ) as proxy,
    ):
        assert is_let_in(proxy, "app", PASSWORD)
