"""The short walk leaves everything as the long walk leaves it, however the bytes are cut."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, cast

import pytest

from protocol.postgres.conversation import FAILED, IDLE, IN_TRANSACTION
from pyproxy.config import CompatibilityConfig, TargetConfig
from pyproxy.logs import EventLog
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.ledger import Ledger
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.postgres.endpoint import Endpoint
from pyproxy.postgres.fleet import Fleet
from pyproxy.postgres.observer import Observer
from pyproxy.postgres.relay import Relay
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.servers import Servers, ServerSettings
from pyproxy.postgres.short_walk import ShortWalk
from pyproxy.postgres.statements import Catalog
from pyproxy.targets.target import Limits, Target
from pyproxy.turn import Turn
from tests.support.messages import message

Play = list[tuple[bytes, bytes]]
"""What a client sends, and what its server answers, in turn."""


class Wire:
    """A transport that keeps what it is given, until it is closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        # Is it read?
        self.reading = True

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def close(self) -> None:
        self.closed = True

    write_eof = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Stage:
    """One client, one server, and the session between them; no socket.

    Each turn of the loop is over at once; `long_turn`: not before the test says so.
    """

    def __init__(self, kind: type[Relay], *, long_turn: bool = False) -> None:
        self.ends: list[Callable[[], None]] = []
        turn = Turn(self.ends.append if long_turn else lambda end: end())
        log = EventLog("default")
        target = Target(TargetConfig(id="db"))
        target.limits = Limits(1, 0, False)
        servers, lobby, reading_room = (
            Servers(
                target,
                cast(Any, None),
                ServerSettings(),
                log,
                turn=turn,
                counters=ProxyCounters(),
                random_id=lambda: 1,
                tls_context=lambda _: None,
                on_trouble=lambda _: None,
            )
            for _ in range(3)
        )
        switches = CompatibilityConfig()
        classifier = Classifier(switches)
        self.endpoint = Endpoint(
            "default",
            "READ_WRITE",
            Fleet([servers], lobby, reading_room),
            classifier,
            Catalog(classifier),
            Ledger(),
            log,
            turn=turn,
            observer=Observer(switches, ProxyCounters(), lambda *_: None, lambda: 0.0),
            cancel_keys=CancelKeys(),
            random_id=lambda: 1,
            session_mode=False,
        )
        self.pool = servers.pools.pool(PoolKey("app", "app"))
        self.server = ServerConnection(
            7,
            servers,
            self.pool,
            {},
            None,
            tls=False,
            statement_limit=50,
            counters=ProxyCounters(),
            now=0.0,
            on_closed=lambda _: None,
        )
        self.up, self.down = Wire(), Wire()
        self.server.adopt(cast(Any, self.up), b"")
        self.pool.opening += 1
        servers.pools.used += 1
        servers.pools.opened(self.pool, self.server)
        self.session = kind(
            1,
            self.endpoint,
            servers,
            self.pool,
            application_name=None,
            conforming=True,
            tls=False,
            now=0.0,
        )
        self.session.adopt(cast(Any, self.down), b"")

    def play(self, from_client: bool, data: bytes) -> None:
        receiver = self.session if from_client else self.server
        receiver.data_received(data)

    def end_turn(self) -> None:
        while self.ends:
            self.ends.pop(0)()

    @property
    def state(self) -> dict[str, object]:
        """All that a later message could notice, and what the counters say."""
        session, server = self.session, self.server
        conversation, counters, naming = server.conversation, self.endpoint.counters, session.naming
        return {
            "up": self.up.written,
            "down": self.down.written,
            "held": session.server is server,
            "idle": server in self.pool.idle,
            "owes": len(conversation.owed) > 0,
            "status": conversation.status,
            "settled": conversation.settled,
            "segment": conversation.segment,
            "ended": session.ended,
            "pin": session.pin,
            "tail": bytes(session._tail or b""),
            "names": naming and {name: kept.definition for name, kept in naming.names.items()},
            "queries": counters.queries,
            "executes": counters.extended_queries,
            "latencies": counters.query_response_latency.count,
            "pipelines": counters.extended_response_latency.count,
            "statements": session.statements_seen,
        }

    @property
    def unnamed(self) -> tuple[object, object]:
        """What the unnamed statement is, here and there: the same once nothing is owed."""
        naming = self.session.naming
        here = naming and naming.unnamed
        there = self.server.statements.unnamed
        return here and here.definition, there and there.definition


def query(sql: bytes) -> bytes:
    return message(b"Q", sql + b"\0")


def parse(name: bytes, sql: bytes) -> bytes:
    return message(b"P", name + b"\0" + sql + b"\0\0\0")


def series(
    sql: bytes | None = b"SELECT $1",
    name: bytes = b"",
    *,
    described: bool = True,
    value: bytes = b"x",
) -> bytes:
    sent = parse(b"", sql) if sql is not None else b""
    parameter = b"\0\1" + len(value).to_bytes(4, "big") + value
    sent += message(b"B", b"\0" + name + b"\0" + b"\0\0" + parameter + b"\0\0")
    if described:
        sent += message(b"D", b"P\0")
    return sent + message(b"E", b"\0\0\0\0\0") + SYNC


def ready(status: int = IDLE) -> bytes:
    return message(b"Z", bytes((status,)))


def done(tag: bytes) -> bytes:
    return message(b"C", tag + b"\0")


def result(rows: int = 1) -> bytes:
    described = message(b"T", b"\0\1a\0" + b"\0" * 18)
    # A row that looks like the end of an answer.
    return described + message(b"D", b"\0\1\0\0\0\6" + ready()) * rows + done(b"SELECT 1")


SYNC = message(b"S")
PARSED, BOUND, CLOSED, NO_DATA = (message(tag) for tag in (b"1", b"2", b"3", b"n"))
INSERTED = done(b"INSERT 0 1")
ERROR = message(b"E", b"SERROR\0VERROR\0C42P01\0Mno such table\0\0")
NOTICE = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0")
PREPARE = (parse(b"s", b"SELECT $1") + SYNC, CLOSED + PARSED + ready())

PLAYS: dict[str, Play] = {
    "a query": [(query(b"SELECT 1"), result() + ready())],
    "no rows": [(query(b"INSERT INTO t VALUES (1)"), INSERTED + ready())],
    "a deletion": [(query(b"DELETE FROM t"), done(b"DELETE 1") + ready())],
    "two statements": [(query(b"SELECT 1; SELECT 2"), result() * 2 + ready())],
    "an error": [(query(b"SELECT x"), ERROR + ready())],
    "nothing": [(query(b""), message(b"I") + ready())],
    "a notice": [(query(b"SELECT 1"), NOTICE + result() + ready())],
    "a transaction": [
        (query(b"BEGIN"), done(b"BEGIN") + ready(IN_TRANSACTION)),
        (query(b"SELECT 1"), result() + ready(IN_TRANSACTION)),
        (series(), PARSED + BOUND + result() + ready(IN_TRANSACTION)),
        (query(b"SELECT x"), ERROR + ready(FAILED)),
        (series(None), ERROR + ready(FAILED)),
        (query(b"ROLLBACK"), done(b"ROLLBACK") + ready()),
    ],
    "a pin": [
        (query(b"SET work_mem = 64"), done(b"SET") + ready()),
        (query(b"SELECT 1"), result() + ready()),
        (series(), PARSED + BOUND + result() + ready()),
    ],
    "a series": [(series(), PARSED + BOUND + result(3) + ready())],
    "a series without rows": [(series(), PARSED + BOUND + NO_DATA + INSERTED + ready())],
    "a series not described": [(series(described=False), PARSED + BOUND + INSERTED + ready())],
    "a Parse that fails": [(series(), ERROR + ready()), (series(None), CLOSED + ERROR + ready())],
    "a Bind that fails": [(series(), PARSED + ERROR + ready())],
    "an Execute that fails": [(series(), PARSED + BOUND + NO_DATA + ERROR + ready())],
    "the unnamed statement again": [
        (series(), PARSED + BOUND + result() + ready()),
        (series(None), BOUND + result() + ready()),
        (query(b"SELECT 1"), result() + ready()),
        (series(None), CLOSED + ERROR + ready()),
    ],
    "queries behind the unnamed statement": [
        (series(), PARSED + BOUND + result() + ready()),
        (query(b"COMMIT"), done(b"COMMIT") + ready()),
        (series(), PARSED + BOUND + result() + ready()),
        (query(b"SELECT x"), ERROR + ready()),
        (series(None), CLOSED + ERROR + ready()),
    ],
    "a name": [
        PREPARE,
        (series(None, b"s"), BOUND + result() + ready()),
        (series(None, b"s", described=False), BOUND + INSERTED + ready()),
        (series(None, b"nobody"), ERROR + ready()),
    ],
    "values of other lengths": [
        PREPARE,
        *(
            (series(None, b"s", value=value), BOUND + result() + ready())
            for value in (b"x", b"xyz", b"", b"x")
        ),
    ],
    "names that begin alike": [
        PREPARE,
        (parse(b"st", b"SELECT $2") + SYNC, CLOSED + PARSED + ready()),
        *(
            (series(None, name), BOUND + result() + ready())
            for name in (b"s", b"st", b"st", b"s", b"s")
        ),
        (series(None, b"stu"), ERROR + ready()),
    ],
    "a name that means something else": [
        PREPARE,
        (series(None, b"s"), BOUND + result() + ready()),
        (message(b"C", b"Ss\0") + SYNC, CLOSED + ready()),
        (series(None, b"s"), ERROR + ready()),
        (parse(b"s", b"SELECT $2") + SYNC, CLOSED + PARSED + ready()),
        (series(None, b"s"), BOUND + result() + ready()),
    ],
    "a Bind of a name that fails": [PREPARE, (series(None, b"s"), ERROR + ready())],
    "a Parse that pins": [
        (series(b"SET work_mem = 64"), PARSED + BOUND + NO_DATA + done(b"SET") + ready())
    ],
    "a pipeline": [(series() * 2, (PARSED + BOUND + result() + ready()) * 2)],
    "a pipeline of queries": [(query(b"SELECT 1") + series(), result() + ready())],
    "a late Sync": [(series()[:-5], PARSED + BOUND), (SYNC, result() + ready())],
    "empty bodies": [(message(b"Q") + message(b"B") + SYNC, (ERROR + ready()) * 2)],
    "an empty Query": [(message(b"Q"), ERROR + ready())],
    "an empty Bind": [(message(b"B") + SYNC, ERROR + ready())],
    "a Bind cut short": [(message(b"B", b"\0") + series(None)[-27:], ERROR + ready())],
    "what nobody asked for": [(query(b"SELECT 1"), BOUND + result() + ready())],
    "no description": [(series(), PARSED + BOUND + INSERTED + ready())],
    "a row too short": [(query(b"SELECT 1"), b"D\0\0\0\1" + INSERTED + ready())],
    "no tag": [(query(b"SELECT 1"), message(b"C") + ready())],
    "an unknown status": [(query(b"SELECT 1"), INSERTED + ready(0x58))],
    "an answer too many": [(query(b"SELECT 1"), result() + ready() + result() + ready())],
    "a goodbye": [(query(b"SELECT 1") + message(b"X"), result() + ready())],
}


def whole(play: Play) -> list[tuple[bool, bytes]]:
    return list(chain.from_iterable(((True, asked), (False, told)) for asked, told in play))


def cuts(play: Play) -> Iterator[list[tuple[bool, bytes]]]:
    """The play as it is, and with each of its chunks cut in two at each place."""
    pieces = whole(play)
    yield pieces
    for index, (side, data) in enumerate(pieces):
        for at in range(1, len(data)):
            halves = [(side, data[:at]), (side, data[at:])]
            yield pieces[:index] + halves + pieces[index + 1 :]


@pytest.mark.parametrize("name", PLAYS)
async def test_it_leaves_all_as_the_long_walk_does(name: str) -> None:
    """However a play is cut: the bytes, the books and the counters, after each piece."""
    await asyncio.sleep(0)
    for pieces in cuts(PLAYS[name]):
        short, long = Stage(ShortWalk), Stage(Relay)
        for side, data in pieces:
            short.play(side, data)
            long.play(side, data)
            assert short.state == long.state, (pieces, data)
            if not long.server.conversation.owed:
                assert short.unnamed == long.unnamed, (pieces, data)


@pytest.mark.parametrize("name", PLAYS)
async def test_what_comes_in_one_turn_goes_out_as_in_many(name: str) -> None:
    """Nothing is lost at a connection's end, and nothing overtakes what was put off."""
    await asyncio.sleep(0)
    for pieces in cuts(PLAYS[name]):
        many, one = Stage(ShortWalk), Stage(ShortWalk, long_turn=True)
        for side, data in pieces:
            many.play(side, data)
            one.play(side, data)
        one.end_turn()
        assert one.state == many.state, pieces


async def test_what_a_client_has_asked_goes_up_before_its_connection_ends() -> None:
    """As it would have reached a server of its own; then the server is cut off."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk, long_turn=True)
    stage.play(True, query(b"SELECT 1"))
    stage.session.connection_lost(None)
    stage.end_turn()
    assert (stage.up.written, stage.up.closed) == (query(b"SELECT 1"), True)
    stage.server.connection_lost(None)


async def test_what_was_answered_goes_down_before_a_client_s_end_of_file() -> None:
    """It may have closed its side only; and the transport is closed behind this."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk, long_turn=True)
    stage.play(True, query(b"SELECT 1"))
    stage.play(False, result() + ready())
    stage.session.eof_received()
    assert stage.down.written == result() + ready()
    stage.end_turn()


async def test_who_takes_nothing_stops_the_server_that_it_is_lent_too() -> None:
    """Its transport said so when it had none: what was put off was written behind its release."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.session.pause_writing()
    stage.play(True, query(b"SELECT 1"))
    assert not stage.up.reading
    stage.session.resume_writing()
    assert stage.up.reading
    stage.session.pause_writing()
    stage.play(False, result() + ready())
    assert stage.up.reading
    # And it is read again for the next one, whatever becomes of this one.
    stage.play(True, query(b"SELECT 1"))
    stage.play(True, message(b"X"))
    assert stage.up.reading
    stage.play(False, result() + ready())
    assert stage.pool.idle == [stage.server]


@pytest.mark.parametrize(
    ("behind", "runs"),
    [(b"X", True), (b"", False), (b"QX", False)],
)
async def test_what_was_asked_ahead_of_a_goodbye_runs_though_the_client_is_in_line(
    behind: bytes, runs: bool
) -> None:
    """PostgreSQL finds the Terminate behind it; who hangs up without one takes all back."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    server = stage.pool.take()
    assert server is stage.server
    last = message(behind[:1], behind[1:]) if behind else b""
    stage.play(True, query(b"SELECT 1"))
    stage.play(True, last)
    stage.session.connection_lost(None)
    assert stage.session.ended is not runs
    server.pools.release(stage.pool, server)
    assert stage.up.written == (query(b"SELECT 1") if runs else b"")
    if runs:
        stage.play(False, result() + ready())
    assert stage.session.ended
    assert stage.pool.idle == [server]
    assert not stage.endpoint.sessions


async def test_a_copy_whose_client_has_said_goodbye_gives_its_server_back() -> None:
    """Nobody feeds it, and PostgreSQL fails a COPY at Terminate: the server is closed."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"COPY t FROM STDIN") + message(b"X"))
    assert not stage.up.closed
    stage.play(False, message(b"G", b"\0\0\0"))
    assert stage.up.closed
    assert stage.session.server is None
    stage.server.connection_lost(None)


async def test_a_server_is_read_that_had_said_much_at_its_login() -> None:
    """The answer to a long init query: a login reads no further than it has to."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.up.pause_reading()
    stage.server.adopt(cast(Any, stage.up), b"")
    assert stage.up.reading


async def test_who_had_much_held_back_is_read_again_when_a_refused_write_is_sent_again() -> None:
    """FO-08: the rest of the answer may come when reading has been paused."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"INSERT INTO t VALUES (1)"))
    refusal = b"SERROR\0C25006\0Mno\0RPreventCommandIfReadOnly\0\0"
    stage.play(False, message(b"E", refusal))
    while stage.down.reading:
        stage.play(True, query(b"SELECT 1") * 1000)
    stage.play(False, message(b"S", b"default_transaction_read_only\0on\0") + ready())
    assert stage.session.waiting
    assert stage.down.reading
    assert not stage.down.written


async def test_an_error_of_ours_at_a_loan_costs_nobody_else_in_line_anything() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    first, server = stage.session, stage.server
    second = ShortWalk(
        2,
        stage.endpoint,
        first.home,
        stage.pool,
        application_name=None,
        conforming=True,
        tls=False,
        now=0.0,
    )
    second.adopt(cast(Any, Wire()), b"")
    assert stage.pool.take() is server
    for session in (first, second):
        session.data_received(query(b"SELECT 1"))

    def fail(_: ServerConnection) -> None:
        raise ZeroDivisionError

    first.on_borrow = fail
    server.pools.release(stage.pool, server)
    assert b"XX000" in stage.down.written
    assert first.ended
    assert second.server is server
    assert stage.up.written == query(b"SELECT 1")


@pytest.mark.skipif(not inspect.isfunction(Relay._walk_requests), reason="it is compiled")
@pytest.mark.parametrize(
    ("name", "walked"),
    [("a query", 0), ("no rows", 0), ("a series", 0), ("a transaction", 1), ("a name", 2)],
)
async def test_most_traffic_takes_it(
    name: str, walked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the comparison above compares the long walk with itself."""
    await asyncio.sleep(0)
    requests: list[bytes] = []

    def walk(session: Relay, data: bytes) -> None:
        requests.append(data)
        Relay._walk_requests(session, data)

    monkeypatch.setattr(ShortWalk, "_walk_requests", walk, raising=False)
    stage = Stage(ShortWalk)
    for side, data in whole(PLAYS[name]):
        stage.play(side, data)
    assert len(requests) == walked, requests
