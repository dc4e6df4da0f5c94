"""FO-08 where a database does not say by itself why it refuses to write: it is asked.

A fake database in the place of a PostgreSQL before version 14, which reports nothing, and for the
answers that have to be cut at a certain byte. The real thing is in `test_turned_read_only`.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.support.fake_server import LIMITS, READY, FakeServer, Peer, fields, result
from tests.support.messages import Bind, Execute, Flush, Parse, Query, Sync, message
from tests.support.postgres import temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]

TURNED = (*LIMITS[:4], b"t")
STANDBY = (*LIMITS[:3], b"t", b"f")
LOST = ("08006", "The database connection was lost in the middle of a request.")
REFUSAL = message(
    b"E",
    fields(
        S="ERROR",
        V="ERROR",
        C="25006",
        M="cannot execute INSERT in a read-only transaction",
        R="PreventCommandIfReadOnly",
    ),
)
INSERT = Query("INSERT INTO t VALUES (1)")
SERIES = (Parse("", "INSERT INTO t VALUES (1)"), Bind(), Execute())


class Old:
    """Refuses writes while it is `turned`, and says nothing by itself."""

    def __init__(self) -> None:
        self.database = FakeServer(self.answer)
        # Where its answers are cut, in bytes from their beginning; a moment passes at each.
        self.cuts: tuple[int, ...] = ()
        # Behind each refusal of a Query it waits before it says that it is ready.
        self.pause = 0.0
        # What a Sync is answered with waits for the next refusal, as in one segment of TCP.
        self.together = False
        # The client's wish, whatever the database does.
        self.refuses_anyway = False
        self.asked: list[bytes] = []
        # How often a request was to be moved to another server.
        self.moved = 0
        # Peers that are in a series which has failed.
        self._skipping: set[Peer] = set()
        # Answers to a series that have not been sent yet.
        self._unsaid: defaultdict[Peer, bytes] = defaultdict(bytes)

    @property
    def refuses(self) -> bool:
        return self.refuses_anyway or self.database.limits != LIMITS

    def answer(self, peer: Peer, tag: bytes, body: bytes) -> None:
        self.asked.append(tag + body)
        if tag == b"Q":
            self._query(peer, body)
        elif tag == b"S":
            self._skipping.discard(peer)
            self._unsaid[peer] += READY
            if not self.together:
                self._flush(peer)
        elif peer in self._skipping:
            return
        elif tag == b"H":
            self._flush(peer)
        elif tag == b"E" and self.refuses:
            self._skipping.add(peer)
            self._flush(peer, REFUSAL)
            self.together = False
        else:
            described = message(b"t", b"\0\0") + message(b"n")
            said = {b"P": message(b"1"), b"B": message(b"2"), b"C": message(b"3"), b"D": described}
            self._unsaid[peer] += said.get(tag, message(b"C", b"INSERT 0 1\0"))

    def _query(self, peer: Peer, body: bytes) -> None:
        if b"INSERT" not in body:
            self._say(peer, result(body[:-1]))
        elif not self.refuses:
            self._say(peer, message(b"C", b"INSERT 0 1\0") + READY)
        elif self.pause:
            self._say(peer, REFUSAL)
            time.sleep(self.pause)
            self._say(peer, READY)
        else:
            self._say(peer, REFUSAL + READY)

    def _flush(self, peer: Peer, data: bytes = b"") -> None:
        """As PostgreSQL it says nothing of a series before an error, a Flush or a Sync."""
        self._say(peer, self._unsaid.pop(peer, b"") + data)

    def _say(self, peer: Peer, data: bytes) -> None:
        places = [0, *(cut for cut in self.cuts if cut < len(data)), len(data)]
        for start, end in itertools.pairwise(places):
            peer.say(data[start:end])
            if end < len(data):
                time.sleep(0.002)


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[Old, Proxy]]:
    old = Old()
    with (
        old.database,
        temporary_folder() as folder,
        start_proxy(folder, old.database, connection_borrow_timeout=20) as proxy,
    ):
        yield old, proxy


@pytest.fixture
def old(house: tuple[Old, Proxy]) -> Iterator[Old]:
    old = house[0]
    old.asked.clear()
    yield old
    old.cuts, old.pause, old.refuses_anyway, old.database.limits = (), 0.0, False, LIMITS
    old.together = False


@pytest.fixture
def client(house: tuple[Old, Proxy], old: Old) -> Iterator[Wire]:
    del old
    with house[1].wire() as client:
        client.query("SELECT 1")
        yield client


def await_asked(old: Old, text: bytes) -> None:
    deadline = time.monotonic() + 5
    while not any(text in asked for asked in old.asked):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waits(client: Wire, old: Old, proxy: Proxy) -> None:
    """Nothing is said while the database takes no writes."""
    deadline = time.monotonic() + 10
    while proxy.log.count("What it refused to write goes to another") == old.moved:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    old.moved += 1
    assert [str(reply) for reply in client.read_quiet(0.2)] == []
    old.database.limits = LIMITS


@pytest.mark.parametrize("limits", [TURNED, STANDBY], ids=["turned", "standby"])
@pytest.mark.parametrize("cuts", [(), tuple(range(1, 200))], ids=["at once", "byte by byte"])
def test_a_write_waits(
    house: tuple[Old, Proxy], client: Wire, old: Old, limits: tuple[bytes, ...], cuts: tuple[int]
) -> None:
    """FO-01: it is done once, by a database that takes writes."""
    old.database.limits, old.cuts = limits, cuts
    client.send(INSERT)
    waits(client, old, house[1])
    assert "".join(r.tag for r in client.read_ready()) == "CZ"


@pytest.mark.parametrize("cut", [None, *range(1, 5)])
def test_a_series_that_ends_with_flush_waits(
    house: tuple[Old, Proxy], client: Wire, old: Old, cut: int | None
) -> None:
    """Its client waits for the answer before it says Sync."""
    old.database.limits, old.cuts = TURNED, (cut,) if cut else ()
    client.send(*SERIES, Flush())
    waits(client, old, house[1])
    assert "".join(r.tag for r in client.read_until("CE")) == "12C"
    assert "".join(r.tag for r in client.ask(Sync())) == "Z"
    assert client.value("SELECT 1") == "SELECT 1"


@pytest.mark.parametrize("cut", [*range(5, 12), 18, 60, len(REFUSAL) + 9])
def test_a_piece_that_was_told_ends_with_the_one_error(client: Wire, old: Old, cut: int) -> None:
    """The ParseComplete came by itself and has gone to the client."""
    old.database.limits, old.cuts = TURNED, (cut,)
    client.send(*SERIES, Flush())
    assert errors_of(client.read_to_end()) == [LOST]


def test_a_flush_before_ends_with_the_one_error(client: Wire, old: Old) -> None:
    """What the client has seen cannot be said again."""
    old.database.limits = TURNED
    client.send(*SERIES[:2], Flush())
    assert "".join(r.tag for r in client.read_until("2")) == "12"
    client.send(Execute(), Flush())
    assert errors_of(client.read_to_end()) == [LOST]


@pytest.mark.parametrize("ending", [Flush(), Sync()])
def test_who_wants_to_be_read_only_hears_it(client: Wire, old: Old, ending: Flush | Sync) -> None:
    """The database, asked, takes writes: the refusal is the client's own."""
    old.refuses_anyway = True
    client.send(*SERIES, ending)
    replies = client.read_until("E")
    if isinstance(ending, Sync):
        replies += client.read_ready()
    else:
        replies += client.ask(Bind(), Execute(), Sync())
    assert "".join(r.tag for r in replies) == "12EZ"
    assert [code for code, _ in errors_of(replies)] == ["25006"]
    old.refuses_anyway = False
    assert "".join(r.tag for r in client.ask(INSERT)) == "CZ"


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 100])
def test_what_comes_while_an_answer_is_held_back_is_not_lost(
    client: Wire, old: Old, cut: int
) -> None:
    """The refusal is there, its ReadyForQuery is not: the next requests wait behind it."""
    old.refuses_anyway, old.pause = True, 0.3
    client.send(INSERT)
    await_asked(old, b"INSERT")
    time.sleep(0.1)
    data = Query("SELECT 2").encode()
    client.send(data[:cut])
    time.sleep(0.05)
    client.send(data[cut:], Query("SELECT 3"))
    heard = client.read_ready(3)
    assert "".join(r.tag for r in heard) == "EZTDCZTDCZ"
    assert [r.values for r in heard if r.tag == "D"] == [[b"SELECT 2"], [b"SELECT 3"]]


def test_what_waited_for_the_answer_ahead_goes_on_behind_a_refusal(client: Wire, old: Old) -> None:
    """The Parse of s2 is sent when that of s1 is answered, be it together with the refusal."""
    old.refuses_anyway, old.together = True, True
    client.send(Parse("s1", "SELECT 1"), Sync(), *SERIES, Parse("s2", "SELECT 2"), Sync())
    assert "".join(r.tag for r in client.read_ready(2)) == "1Z12EZ"
    assert client.value("SELECT 1") == "SELECT 1"


def test_a_refusal_meets_a_message_that_still_comes(client: Wire, old: Old) -> None:
    """Half of a long Bind is on its way behind the refused Execute: one error, no 25006."""
    old.database.limits = TURNED
    long = Bind("", "", (b"x" * 600_000,)).encode()
    client.send(*SERIES, long[:300_000])
    assert errors_of(client.read_to_end()) == [LOST]


def test_a_message_that_still_comes_goes_on_behind_a_refusal(client: Wire, old: Old) -> None:
    """The same where the client has wished it."""
    old.refuses_anyway = True
    long = Bind("", "", (b"x" * 600_000,)).encode()
    client.send(*SERIES, long[:300_000])
    assert "".join(r.tag for r in client.read_until("E")) == "12E"
    client.send(long[300_000:], Execute())
    assert "".join(r.tag for r in client.ask(Sync())) == "Z"
    assert client.value("SELECT 1") == "SELECT 1"


def test_a_long_query_ends_with_the_one_error(client: Wire, old: Old) -> None:
    """FO-02: its bytes are not kept."""
    old.database.limits = TURNED
    data = Query(f"INSERT INTO t VALUES ('{'x' * 600_000}')").encode()
    client.send_in_pieces(data, list(range(50_000, len(data), 50_000)))
    assert errors_of(client.read_to_end()) == [LOST]


def test_a_long_refusal_in_pieces(client: Wire, old: Old) -> None:
    """The text of a function's statement can make an error longer than a segment."""
    where = b"W" + b'SQL statement "INSERT ..."' * 400 + b"\0"
    said = REFUSAL[5:-1] + where + b"\0"
    usual, old.database.answer = (
        old.database.answer,
        lambda peer, _tag, _body: old._say(peer, message(b"E", said) + READY),
    )
    old.database.limits, old.cuts = TURNED, (300, 1000, 5000)
    try:
        client.send(Query("SELECT put(1)"))
        assert errors_of(client.read_to_end()) == [LOST]
    finally:
        old.database.answer = usual


def test_a_request_that_is_repeated_counts_once(
    house: tuple[Old, Proxy], client: Wire, old: Old
) -> None:
    """M-24: the client has sent it once."""
    proxy = house[1]

    def counted() -> list[float]:
        names = ("query_requests_total", "extended_query_requests_total")
        return [proxy.metric(f"pyproxy_{name}") for name in names]

    def aborted() -> float:
        return proxy.metric("pyproxy_database_connections_borrow_requests_aborted_total")

    before, gone = counted(), aborted()
    for asked in ((INSERT,), (*SERIES, Sync())):
        old.database.limits = TURNED
        client.send(*asked)
        waits(client, old, proxy)
        assert errors_of(client.read_ready()) == []
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1]
    old.database.limits = TURNED
    client.send(*SERIES[:2], Flush())
    client.read_until("2")
    client.send(Execute(), Sync())
    assert errors_of(client.read_to_end()) == [LOST]
    assert aborted() == gone


def test_a_database_that_cannot_be_asked_is_none_to_stay_with(old: Old, house: object) -> None:
    """It shuts down while it refuses: the one error."""
    del house
    with (
        temporary_folder() as folder,
        start_proxy(folder, old.database, connection_borrow_timeout=1) as proxy,
        proxy.wire() as client,
    ):
        client.query("SELECT 1")
        usual, old.database.welcome = old.database.welcome, lambda peer: peer.hang_up()
        old.refuses_anyway = True
        try:
            client.send(Query("SELECT 1; INSERT INTO t VALUES (1)"))
            assert errors_of(client.read_to_end()) == [LOST]
        finally:
            old.database.welcome = usual


def test_a_client_that_leaves_meanwhile_leaves_nothing(house: tuple[Old, Proxy], old: Old) -> None:
    """Its server is closed, whatever the database says in the end."""
    proxy = house[1]
    usual = old.database.welcome
    with proxy.wire() as client:
        client.query("SELECT 1")

        def slow(peer: Peer) -> None:
            time.sleep(0.3)
            usual(peer)

        old.database.welcome = slow
        old.refuses_anyway = True
        client.send(INSERT)
        await_asked(old, b"INSERT")
        time.sleep(0.05)
        client.vanish()
    time.sleep(0.4)
    old.database.welcome = usual
    proxy.await_rest()
    with proxy.wire() as other:
        assert other.value("SELECT 2") == "SELECT 2"
