"""Clients that are read no further while their last requests are answered, without a socket."""

from __future__ import annotations

import asyncio

import pytest

from protocol.postgres import backend
from protocol.postgres.conversation import MAX_IGNORED
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.session import HOLD_LIMIT
from pyproxy.postgres.short_walk import ShortWalk
from tests.support.messages import message
from tests.support.stage import (
    BOUND,
    CLOSED,
    ERROR,
    INSERTED,
    NO_DATA,
    PARSED,
    SYNC,
    Stage,
    described,
    done,
    parse,
    query,
    ready,
    result,
    series,
)

BOGUS = message(b"!")
GOODBYE = message(b"X")
FLUSH = message(b"H")
COPY_IN = message(b"G", b"\0\0\0")
COPIED = message(b"d", b"1\n") + message(b"c")
# A series that has yet to be ended.
CALL = series()[: -len(SYNC)]
LONG_ERROR = message(b"E", b"SERROR\0VERROR\0CP0001\0M" + b"e" * 1000 + b"\0\0")


def last_words(stage: Stage, told: bytes) -> bytes:
    """What the client has heard behind `told`."""
    assert stage.down.written.startswith(told)
    return stage.down.written[len(told) :]


async def test_an_error_is_told_to_its_end_before_the_last_words() -> None:
    """Lesson 30: a long one comes in pieces, and the last words were put between them."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, CALL + BOGUS)
    stage.play(False, PARSED + BOUND + LONG_ERROR[:500])
    assert not stage.down.closed
    stage.play(False, LONG_ERROR[500:])
    words = last_words(stage, PARSED + BOUND + LONG_ERROR)
    assert backend.ErrorResponse.decode(words[5:]).severity == "FATAL"
    assert stage.down.closed
    # What is left of the series is undone, and the server is not lost for that.
    assert stage.server.state == "RESETTING"
    assert not stage.up.closed


@pytest.mark.parametrize("end", [BOGUS, GOODBYE])
async def test_who_ends_in_the_middle_of_an_error_hears_the_rest(end: bytes) -> None:
    """PostgreSQL had written all of it before it read that."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, CALL)
    stage.play(False, PARSED + BOUND + LONG_ERROR[:500])
    stage.play(True, end)
    stage.play(False, LONG_ERROR[500:])
    assert bool(last_words(stage, PARSED + BOUND + LONG_ERROR)) is (end is BOGUS)
    assert stage.down.closed


async def test_a_server_in_the_middle_of_an_error_is_not_reset() -> None:
    """The rest of the message would be taken for the answer (invariant 1)."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, CALL)
    stage.play(False, PARSED + BOUND + LONG_ERROR[:500])
    stage.session.connection_lost(None)
    assert stage.up.closed
    stage.server.connection_lost(None)


async def test_a_refusal_that_is_held_back_is_told_when_no_more_will_come() -> None:
    """FO-08: it waits for the Sync, which is not to come any more; nor is anything else."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    refusal = message(b"E", b"SERROR\0VERROR\0C25006\0Mno\0RPreventCommandIfReadOnly\0\0")
    stage.play(True, CALL)
    stage.play(False, PARSED + BOUND + refusal)
    assert not stage.down.written
    stage.play(True, BOGUS)
    assert last_words(stage, PARSED + BOUND + refusal)
    assert stage.down.closed
    assert stage.session.server is None


async def test_who_has_gone_behind_a_goodbye_that_waits_takes_no_more() -> None:
    """Its server was read no further, and stayed lent for ever."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"a", b"SELECT 1") + SYNC)
    stage.play(False, CLOSED + PARSED + described() + ready())
    stage.play(True, query(b"SELECT 1") + query(b"EXECUTE a") + GOODBYE)
    stage.play(False, result()[:-20])
    stage.session.pause_writing()
    assert not stage.up.reading
    stage.session.connection_lost(None)
    assert stage.up.reading


async def test_who_has_much_held_back_is_not_read_for_what_its_server_says() -> None:
    """Each piece of a long answer let in another of what was to wait for it, without bound."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"a", b"SELECT 1") + SYNC)
    stage.play(False, CLOSED + PARSED + described() + ready())
    stage.play(True, query(b"SELECT 1") + query(b"EXECUTE a") + b"".join([query(b"")] * 50_000))
    stage.play(True, query(b""))
    assert not stage.down.reading
    row = result()[:-16]
    stage.play(False, row)
    assert not stage.down.reading
    stage.session.pause_writing()
    stage.session.resume_writing()
    assert not stage.down.reading
    assert len(stage.session._tail or b"") > HOLD_LIMIT
    stage.play(False, result()[-16:] + ready())
    assert stage.down.reading


@pytest.mark.parametrize("end", [BOGUS, GOODBYE])
async def test_a_copy_that_is_complete_runs_to_its_end(end: bytes) -> None:
    """PostgreSQL reads on when it is done with it; here it was undone."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"COPY t FROM STDIN"))
    stage.play(False, COPY_IN)
    stage.play(True, COPIED + end)
    assert not stage.up.closed
    answer = done(b"COPY 1") + ready()
    stage.play(False, answer)
    assert bool(last_words(stage, COPY_IN + answer)) is (end is BOGUS)
    assert stage.down.closed
    assert stage.pool.idle == [stage.server]


async def test_what_is_synced_runs_though_more_was_begun_before_the_goodbye() -> None:
    """PostgreSQL answers the one, and undoes the other at Terminate."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"INSERT INTO t VALUES (1)") + CALL + GOODBYE)
    assert not stage.up.closed
    stage.play(False, INSERTED + ready())
    assert stage.down.written == INSERTED + ready()
    assert stage.down.closed
    assert stage.up.closed
    stage.server.connection_lost(None)


async def test_a_failed_series_without_its_sync_costs_no_server() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, CALL + BOGUS)
    stage.play(False, ERROR)
    assert stage.down.closed
    assert not stage.up.closed
    assert stage.server.state == "RESETTING"


async def test_an_error_of_ours_lets_a_client_go_that_waits_for_its_last_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invariant 10; nobody else would have closed its connection."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"SELECT 1") + GOODBYE)
    monkeypatch.setattr(ServerConnection, "report", fail)
    stage.play(False, message(b"S", b"a\0b\0"))
    assert stage.up.aborted
    assert stage.down.closed
    assert stage.session.server is None


@pytest.mark.parametrize("whole", [True, False])
async def test_what_the_database_says_as_it_ends_is_the_last_word(whole: bool) -> None:
    """Invariant 6: a COPY that a query ends, and bytes that are no message behind that."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    copy = series(b"COPY t FROM STDIN", described=False)[: -len(SYNC)]
    stage.play(True, copy + query(b"SELECT 1") + BOGUS)
    stage.play(False, PARSED + BOUND + COPY_IN)
    told = PARSED + BOUND + COPY_IN
    ending = message(b"E", b"SERROR\0VERROR\0C08P01\0Mit is in a COPY\0\0")
    ending += message(b"E", b"SFATAL\0VFATAL\0C08P01\0Mlost\0\0")
    if not whole:
        # Its end is read before it is told.
        stage = Stage(ShortWalk)
        told = b""
        stage.play(True, query(b"SELECT 1"))
    stage.play(False, ending)
    if not whole:
        stage.play(True, BOGUS)
    stage.server.connection_lost(None)
    assert stage.down.written == told + ending
    assert stage.down.closed


async def test_syncs_without_end_in_a_copy_are_none() -> None:
    """PostgreSQL passes over them, and each was remembered: a client could fill the memory."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"COPY t FROM STDIN"))
    stage.play(False, COPY_IN)
    stage.play(True, SYNC * MAX_IGNORED)
    assert not stage.session.ended
    stage.play(True, SYNC)
    stage.play(True, SYNC)
    assert stage.session.ended
    assert b"too many Sync messages" in last_words(stage, COPY_IN)
    assert stage.down.closed
    assert stage.up.closed
    stage.server.connection_lost(None)


@pytest.mark.parametrize("answered", [True, False])
async def test_the_end_of_no_copy_is_not_waited_for(answered: bool) -> None:
    """PostgreSQL passes over it: a client that ended behind it kept its server for ever."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    answer = PARSED + BOUND + result()
    stage.play(True, CALL)
    stage.play(True, message(b"f", b"x\0"))
    if answered:
        stage.play(False, answer)
    stage.play(True, BOGUS)
    if not answered:
        stage.play(False, answer)
    assert last_words(stage, answer)
    assert stage.down.closed
    assert stage.up.closed
    stage.server.connection_lost(None)


@pytest.mark.parametrize("end", [GOODBYE, b""])
async def test_a_server_that_may_owe_more_than_is_known_is_not_reset(end: bytes) -> None:
    """Whether it has read past a Sync ahead of a COPY that failed (lessons 12, 13)."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, CALL + SYNC)
    stage.play(False, PARSED + BOUND + NO_DATA + COPY_IN)
    stage.play(True, COPIED[:-5])
    stage.play(False, ERROR)
    if end:
        stage.play(True, end)
    else:
        stage.session.connection_lost(None)
    assert stage.server.closing
    assert stage.up.written.endswith(GOODBYE)
    stage.server.connection_lost(None)
