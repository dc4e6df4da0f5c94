"""Which method a client must use."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pyproxy.auth.authenticator import Authenticator
from pyproxy.auth.credentials import Credentials
from pyproxy.auth.directory import StaticKeys
from pyproxy.auth.exchange import Exchange, Refusal
from pyproxy.auth.iam_login import TokenExchange
from pyproxy.auth.password import Md5Exchange, ScramExchange
from pyproxy.config import AuthConfig, ProxyConfig
from tests.support.auth_entries import FakeStore, entry
from tests.support.scram_client import Scram, md5_response

SECRETS = {
    "scram": ("scram_user", "x"),
    "md5": ("md5_user", "x"),
    "iam": ("iam_user", "x"),
    "twice": ("twin", "x"),
    "again": ("twin", "y"),
    "unset": ("unset_user", "x"),
}
ENTRIES = [
    entry("scram"),
    entry("md5", kind="POSTGRES_MD5"),
    entry("iam", iam_auth="REQUIRED"),
    entry("twice"),
    entry("again"),
    entry("unset", kind=""),
]


async def make(
    entries: Sequence[AuthConfig] = ENTRIES, clock: Callable[[], float] = lambda: 0.0, **config: Any
) -> Authenticator:
    credentials = Credentials(entries, FakeStore(SECRETS))
    await credentials.refresh()
    return Authenticator(ProxyConfig(**config), credentials, StaticKeys([]), monotonic=clock)


async def begin(user: str, *, tls: bool = True, scheme: str = "NONE") -> Exchange:
    authenticator = await make(default_auth_scheme=scheme)
    return authenticator.begin(user, names=frozenset({"localhost:6432"}), tls=tls)


@pytest.mark.parametrize(
    ("user", "scheme", "method"),
    [
        pytest.param("scram_user", "NONE", ScramExchange, id="SCRAM"),
        pytest.param("md5_user", "NONE", Md5Exchange, id="MD5"),
        pytest.param("unset_user", "NONE", ScramExchange, id="SCRAM is the default (AU-03)"),
        pytest.param("iam_user", "NONE", TokenExchange, id="IAM by the secret (AU-02)"),
        pytest.param("scram_user", "IAM_AUTH", ScramExchange, id="both coexist (AU-51)"),
        pytest.param("anybody", "IAM_AUTH", TokenExchange, id="IAM by default (AU-50)"),
    ],
)
async def test_the_method_follows_from_the_user(
    user: str, scheme: str, method: type[Exchange]
) -> None:
    assert isinstance(await begin(user, scheme=scheme), method)


@pytest.mark.parametrize("user", ["scram_user", "md5_user"])
async def test_a_password_needs_no_tls(user: str) -> None:
    assert await begin(user, tls=False)


@pytest.mark.parametrize(
    ("user", "tls", "scheme", "text", "reason"),
    [
        pytest.param("iam_user", False, "NONE", "E-PG-01", "needs TLS", id="AU-32"),
        pytest.param("anybody", False, "IAM_AUTH", "E-PG-05", "needs TLS", id="IAM by default"),
    ],
)
async def test_who_needs_tls_is_told_before_any_question(
    user: str, scheme: str, text: str, reason: str, *, tls: bool
) -> None:
    texts = {
        "E-PG-01": "IAM authentication is allowed only with SSL connections.",
        "E-PG-05": "IAM is allowed only with SSL connections.",
    }
    with pytest.raises(Refusal) as caught:
        await begin(user, tls=tls, scheme=scheme)
    assert (caught.value.sqlstate, caught.value.message) == ("28000", texts[text])
    assert reason in caught.value.reason


NO_CREDENTIALS = "This RDS proxy has no credentials for the role {}. Check the credentials for this role and try again."
WRONG_PASSWORD = "The password that was provided for the role {} is wrong."
P = ord("p")


def play_scram(exchange: Exchange) -> tuple[list[int], Refusal]:
    """A client with some password: the lengths of what it is sent, and how it ends."""
    client = Scram("whatever")
    sent = [exchange.challenge()]
    first = client.first()
    sent.append(
        exchange.answer(P, b"SCRAM-SHA-256\0" + len(first).to_bytes(4, "big") + first).message
    )
    with pytest.raises(Refusal) as caught:
        exchange.answer(P, client.final(sent[-1][9:]))
    return [len(message) for message in sent], caught.value


@pytest.mark.parametrize(
    ("user", "scheme", "reason"),
    [
        pytest.param("nobody", "NONE", "No secret in proxy.auth has the user", id="AU-16"),
        pytest.param("twin", "NONE", "multiple DB proxy authentication", id="AU-15"),
        pytest.param("twin", "IAM_AUTH", "multiple DB proxy", id="AU-15 with IAM by default"),
    ],
)
async def test_a_user_without_a_secret_is_asked_like_the_others(
    user: str, scheme: str, reason: str
) -> None:
    """Lesson 40: as many messages, of the same length; only the last one differs, as in AWS."""
    strange, refusal = play_scram(await begin(user, scheme=scheme))
    known, wrong = play_scram(await begin("scram_user", scheme=scheme))
    assert strange == known
    assert (refusal.sqlstate, refusal.message) == ("28000", NO_CREDENTIALS.format(user))
    assert wrong.message == WRONG_PASSWORD.format("scram_user")
    assert refusal.method == wrong.method
    assert reason in refusal.reason


async def test_a_strangers_salt_does_not_change_and_is_his_own() -> None:
    """PostgreSQL's mock authentication: who asks twice learns nothing."""
    authenticator = await make()
    first = b"SCRAM-SHA-256\0" + (9).to_bytes(4, "big") + b"n,,n=,r=a"

    def salt(user: str) -> bytes:
        exchange = authenticator.begin(user, names=frozenset(), tls=False)
        exchange.challenge()
        return exchange.answer(P, first).message.split(b",")[1]

    assert salt("nobody") == salt("nobody") != salt("no one")


async def test_a_stranger_is_asked_by_md5_where_all_are() -> None:
    authenticator = await make([entry("md5", kind="POSTGRES_MD5")])
    exchange = authenticator.begin("nobody", names=frozenset(), tls=False)
    challenge = exchange.challenge()
    assert challenge[5:9] == b"\0\0\0\5"
    with pytest.raises(Refusal, match="no credentials"):
        exchange.answer(P, md5_response("nobody", "x", challenge[9:]).encode() + b"\0")


async def test_a_stranger_is_asked_for_a_token_where_all_are() -> None:
    authenticator = await make([entry("iam", iam_auth="REQUIRED")])
    exchange = authenticator.begin("nobody", names=frozenset(), tls=True)
    assert exchange.challenge()[5:9] == b"\0\0\0\3"
    with pytest.raises(Refusal, match="no credentials"):
        exchange.answer(P, b"x\0")
    with pytest.raises(Refusal, match="no credentials"):
        authenticator.begin("nobody", names=frozenset(), tls=False)


async def test_too_many_iam_logins_a_second_are_refused() -> None:
    """AU-40, E-PG-13; passwords are not counted."""
    now = [0.0]
    authenticator = await make(clock=lambda: now[0], iam_connection_rate_limit=2)

    def come(user: str) -> None:
        authenticator.begin(user, names=frozenset(), tls=True)

    for user in ("iam_user", "scram_user", "iam_user", "scram_user"):
        come(user)
    with pytest.raises(Refusal) as caught:
        come("iam_user")
    assert (caught.value.sqlstate, caught.value.message) == (
        "53300",
        "The IAM authentication failed because of too many competing requests.",
    )
    now[0] = 1.0
    come("iam_user")
