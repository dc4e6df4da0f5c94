"""The three methods, played by a client of the tests."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth import METHODS, policy
from pyproxy.auth.access_key import AccessKey
from pyproxy.auth.directory import StaticKeys
from pyproxy.auth.exchange import Accepted, Challenge, Exchange, Login, Refusal
from pyproxy.auth.iam import Expected, dbuser_arn
from pyproxy.auth.secret import Secret
from tests.support.aws_oracle import NOW, boto3_token
from tests.support.scram_client import Scram, md5_response

PASSWORD = "corr3ct-horse"
SECRET = Secret("app", PASSWORD)
HOST = "my-proxy.proxy-abc.us-east-1.rds.amazonaws.com"
ANYTHING = policy.parse({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
KEYS = StaticKeys([AccessKey("AKIDEXAMPLE", "secret", "", (ANYTHING,))])
EXPECTED = Expected(
    "app",
    frozenset({f"{HOST}:5432"}),
    "us-east-1",
    dbuser_arn("us-east-1", "123456789012", "prx-0123456789abcdef0", "app"),
)
TOKEN = boto3_token("app")
P = ord("p")


def login(
    secret: Secret | None = SECRET,
    *,
    age: float = 0,
    binding: tuple[str, bytes] | None = None,
    default_scheme_iam: bool = False,
) -> Login:
    return Login(
        user="app",
        secret=secret,
        expected=EXPECTED,
        keys=KEYS,
        clock=lambda: NOW + timedelta(seconds=age),
        channel_binding=binding,
        default_scheme_iam=default_scheme_iam,
    )


def scram() -> Exchange:
    return METHODS["POSTGRES_SCRAM_SHA_256"](login())


def md5() -> Exchange:
    return METHODS["POSTGRES_MD5"](login())


def iam() -> Exchange:
    return METHODS["IAM"](login())


def said(message: bytes) -> tuple[int, bytes]:
    """The code of an authentication message and what follows; the framing is checked."""
    assert message[:1] == b"R"
    assert int.from_bytes(message[1:5], "big") == len(message) - 1
    return int.from_bytes(message[5:9], "big"), message[9:]


def initial(data: bytes, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    return mechanism + b"\0" + len(data).to_bytes(4, "big") + data


def play_scram(exchange: Exchange, password: str) -> bytes:
    """Both rounds; returns the server's final message."""
    client = Scram(password)
    assert said(exchange.challenge()) == (10, b"SCRAM-SHA-256\0\0")
    first = exchange.answer(P, initial(client.first()))
    assert isinstance(first, Challenge)
    code, data = said(first.message)
    assert code == 11
    assert data.split(b",")[2] == b"i=4096"
    final = exchange.answer(P, client.final(data))
    assert isinstance(final, Accepted)
    code, data = said(final.message)
    assert code == 12
    client.verify(data)
    return data


def play_md5(exchange: Exchange, password: str) -> None:
    code, salt = said(exchange.challenge())
    assert (code, len(salt)) == (5, 4)
    outcome = exchange.answer(P, md5_response("app", password, salt).encode() + b"\0")
    assert outcome == Accepted(b"")


def play_iam(exchange: Exchange, token: str) -> None:
    assert said(exchange.challenge()) == (3, b"")
    assert exchange.answer(P, token.encode() + b"\0") == Accepted(b"")


def test_scram_accepts_the_secrets_password_and_proves_itself() -> None:
    """AU-20: 4096 iterations; both sides prove that they know the password."""
    play_scram(scram(), PASSWORD)


def test_md5_accepts_the_secrets_password() -> None:
    """AU-20."""
    play_md5(md5(), PASSWORD)


def test_iam_accepts_a_token() -> None:
    """AU-22."""
    play_iam(iam(), TOKEN)


def test_each_md5_client_gets_its_own_salt() -> None:
    assert len({md5().challenge() for _ in range(20)}) == 20


def test_channel_binding_is_offered_only_when_asked_for() -> None:
    """AU-20: SCRAM-SHA-256-PLUS is an extension."""
    bound = METHODS["POSTGRES_SCRAM_SHA_256"](login(binding=("tls-server-end-point", b"x" * 32)))
    assert said(bound.challenge()) == (10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")


def refused(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        act()
    return caught.value


@pytest.mark.parametrize(
    ("act", "sqlstate", "reason"),
    [
        pytest.param(
            lambda: play_scram(scram(), "guess"), "28P01", "not that of the secret", id="SCRAM"
        ),
        pytest.param(lambda: play_md5(md5(), "guess"), "28P01", "not that of the secret", id="MD5"),
        pytest.param(
            lambda: md5().answer(P, PASSWORD.encode() + b"\0"),
            "28P01",
            "not that of the secret",
            id="a clear password for MD5",
        ),
        pytest.param(
            lambda: scram().answer(P, PASSWORD.encode() + b"\0"),
            "28000",
            "another authentication method",
            id="a clear password for SCRAM (AU-21)",
        ),
        pytest.param(
            lambda: scram().answer(P, initial(b"n,,n=,r=x", b"SCRAM-SHA-1")),
            "28000",
            "another authentication method",
            id="another mechanism (AU-21)",
        ),
        pytest.param(
            lambda: scram().answer(P, b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            "28000",
            "another authentication method",
            id="no initial response",
        ),
        pytest.param(
            lambda: scram().answer(P, TOKEN.encode() + b"\0"),
            "28000",
            "an IAM token, and its user logs in by password",
            id="a token for SCRAM (E-PG-21)",
        ),
        pytest.param(
            lambda: md5().answer(P, TOKEN.encode() + b"\0"),
            "28000",
            "an IAM token, and its user logs in by password",
            id="a token for MD5 (E-PG-21)",
        ),
        pytest.param(
            lambda: scram().answer(P, initial(b"rubbish")), "08P01", "malformed", id="no SCRAM"
        ),
        pytest.param(
            lambda: scram().answer(ord("Q"), b"SELECT 1\0"),
            "08P01",
            "expected password response, got message type 81",
            id="a query",
        ),
        pytest.param(
            lambda: iam().answer(ord("Q"), b"SELECT 1\0"),
            "08P01",
            "expected password response",
            id="a query for IAM",
        ),
        pytest.param(
            lambda: iam().answer(P, b"\0"),
            "28P01",
            "The proxy couldn't authenticate using IAM. The authentication token is empty.",
            id="an empty token (L-13)",
        ),
        pytest.param(
            lambda: iam().answer(P, PASSWORD.encode() + b"\0"),
            "28P01",
            "What the client sent is not an IAM token.",
            id="a password for IAM (AU-42)",
        ),
        pytest.param(
            lambda: iam().answer(P, b"\xff\xfe\0"), "28P01", "not an IAM token", id="not UTF-8"
        ),
        pytest.param(
            lambda: METHODS["IAM"](login(age=912)).answer(P, TOKEN.encode() + b"\0"),
            "28P01",
            "The proxy couldn't authenticate using IAM. The token expired 12 s ago",
            id="an old token",
        ),
        pytest.param(
            lambda: METHODS["IAM"](login(None, default_scheme_iam=True)).answer(
                P, PASSWORD.encode() + b"\0"
            ),
            "28000",
            "not an IAM token",
            id="a password where IAM is the default (E-PG-20)",
        ),
        pytest.param(
            lambda: METHODS["IAM"](login(None, default_scheme_iam=True, age=912)).answer(
                P, TOKEN.encode() + b"\0"
            ),
            "28P01",
            "expired",
            id="an old token where IAM is the default",
        ),
    ],
)
def test_a_wrong_answer_is_refused_with_its_cause(
    act: Callable[[], object], sqlstate: str, reason: str
) -> None:
    refusal = refused(act)
    assert (refusal.severity, refusal.sqlstate) == ("FATAL", sqlstate)
    assert reason in refusal.reason
    assert refusal.reason not in refusal.message
    shown = f"{refusal} {refusal.reason} {refusal!r} {refusal.__cause__!r}"
    assert PASSWORD not in shown
    assert TOKEN.rpartition("=")[2] not in shown


@pytest.mark.parametrize("guess", ["guess", "", "corr3ct-hors", "x" * 500])
def test_what_was_wrong_with_a_password_does_not_show(guess: str) -> None:
    """Every wrong password is told the same after the same messages (AU-24)."""
    scram_refusal = refused(lambda: play_scram(scram(), guess))
    md5_refusal = refused(lambda: play_md5(md5(), guess))
    assert (
        scram_refusal.message
        == md5_refusal.message
        == "The password that was provided for the role app is wrong."
    )


def test_a_scram_exchange_is_not_used_twice() -> None:
    """Who has logged in has logged in; a third message is malformed."""
    exchange = scram()
    play_scram(exchange, PASSWORD)
    with pytest.raises(Refusal):
        exchange.answer(P, b"c=biws,r=x,p=AAAA")


@given(st.sampled_from(list(METHODS)), st.lists(st.binary(max_size=80), max_size=3))
def test_rubbish_is_refused_and_nothing_else_happens(method: str, bodies: list[bytes]) -> None:
    """CVE-2026-6664: no malformed message before the login is an accident."""
    exchange = METHODS[method](login())
    exchange.challenge()
    for body in bodies:
        try:
            outcome = exchange.answer(P, body)
        except Refusal as refusal:
            assert refusal.message
            return
        assert isinstance(outcome, Challenge)
