"""SCRAM: RFC 7677's example, PostgreSQL's verifiers, and everything that must be refused."""

from __future__ import annotations

import base64
import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.postgres import saslprep, scram
from protocol.postgres.scram import (
    AuthenticationFailed,
    ClientExchange,
    ScramError,
    ServerExchange,
    Verifier,
)
from tests.support.scram_client import Scram

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
# RFC 7677, section 3: user "user", password "pencil".
RFC = Verifier.from_password("pencil", SALT, 4096)
BINDING = ("tls-server-end-point", b"digest of a certificate")


def test_the_verifier_is_postgresqls() -> None:
    """The keys of RFC 7677's example, in the form of pg_authid.rolpassword."""
    assert str(RFC) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert Verifier.parse(str(RFC)) == RFC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "md5abc",
        "SCRAM-SHA-256$0:c2FsdA==$c2FsdA==:c2FsdA==",
        "SCRAM-SHA-256$4096:c2FsdA==$c2FsdA==:c2FsdA==",
        "SCRAM-SHA-256$4096:!$c2FsdA==:c2FsdA==",
    ],
)
def test_what_is_no_verifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SCRAM-SHA-256|base64|padding|Incorrect"):
        Verifier.parse(text)


def test_a_mock_verifier_never_changes_and_fits_nobody() -> None:
    """An attacker who asks twice must not see that the user does not exist."""
    one, again = Verifier.mock("nobody", b"secret"), Verifier.mock("nobody", b"secret")
    assert one == again
    assert Verifier.mock("somebody", b"secret").salt != one.salt
    assert one.iterations == 4096


def converse(server: ServerExchange, client: ClientExchange) -> None:
    client.verify(server.final(client.respond(server.first(client.mechanism, client.first()))))


@pytest.mark.parametrize("binding", [None, BINDING], ids=["plain", "bound"])
@pytest.mark.parametrize("password", ["pencil", "pässwörd", b"\xff\xfe raw", ""], ids=repr)
def test_both_halves_understand_each_other(
    password: str | bytes, binding: tuple[str, bytes] | None
) -> None:
    server = ServerExchange(Verifier.from_password(password), channel_binding=binding)
    client = ClientExchange(password, server.mechanisms, channel_binding=binding)
    assert client.mechanism == ("SCRAM-SHA-256-PLUS" if binding else "SCRAM-SHA-256")
    converse(server, client)


def test_an_independent_client_gets_in() -> None:
    server, client = ServerExchange(RFC), Scram("pencil")
    client.verify(server.final(client.final(server.first("SCRAM-SHA-256", client.first()))))


def test_a_backend_with_few_iterations_is_understood() -> None:
    """PostgreSQL lets scram_iterations be 1; scramp alone would refuse below 4096."""
    server = ServerExchange(Verifier.from_password("x", iterations=1))
    converse(server, ClientExchange("x", ("SCRAM-SHA-256",)))


def test_what_an_exchange_knows_goes_with_it() -> None:
    """Keys do not stay in memory until the collector finds them."""
    server = ServerExchange(RFC)
    converse(server, ClientExchange("pencil", server.mechanisms))
    gone = weakref.ref(server)
    gc.disable()
    try:
        del server
        assert gone() is None
    finally:
        gc.enable()


def test_a_wrong_password_fails_without_saying_why() -> None:
    server = ServerExchange(RFC)
    client = Scram("wrong")
    with pytest.raises(AuthenticationFailed) as caught:
        server.final(client.final(server.first("SCRAM-SHA-256", client.first())))
    assert str(caught.value) == "SCRAM: the proof is wrong"


def test_a_server_that_does_not_know_the_password_is_found_out() -> None:
    server = ServerExchange(RFC)
    client = ClientExchange("pencil", server.mechanisms)
    final = server.final(client.respond(server.first(client.mechanism, client.first())))
    forged = b"v=" + base64.b64encode(b"\0" * 32)
    assert final != forged
    with pytest.raises(ScramError):
        client.verify(forged)


FIRSTS: list[tuple[str, str, bytes]] = [
    ("not offered", "SCRAM-SHA-512", b"n,,n=,r=abc"),
    ("not bound", "SCRAM-SHA-256-PLUS", b"n,,n=,r=abc"),
    ("bound in plain", "SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"),
    ("empty", "SCRAM-SHA-256", b""),
    ("no flag", "SCRAM-SHA-256", b"n=,r=abc"),
    ("no nonce", "SCRAM-SHA-256", b"n,,n="),
    ("not utf-8", "SCRAM-SHA-256", b"n,,n=\xff,r=abc"),
    ("a nul", "SCRAM-SHA-256", b"n,,n=\0,r=abc"),
    ("too long", "SCRAM-SHA-256", b"n,,n=,r=" + b"a" * 70_000),
]


@pytest.mark.parametrize(("_", "mechanism", "data"), FIRSTS, ids=[row[0] for row in FIRSTS])
def test_a_bad_first_message_is_refused(_: str, mechanism: str, data: bytes) -> None:
    with pytest.raises(ScramError, match="SCRAM"):
        ServerExchange(RFC).first(mechanism, data)


def test_a_final_message_out_of_turn_is_refused() -> None:
    with pytest.raises(ScramError, match="before the first"):
        ServerExchange(RFC).final(b"c=biws,r=x,p=AAAA")


CHANGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("another nonce", lambda m: m.replace(b"r=", b"r=x", 1)),
    ("no proof", lambda m: m[: m.index(b",p=")]),
    ("a short proof", lambda m: m[: m.index(b",p=")] + b",p=AAAA"),
    ("not base64", lambda m: m[: m.index(b",p=")] + b",p=%%%%"),
    ("another binding", lambda m: m.replace(b"c=biws", b"c=eSws", 1)),
    ("nothing", lambda _: b""),
]


@pytest.mark.parametrize(("_", "change"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_changed_final_message_is_refused(_: str, change: Callable[[bytes], bytes]) -> None:
    server, client = ServerExchange(RFC), Scram("pencil")
    final = client.final(server.first("SCRAM-SHA-256", client.first()))
    with pytest.raises(ScramError):
        server.final(change(final))


@given(st.binary(max_size=80))
def test_hostile_bytes_only_ever_are_a_scram_error(data: bytes) -> None:
    server, client = ServerExchange(RFC), ClientExchange("x", ("SCRAM-SHA-256",))
    client.first()
    for attempt in (
        lambda: server.first("SCRAM-SHA-256", data),
        lambda: server.final(data),
        lambda: client.respond(data),
    ):
        try:
            attempt()
        except ScramError as error:
            assert str(error).startswith("SCRAM")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"r=abc",
        b"r=abc,s=!!,i=4096",
        b"r=abc,s=c2FsdA==,i=0",
        b"r=abc,s=c2FsdA==,i=999999999",
        b"r=other,s=c2FsdA==,i=4096",
    ],
)
def test_a_bad_server_first_message_is_refused(data: bytes) -> None:
    """A hostile database must not make us hash for a minute."""
    client = ClientExchange("x", ("SCRAM-SHA-256",))
    client.first()
    with pytest.raises(ScramError):
        client.respond(data)


def test_a_server_that_offers_nothing_we_know_is_refused() -> None:
    with pytest.raises(ScramError, match="offers neither"):
        ClientExchange("x", ("GS2-KRB5",))


def test_a_password_is_hashed_once() -> None:
    """Key material may be kept by who asks: `salted`."""
    hashed: list[int] = []

    def salter(password: bytes, salt: bytes, iterations: int) -> bytes:
        hashed.append(iterations)
        return scram.salted_password(password, salt, iterations)

    server = ServerExchange(RFC)
    converse(server, ClientExchange("pencil", server.mechanisms, salted=salter))
    assert hashed == [4096]


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        (b"plain", b"plain"),
        ("I\u00adX".encode(), b"IX"),
        ("\u00aa".encode(), b"a"),
        ("\u2168".encode(), b"IX"),
        ("a\u00a0b".encode(), b"a b"),
        # What SASLprep forbids is hashed as it is, as PostgreSQL does.
        ("\u0007\u00e4".encode(), "\u0007\u00e4".encode()),
        ("\u0627\u0031".encode(), "\u0627\u0031".encode()),
        ("\u0627a\u0628".encode(), "\u0627a\u0628".encode()),
        ("\u0627\u0628".encode(), "\u0627\u0628".encode()),
        ("\u00ad".encode(), "\u00ad".encode()),
        (b"\xff", b"\xff"),
    ],
)
def test_passwords_are_prepared_as_postgresql_does(password: bytes, prepared: bytes) -> None:
    """RFC 4013, section 3, with PostgreSQL's fallback to the raw bytes."""
    assert saslprep.prepare(password) == prepared
