"""A database that talks nonsense harms the one client that it talks to, and no other.

Whatever comes: the client gets an answer or an end with at most one FATAL, a client beside it goes
on, the server connection is closed with a logged reason, memory stays bounded (lessons 4, 5, 32).
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fake_server import (
    OK,
    READY,
    WELCOME,
    FakeServer,
    Peer,
    error,
    fields,
    honest,
    result,
    row,
)
from tests.support.messages import Bind, Execute, Parse, Query, Sync, message
from tests.support.postgres import PASSWORD, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.adversity

MEGABYTE = 1 << 20

# What the database says to a simple query, and then falls silent.
NONSENSE = {
    "noise": b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09",
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "length too short": b"Z\0\0\0\3",
    "length zero": b"D\0\0\0\0",
    "length negative": b"D\xff\xff\xff\xff",
    "ready without status": b"Z\0\0\0\4",
    "ready without status, more follows": b"Z\0\0\0\4" + READY,
    "ready with an unknown status": message(b"Z", b"?"),
    "ready with too much": message(b"Z", b"II"),
    "ready that is huge": b"Z\x10\0\0\0",
    "complete without a tag": b"C\0\0\0\4",
    "complete without its end": message(b"C", b"SELECT 1"),
    "parameter without a body": b"S\0\0\0\4",
    "parameter without a value": message(b"S", b"DateStyle\0"),
    "parameter with noise": message(b"S", b"\xff\xfe\0\xff\0"),
    "parameter that is huge": b"S\x10\0\0\0name",
    "unknown message": message(b"!", b"what"),
    "authentication": OK,
    "cancel key": message(b"K", bytes(8)),
    "copy both": message(b"W", b"\0\0\0"),
    "answer to a parse": message(b"1"),
    "answer to a bind": message(b"2"),
    "answer to a close": message(b"3"),
    "no data": message(b"n"),
    "suspended": message(b"s"),
    "two ready": result(b"1") + READY,
    "copy in twice": message(b"G", b"\0\0\0") * 2,
    "copy in without a body": message(b"G"),
    "negotiation": message(b"v", bytes(8)),
    "fatal without an end": error("FATAL", "57P01", "bye"),
    "two fatals": error("FATAL", "57P01", "bye") * 2,
    "error of nothing": message(b"E", b"\0"),
    "error without an end": message(b"E", b"SERROR\0"),
    "error without a body": message(b"E"),
}


@pytest.fixture(scope="module")
def liar() -> Iterator[tuple[FakeServer, Proxy]]:
    """A database that answers `attack N` with the N-th nonsense, and a proxy before it."""

    def answer(peer: Peer, tag: bytes, body: bytes) -> None:
        if body.startswith(b"attack "):
            peer.say(NONSENSE[body[7:-1].decode()])
        else:
            honest(peer, tag, body)

    with (
        FakeServer(answer) as database,
        temporary_folder() as folder,
        start_proxy(folder, database, proxy={"debug_logging": True}) as proxy,
    ):
        yield database, proxy


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_a_session(liar: tuple[FakeServer, Proxy], name: str) -> None:
    """Lesson 30: only the one who was lied to notices, and the server is not handed on."""
    database, proxy = liar
    before = len(proxy.log)
    with proxy.wire() as witness, proxy.wire() as victim:
        assert witness.value("before") == "before"
        victim.send(Query(f"attack {name}"))
        heard = victim.read_quiet(0.3)
        assert sum(r.tag == "E" and r.fields.get("S") == "FATAL" for r in heard) <= 1
        victim.vanish()
        assert witness.value("after") == "after"
    assert database.connections
    proxy.await_rest()
    assert "Traceback" not in proxy.log[before:]


def test_an_error_without_sqlstate_is_passed_on(liar: tuple[FakeServer, Proxy]) -> None:
    """Lesson 5: CVE-2026-6666 of PgBouncer."""
    database, proxy = liar
    said = message(b"E", fields(S="ERROR", M="no code")) + READY
    with proxy.wire() as client:
        usual, database.answer = database.answer, lambda peer, _tag, _body: peer.say(said)
        replies = client.ask(Query("x"))
        database.answer = usual
        assert [(r.tag, r.fields) for r in replies[:1]] == [("E", {"S": "ERROR", "M": "no code"})]
        assert client.value("after") == "after"


def test_two_errors_for_one_query(liar: tuple[FakeServer, Proxy]) -> None:
    """Lesson 32: what the database says twice is passed on twice, and stays in step."""
    database, proxy = liar
    with proxy.wire() as client:
        usual, database.answer = (
            database.answer,
            lambda peer, _tag, _body: peer.say(error(), error(), READY),
        )
        replies = client.ask(Query("x"))
        database.answer = usual
        assert "".join(r.tag for r in replies) == "EEZ"
        assert client.value("after") == "after"


def test_an_answer_to_nobody_is_nobody_elses(liar: tuple[FakeServer, Proxy]) -> None:
    """Lesson 29: a row that comes when all was said ends the server that it comes from."""
    database, proxy = liar

    def answer(peer: Peer, _tag: bytes, body: bytes) -> None:
        peer.say(result(body[:-1]))
        time.sleep(0.2)
        peer.say(row(b"whose?"))

    with proxy.wire() as client:
        usual, database.answer = database.answer, answer
        assert client.value("mine") == "mine"
        proxy.wait_for_log("it is out of step: an answer 'D' to nothing")
        database.answer = usual
        assert client.value("mine again") == "mine again"


_FAREWELL = fields(S="FATAL", V="FATAL", C="57P01", M="terminating connection")


@pytest.mark.parametrize("split", [0, 4, 20, len(_FAREWELL)])
def test_an_end_behind_an_answer_is_not_the_clients(
    liar: tuple[FakeServer, Proxy], split: int
) -> None:
    """Lesson 26: who has nothing under way does not hear of the end of a database.

    A database that shuts down says so right behind its last answer; the first `split` bytes of that
    come with the answer, the rest a moment later.
    """
    database, proxy = liar
    farewell = message(b"E", _FAREWELL)

    def answer(peer: Peer, _tag: bytes, body: bytes) -> None:
        peer.say(result(body[:-1]) + farewell[: split or len(farewell)])
        if split:
            time.sleep(0.1)
            peer.say(farewell[split:])
        peer.hang_up()

    with proxy.wire() as client:
        before = len(proxy.log)
        usual, database.answer = database.answer, answer
        heard = [client.ask(Query("mine"))]
        proxy.wait_for_log("The database connection closed", since=before)
        database.answer = usual
        heard.append(client.ask(Query("mine again")))
        assert ["".join(r.tag for r in replies) for replies in heard] == ["TDCZ", "TDCZ"]


def test_an_end_behind_the_login_is_not_the_clients() -> None:
    """Lesson 26: who waits for a server does not get one that is gone already."""

    def welcome(peer: Peer) -> None:
        database.behind_login = message(b"E", _FAREWELL) if database.connections <= 3 else b""
        peer.say(WELCOME)

    database = FakeServer(honest, welcome)
    with database, temporary_folder() as folder, start_proxy(folder, database) as proxy:
        with proxy.wire() as client:
            assert client.value("mine") == "mine"
        assert database.connections > 3
        proxy.await_rest()
        (pool,) = proxy.api("pools")["pools"]
        assert (pool["idle"], pool["waiting"]) == (1, 0)


def test_nonsense_in_a_pipeline(liar: tuple[FakeServer, Proxy]) -> None:
    """Answers to extended messages in the wrong order."""
    database, proxy = liar

    def answer(peer: Peer, tag: bytes, _body: bytes) -> None:
        if tag == b"S":
            peer.say(message(b"2"), message(b"1"), READY)

    with proxy.wire() as witness, proxy.wire() as victim:
        witness.value("before")
        usual, database.answer = database.answer, answer
        victim.send(Parse("", "x"), Bind(), Execute(), Sync())
        replies = victim.read_to_end()
        database.answer = usual
        assert [r.fields["C"] for r in replies if r.tag == "E"] == ["08006"]
        assert witness.value("after") == "after"


def test_an_end_in_the_middle_of_a_row(liar: tuple[FakeServer, Proxy]) -> None:
    """Invariant 6: nothing is said into the middle of a message; the end of file speaks."""
    database, proxy = liar
    half = result(b"x" * 100_000)[:50_000]

    def answer(peer: Peer, _tag: bytes, _body: bytes) -> None:
        peer.say(half)
        time.sleep(0.2)
        peer.hang_up()

    with proxy.wire() as victim:
        usual, database.answer = database.answer, answer
        victim.send(Query("x"))
        heard = b""
        while data := victim.sock.recv(1 << 16):
            heard += data
        database.answer = usual
    assert heard == half
    proxy.wait_for_log("he database connection was lost")


def flood(peer: Peer, said: Callable[[int], bytes], seconds: float = 1.0) -> None:
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        peer.say(b"".join(said(number + n) for n in range(500)))
        number += 500


FLOODS: dict[str, Callable[[int], bytes]] = {
    "notices": lambda n: message(b"N", fields(S="NOTICE", C="00000", M=f"{n}" * 100)),
    "settings": lambda n: message(b"S", b"setting.%d\0" % n + b"v" * 900 + b"\0"),
    "notifications": lambda n: message(b"A", struct.pack("!I", n) + b"c\0" + b"p" * 900 + b"\0"),
    "rows": lambda _n: row(b"x" * 900),
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("moment", ["login", "session", "idle"])
def test_a_database_that_never_stops_talking(kind: str, moment: str) -> None:
    """Lesson 4: memory stays bounded, during a login of ours as well as in a session."""

    def welcome(peer: Peer) -> None:
        if moment == "login":
            peer.say(WELCOME[: -len(READY)])
            flood(peer, FLOODS[kind])
        else:
            peer.say(WELCOME)

    def answer(peer: Peer, _tag: bytes, body: bytes) -> None:
        peer.say(result(body[:-1]) if moment == "idle" else b"")
        flood(peer, FLOODS[kind])

    with (
        FakeServer(answer, welcome) as database,
        temporary_folder() as folder,
        start_proxy(folder, database, connection_borrow_timeout=2) as proxy,
    ):
        before = highest = proxy.memory()
        with Wire(proxy.host, proxy.port) as client:
            logged_in = False
            with contextlib.suppress(LoginFailed):
                client.login("app", PASSWORD, "app")
                client.send(Query("x"))
                logged_in = True
            for _ in range(12):
                if logged_in and not client.closed_by_peer:
                    client.receive(time.monotonic() + 0.1)
                time.sleep(0.05)
                highest = max(highest, proxy.memory())
        assert highest - before < 48 * MEGABYTE


def scram(first: bytes) -> Callable[[Peer], None]:
    """A welcome that asks for SCRAM and answers with `first`, the nonce of the client put in."""

    def welcome(peer: Peer) -> None:
        peer.say(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        _, body = peer.message()
        nonce = body[body.index(b"r=") + 2 :]
        peer.say(message(b"R", struct.pack("!I", 11) + first.replace(b"{nonce}", nonce)))
        peer.message()
        peer.say(message(b"R", struct.pack("!I", 12) + b"v=AAAA"))

    return welcome


def says(*pieces: bytes) -> Callable[[Peer], None]:
    return lambda peer: peer.say(*pieces)


def bad_limits(said: bytes) -> Callable[[Peer], None]:
    """Logs in well, and answers the first question with nonsense."""

    def welcome(peer: Peer) -> None:
        peer.say(WELCOME)
        peer.message()
        peer.say(said)

    return welcome


SALT = b",s=AAAAAAAAAAAAAAAAAAAAAA==,i="
WELCOMES: dict[str, Callable[[Peer], None]] = {
    "noise": says(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"),
    "hangs up": lambda peer: peer.hang_up(),
    "unknown authentication": says(message(b"R", struct.pack("!I", 99))),
    "authentication without a body": says(message(b"R")),
    "md5 without a salt": says(message(b"R", struct.pack("!I", 5))),
    "scram without mechanisms": says(message(b"R", struct.pack("!I", 10))),
    "scram of another kind": says(message(b"R", struct.pack("!I", 10) + b"SCRAM-MD5\0\0")),
    "scram at once final": says(message(b"R", struct.pack("!I", 12) + b"v=AAAA")),
    "a long nonce": scram(b"r={nonce}" + b"n" * 60_000 + SALT + b"4096"),
    "a nonce that is too long": scram(b"r={nonce}" + b"n" * 70_000 + SALT + b"4096"),
    "many iterations": scram(b"r={nonce}x" + SALT + b"4294967295"),
    "iterations of many digits": scram(b"r={nonce}x" + SALT + b"9" * 10_000),
    "no iterations": scram(b"r={nonce}x" + SALT + b"0"),
    "another nonce": scram(b"r=mine" + SALT + b"4096"),
    "nonsense for a nonce": scram(b"\xff\xfe\0"),
    "error of nothing": says(message(b"E", b"\0")),
    "error without sqlstate": says(message(b"E", fields(S="FATAL", M="go away"))),
    "error without a body": says(message(b"E")),
    "ready at once": says(READY),
    "ready without status": says(OK, b"Z\0\0\0\4"),
    "key without a body": says(OK, message(b"K")),
    "parameter without a body": says(OK, message(b"S")),
    "a query's answer": says(OK, result(b"1")),
    "limits without rows": bad_limits(message(b"C", b"SELECT 0\0") + READY),
    "limits without columns": bad_limits(result()),
    "limits with text": bad_limits(result(b"many", b"few", b"none", b"maybe")),
    "limits below zero": bad_limits(result(b"-5", b"3", b"0", b"f")),
    "limits as an error": bad_limits(error("ERROR", "42501", "not for you") + READY),
    "limits as noise": bad_limits(b"\xff" * 20),
}


def open_for(database: FakeServer, **changes: Any) -> Iterator[Proxy]:
    with temporary_folder() as folder, start_proxy(folder, database, **changes) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stranger() -> Iterator[tuple[FakeServer, Proxy]]:
    """A database whose welcome the tests choose."""
    with FakeServer() as database:
        for proxy in open_for(database, connection_borrow_timeout=1):
            yield database, proxy


@pytest.mark.parametrize("name", WELCOMES)
def test_nonsense_in_a_login(stranger: tuple[FakeServer, Proxy], name: str) -> None:
    """Lesson 4: CVE-2026-6665; the client is told once, and the next connection is a new try."""
    database, proxy = stranger
    before = len(proxy.log)
    database.welcome = WELCOMES[name]
    with Wire(proxy.host, proxy.port) as client:
        try:
            client.login("app", PASSWORD, "app")
        except LoginFailed as failed:
            assert failed.fields["S"] == "FATAL"
            assert failed.fields["C"] in ("08000", "XX000")
    assert "Traceback" not in proxy.log[before:]
    database.welcome = says(WELCOME)
    with log_in(proxy) as client:
        assert client.value("well") == "well"
    # The next case shall begin without a server.
    for peer in list(database.peers):
        peer.hang_up()
    deadline = time.monotonic() + 10
    while proxy.api("servers")["servers"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def log_in(proxy: Proxy) -> Wire:
    """As soon as the proxy tries the database again, which it does every two seconds."""
    deadline = time.monotonic() + 15
    while True:
        with contextlib.suppress(LoginFailed):
            return proxy.wire()
        assert time.monotonic() < deadline


def test_a_fatal_in_the_place_of_an_answer_to_ours_is_heard() -> None:
    """Lesson 32: a shutdown may meet the SET that the proxy sends ahead of a client's request."""

    def answer(peer: Peer, tag: bytes, body: bytes) -> None:
        if body.startswith(b"SET application_name"):
            peer.say(error("FATAL", "57P01", "bye"))
            peer.hang_up()
        else:
            honest(peer, tag, body)

    with (
        FakeServer(answer) as database,
        temporary_folder() as folder,
        start_proxy(folder, database) as proxy,
        proxy.wire(application_name="named") as client,
    ):
        client.send(Query("SELECT 1"))
        heard = client.read_to_end()
    assert [(r.fields["S"], r.fields["C"]) for r in heard if r.tag == "E"] == [("FATAL", "57P01")]


def test_a_server_that_has_said_fatal_is_lent_no_more() -> None:
    """Invariant 1: its end may be seconds away; whoever got it would be cut off without a word."""
    with (
        FakeServer() as database,
        temporary_folder() as folder,
        start_proxy(folder, database) as proxy,
        proxy.wire() as client,
    ):
        assert client.value("before") == "before"
        proxy.await_rest()
        database.lingers = True
        for peer in database.peers:
            peer.say(error("FATAL", "57P01", "terminating connection due to administrator command"))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if {row["state"] for row in proxy.api("servers")["servers"]} == {"RETIRED"}:
                break
            time.sleep(0.02)
        assert client.value("after") == "after"
        assert database.connections > 1
