"""A session's borrowing, waiting and ending, without a socket."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, cast

import pytest

from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.short_walk import ShortWalk
from tests.support.messages import message
from tests.support.stage import BOUND, PARSED, Stage, Wire, parse, query, ready, result, series


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
    assert not stage.up.reading
    stage.session.connection_lost(None)
    assert stage.up.reading
    stage.play(False, result() + ready())
    assert stage.pool.idle == [stage.server]


ROWS = message(b"D", b"\0\1\0\0\0\1x") * 16_000
BINDS = (message(b"B", b"\0\0" + b"\0" * 6) + message(b"E", b"\0\0\0\0\0")) * 8_000


async def test_after_a_bufferful_of_rows_the_others_are_heard_first() -> None:
    """There may be 32 in a row, of 20,000 rows each: nobody else is served meanwhile."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk, long_turn=True, slow=0.002)
    stage.play(True, query(b"SELECT 1"))
    stage.play(False, ROWS[:1200])
    assert stage.up.reading, "a little stops nobody"
    stage.play(False, ROWS)
    assert not stage.up.reading
    stage.end_turn()
    assert stage.up.reading
    # Nor is it read on for a client that takes no more.
    stage.play(False, ROWS)
    stage.session.pause_writing()
    stage.end_turn()
    assert not stage.up.reading
    stage.session.resume_writing()
    # And a server that has gone back to its pool is read as all are that lie there.
    stage.play(False, ROWS + ready())
    assert (stage.pool.idle, stage.up.reading) == ([stage.server], False)
    stage.end_turn()
    assert stage.up.reading


async def test_after_a_bufferful_of_requests_the_others_are_heard_first() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk, long_turn=True, slow=0.002)
    stage.play(True, parse(b"", b"SELECT") + BINDS)
    assert not stage.down.reading
    stage.end_turn()
    assert stage.down.reading
    # Nor is it read on while its server takes no more.
    stage.play(True, BINDS)
    stage.server.pause_writing()
    stage.end_turn()
    assert not stage.down.reading
    stage.server.resume_writing()
    # Who has said goodbye is read, so that its end is noticed.
    stage.play(True, BINDS + message(b"S") + message(b"X"))
    assert (stage.session.ended, stage.down.reading) == (True, False)
    stage.end_turn()
    assert stage.down.reading


async def test_a_bufferful_that_is_walked_in_no_time_stops_nobody() -> None:
    """A pause costs a look at the kernel: large messages need none."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk, long_turn=True, slow=0.000_5)
    stage.play(True, query(b"SELECT 1"))
    stage.play(False, ROWS)
    assert stage.up.reading


async def test_a_server_that_has_been_reset_is_cut_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has read that yet; asyncio's own loop raises."""

    def refused() -> None:
        raise OSError(107, "Transport endpoint is not connected")

    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    monkeypatch.setattr(stage.up, "write_eof", refused)
    stage.play(True, query(b"SELECT 1"))
    stage.session.connection_lost(None)
    assert stage.server.closing
    stage.server.connection_lost(None)


async def test_who_says_terminate_behind_its_requests_is_answered() -> None:
    """PostgreSQL reads it when it is done with what came before; L-09."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"SELECT 1") + series() + message(b"X"))
    # It has closed its side, too: it reads on.
    assert stage.session.eof_received() is True
    stage.play(False, result() + ready())
    assert (stage.down.written, stage.down.closed) == (result() + ready(), False)
    stage.play(False, PARSED + BOUND + result() + ready())
    assert stage.down.written == result() + ready() + PARSED + BOUND + result() + ready()
    assert stage.down.closed
    assert stage.pool.idle == [stage.server]
    assert not stage.endpoint.sessions


async def test_who_says_terminate_in_line_is_answered() -> None:
    """Nobody has come to read it yet when the client closes its side."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    assert stage.pool.take() is stage.server
    stage.play(True, query(b"SELECT 1") + message(b"X"))
    assert stage.session.eof_received() is True
    stage.server.pools.release(stage.pool, stage.server)
    stage.play(False, result() + ready())
    assert (stage.down.written, stage.down.closed) == (result() + ready(), True)


async def test_who_has_said_terminate_is_let_go_when_its_server_is_lost() -> None:
    """Nothing more will be answered."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"SELECT 1") + message(b"X"))
    stage.server.connection_lost(None)
    assert stage.down.closed


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


@pytest.mark.parametrize("end", ["terminate", "terminate behind a request", "end of file"])
async def test_whoever_takes_nothing_of_its_last_answers_is_cut_off(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep its socket for ever, and no limit counts it any more."""
    monkeypatch.setattr("pyproxy.postgres.client_side.LINGER", 0.01)
    stage = Stage(ShortWalk)
    stage.down.buffered = 1
    if end == "terminate":
        stage.play(True, message(b"X"))
    elif end == "terminate behind a request":
        stage.play(True, query(b"SELECT 1") + message(b"X"))
        stage.session.pause_writing()
    else:
        stage.session.eof_received()
    # Compiled, a constant is what it is: 5 s.
    async with asyncio.timeout(15):
        while not stage.down.aborted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("asked", "answer", "name"),
    [
        (query(b"SELECT 1"), b"", "query_response_latency"),
        (series(), PARSED + BOUND, "extended_response_latency"),
    ],
    ids=["simple", "extended"],
)
async def test_the_wait_for_a_server_is_in_the_client_s_latency_and_not_in_the_database_s(
    asked: bytes, answer: bytes, name: str
) -> None:
    """M-27, M-23; only the request that has waited."""
    stage = Stage(ShortWalk)
    server = stage.pool.take()
    assert server is not None
    began = perf_counter()
    stage.play(True, asked)
    await asyncio.sleep(0.06)
    server.pools.release(stage.pool, server)
    own = getattr(stage.endpoint.counters, name)
    database = getattr(server.target_counters, name)
    most = perf_counter() - began
    for _ in range(2):
        stage.play(False, answer + result() + ready())
        assert own.count == database.count
        # The clock of the loop, by which waits are measured, goes by milliseconds.
        assert 0.05 < own.total - database.total < most + 0.002
        stage.play(True, asked)


async def test_what_the_proxy_asks_a_server_itself_drops_its_unnamed_statement() -> None:
    """The look of leak_guard, a reset: each simple query drops it."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, series())
    stage.play(False, PARSED + BOUND + result() + ready())
    assert stage.server.statements.unnamed is not None
    stage.pool.withdraw(stage.server)
    stage.server.reset(("SELECT 1",), lambda _: None)
    assert stage.server.statements.unnamed is None
    stage.play(False, result() + ready())


def rule_of(stage: Stage) -> str:
    """Why its client is pinned."""
    pin = stage.session.pin
    assert pin is not None
    return pin.rule


LONG = b"select 1, 2, 3;" * 40_000


@pytest.mark.parametrize("first", [6, 500, 5_000, 9_999, 20_000, len(LONG) + 6])
@pytest.mark.parametrize("kind", ["query", "parse"])
async def test_a_text_over_the_limit_streams_and_pins_however_it_is_cut(
    first: int, kind: str
) -> None:
    """PIN-ALL-01: neither its time nor its verdict is TCP's to decide."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    sent = query(LONG) if kind == "query" else parse(b"", LONG)
    stage.play(True, sent[:first])
    stage.play(True, sent[first:10_007])
    assert stage.up.written == sent[: max(first, 10_007)]
    stage.play(True, sent[max(first, 10_007) :])
    assert stage.up.written == sent
    assert rule_of(stage) == "PIN-ALL-01"


async def test_a_text_over_the_limit_that_had_to_wait_is_judged_by_its_head_too() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    server = stage.pool.take()
    assert server is not None
    for start in range(0, len(LONG), 100_000):
        stage.play(True, query(LONG)[start : start + 100_000])
    server.pools.release(stage.pool, server)
    assert rule_of(stage) == "PIN-ALL-01"


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
    assert not stage.down.written
    stage.session.lent(stage.server)
    assert stage.down.reading


async def test_an_error_of_ours_at_a_loan_costs_nobody_else_in_line_anything() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    first, server = stage.session, stage.server
    second = stage.client(2, Wire())
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


@pytest.mark.parametrize("polite", [False, True], ids=["cut-off", "terminate"])
async def test_a_pinned_session_that_ends_in_a_request_holds_nothing_any_more(polite: bool) -> None:
    """The ledger's "held now" is L-01's "until the session ends", however that ends."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"SET work_mem = '8MB'"))
    stage.play(False, message(b"C", b"SET\0") + ready())
    (pin,) = stage.endpoint.ledger.pins()
    assert pin.ended is None
    stage.play(True, query(b"SELECT pg_sleep(600)"))
    if polite:
        stage.play(True, message(b"X"))
        assert pin.ended is None
    else:
        stage.session.connection_lost(None)
    stage.server.connection_lost(None)
    assert pin.ended is not None
    (group,) = stage.endpoint.ledger.groups()
    assert (group.count, group.held) == (1, 0)
