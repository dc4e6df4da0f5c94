"""IAM from end to end: moto's IAM and STS, boto3's tokens, real drivers, a real database.

Who may log in does, and whoever may not is told AWS's words; the operator's log says why.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import pytest

from tests.support.bench_of_aws import (
    IAM_PASSWORD,
    RESOURCES,
    Bench,
    aws_bench,
    iam_user_key,
    statement,
)
from tests.support.postgres import Postgres
from tests.support.wire import LoginFailed

pytestmark = pytest.mark.integration

TOKEN_REFUSED = (
    "28P01",
    "IAM authentication failed for user iam_user. Check the IAM token for this user and try again.",
)
NO_TOKEN = (
    "28P01",
    "The IAM authentication failed for the role iam_user. Check the IAM token for this role and try again.",
)
NEEDS_TLS = ("28000", "IAM authentication is allowed only with SSL connections.")


@pytest.fixture(scope="module")
def bench(postgres: Postgres, moto: str) -> Iterator[Bench]:
    with aws_bench(postgres, moto) as bench:
        yield bench


def refused(bench: Bench, user: str, password: str, *, tls: bool = True) -> tuple[str, str]:
    """SQLSTATE and text that the client is told."""
    with pytest.raises(LoginFailed) as caught:
        bench.login(user, password, tls=tls)
    assert caught.value.fields["S"] == "FATAL"
    return caught.value.fields["C"], caught.value.fields["M"]


# -- who is let in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["user", "role", "configured"])
def test_a_token_logs_in(bench: Bench, key: str) -> None:
    """AU-30: with a user's key, a role's temporary credentials, a key of the configuration."""
    with bench.login("iam_user", bench.token(key=bench.keys[key])) as wire:
        assert wire.value("SELECT current_user") == "iam_user"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_the_endpoint_has_several_names(bench: Bench, host: str) -> None:
    with bench.login("iam_user", bench.token(host=host)) as wire:
        assert wire.value("SELECT 1") == "1"


def test_psycopg_logs_in(bench: Bench) -> None:
    with psycopg.connect(bench.url("iam_user"), password=bench.token()) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("iam_user",)


def test_psycopg_logs_in_by_a_url(bench: Bench) -> None:
    """AU-41: the token percent-encoded."""
    url = bench.url("iam_user").replace("@", f":{quote(bench.token(), safe='')}@", 1)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("iam_user",)


def test_psycopg2_logs_in(bench: Bench) -> None:
    connection = psycopg2.connect(bench.url("iam_user"), password=bench.token())
    connection.close()


async def test_asyncpg_logs_in(bench: Bench) -> None:
    connection = await asyncpg.connect(
        host="localhost",
        port=bench.proxy.port,
        user="iam_user",
        database="app",
        password=bench.token(key=bench.keys["role"]),
        ssl=bench.tls,
    )
    assert await connection.fetchval("SELECT current_user") == "iam_user"
    await connection.close()


def test_pg8000_logs_in(bench: Bench) -> None:
    connection = pg8000.dbapi.connect(
        host="localhost",
        port=bench.proxy.port,
        user="iam_user",
        database="app",
        password=bench.token(),
        ssl_context=bench.tls,
    )
    connection.close()


def test_an_open_session_outlives_the_key_and_a_new_one_does_not(bench: Bench) -> None:
    """AU-36: checked at login only."""
    from tests.support.moto_server import client

    key = iam_user_key(bench.moto, statement("Allow", "iam_user"))
    deadline = datetime.now(UTC) + timedelta(seconds=15)
    while True:
        try:
            wire = bench.login("iam_user", bench.token(key=key))
            break
        except LoginFailed:
            assert datetime.now(UTC) < deadline, "a new key was never found"
    client("iam", bench.moto).update_access_key(AccessKeyId=key.access_key_id, Status="Inactive")
    with wire:
        while True:
            assert wire.value("SELECT current_user") == "iam_user"
            try:
                bench.login("iam_user", bench.token(key=key)).close()
            except LoginFailed as failed:
                assert (failed.fields["C"], failed.fields["M"]) == TOKEN_REFUSED
                break
            assert datetime.now(UTC) < deadline, "a key that is no longer active goes on working"
    bench.proxy.wait_for_log(f"'{key.access_key_id}' is not known to the proxy")


# -- who is not ------------------------------------------------------------------------------------


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def without(parameter: str) -> Callable[[str], str]:
    return lambda token: re.sub(rf"[?&]{parameter}=[^&]*", "", token)


REFUSALS: dict[str, tuple[Callable[[Bench], str], tuple[str, str], str]] = {
    "expired": (
        lambda b: b.token(now=ago(912)),
        TOKEN_REFUSED,
        r"The token expired 1\d s ago: it was signed at \d{8}T\d{6}Z and lived 900 s",
    ),
    "dated in the future": (
        lambda b: b.token(now=ago(-330)),
        TOKEN_REFUSED,
        r"The token is dated 3\d\d s in the future",
    ),
    "for the database instead of the proxy": (
        lambda b: b.token(host="db.internal"),
        TOKEN_REFUSED,
        r"signed for 'db\.internal:\d+'; this endpoint is known as .*localhost:\d+",
    ),
    "for another port": (
        lambda b: b.token(port=5433),
        TOKEN_REFUSED,
        "signed for 'localhost:5433'; this endpoint is known as",
    ),
    "for another region": (
        lambda b: b.token(region="eu-west-1"),
        TOKEN_REFUSED,
        "signed for the region 'eu-west-1', the proxy is in 'us-east-1'",
    ),
    "for another user": (
        lambda b: b.token("other_user"),
        TOKEN_REFUSED,
        "signed for the user 'other_user', the client logs in as 'iam_user'",
    ),
    "for the user in another case": (
        lambda b: b.token("IAM_User"),
        TOKEN_REFUSED,
        "signed for the user 'IAM_User'",
    ),
    "by a key that nobody knows": (
        lambda b: b.token(key=("AKIDSTRANGER", "x", None)),
        TOKEN_REFUSED,
        "access key 'AKIDSTRANGER' is not known to the proxy",
    ),
    "with another secret access key": (
        lambda b: b.token(key=(b.keys["user"].access_key_id, "guessed", None)),
        TOKEN_REFUSED,
        "signature is wrong: it was not signed with the secret of the access key",
    ),
    "without the session token": (
        lambda b: b.token(key=(*b.keys["role"][:2], None)),
        TOKEN_REFUSED,
        "has no session token, and the access key ASIA.* needs one",
    ),
    "with another session token": (
        lambda b: b.token(key=(*b.keys["role"][:2], "another")),
        TOKEN_REFUSED,
        "The session token is not that of the access key",
    ),
    "with a session token too many": (
        lambda b: b.token(key=(*b.keys["user"][:2], "extra")),
        TOKEN_REFUSED,
        "has a session token, and the access key AKIA.* is not temporary",
    ),
    "by a key without permissions": (
        lambda b: b.token(key=b.keys["nothing"]),
        TOKEN_REFUSED,
        f"may not connect: no policy allows rds-db:connect on {RESOURCES}iam_user",
    ),
    "by a key that may log in as somebody else": (
        lambda b: b.token(key=b.keys["elsewhere"]),
        TOKEN_REFUSED,
        "may not connect: no policy allows",
    ),
    "by a key that is denied it": (
        lambda b: b.token(key=b.keys["denied"]),
        TOKEN_REFUSED,
        "may not connect: statement 2 denies rds-db:connect",
    ),
    "cut off by a driver": (
        lambda b: b.token()[:-20],
        NO_TOKEN,
        "X-Amz-Signature is not complete; it may have been cut off.",
    ),
    "a password": (lambda b: IAM_PASSWORD, NO_TOKEN, "What the client sent is not an IAM token"),
    "nothing": (lambda b: "", NO_TOKEN, "The authentication token is empty"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_token_is_refused(bench: Bench, name: str) -> None:
    """E-PG-08, E-PG-09: the client is told no more than that; the log says why (L-13)."""
    make, told, why = REFUSALS[name]
    assert refused(bench, "iam_user", make(bench)) == told
    line = bench.proxy.wait_for_log(why)
    assert (
        'Proxy authentication with IAM authentication failed for user "iam_user" with TLS on.'
        " Reason: The proxy couldn't authenticate using IAM. "
    ) in line


PARAMETERS = (
    "Action",
    "DBUser",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_token_that_was_tampered_with_is_refused(bench: Bench, parameter: str) -> None:
    """Every field, changed, taken away or given twice."""
    token = bench.token(key=bench.keys["role"])
    value = re.search(rf"[?&]{parameter}=([^&]*)", token)
    assert value
    at = value.start(1)
    changes = [
        f"{token[:at]}{'1' if token[at] != '1' else '2'}{token[at + 1 :]}",
        token[: value.end(1) - 1] + ("0" if token[value.end(1) - 1] != "0" else "a")
        + token[value.end(1) :],
        without(parameter)(token),
        f"{token}&{parameter}={value[1]}",
    ]  # fmt: skip
    for changed in changes:
        assert refused(bench, "iam_user", changed) in (TOKEN_REFUSED, NO_TOKEN)
    bench.login("iam_user", token).close()


def test_iam_needs_tls(bench: Bench) -> None:
    """AU-32: E-PG-01, before the token is sent in clear."""
    assert refused(bench, "iam_user", bench.token(), tls=False) == NEEDS_TLS
    bench.proxy.wait_for_log('user "iam_user" with TLS off. Reason: IAM authentication needs TLS')


def test_a_token_where_a_password_is_required(bench: Bench) -> None:
    """SCRAM proves that it is not the password; MD5 likewise. Nobody sees the token."""
    for user in ("app", "md5"):
        told = refused(bench, user, bench.token(user))
        assert told == ("28P01", f"The password that was provided for the role {user} is wrong.")


def test_the_log_has_no_token(bench: Bench) -> None:
    """Invariant 9; after everything above."""
    log = bench.proxy.log
    assert "X-Amz-Signature=" not in log
    assert IAM_PASSWORD not in log
    for key in bench.keys.values():
        assert key.secret_access_key not in log
        assert not key.session_token or key.session_token not in log


# -- a storm ---------------------------------------------------------------------------------------


async def test_two_hundred_tokens_at_once(bench: Bench) -> None:
    """AU-40: as many as AWS advises at most."""
    token = bench.token()

    async def one() -> None:
        connection = await asyncpg.connect(
            host="localhost",
            port=bench.proxy.port,
            user="iam_user",
            database="app",
            password=token,
            ssl=context,
            timeout=60,
        )
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    context = ssl.create_default_context(cafile=str(bench.proxy.certificate_authority))
    await asyncio.gather(*(one() for _ in range(200)))
