"""A statement keeps the types that its client was told, wherever it is prepared anew (PS-03)."""

import asyncio
import struct
from collections.abc import Iterator

import pytest

from pyproxy.postgres.descriptions import describe, keeps_columns, types_in
from pyproxy.postgres.relay import Relay
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

FLUSH = message(b"H")
TERMINATE = message(b"X")
NAME = b"pyproxy_1"
SQL = b"SELECT a FROM t WHERE b = $1"
DESCRIBE = message(b"D", b"Ss\0")
ASKED = message(b"D", b"S" + NAME + b"\0")
CLOSE = message(b"C", b"S" + NAME + b"\0")
NOBODY = message(b"B", b"\0pyproxy_0\0\0\0\0\1\0\0\0\1x\0\0")
BIND = series(None, NAME, described=False)
MISSING = message(
    b"E", b'SERROR\0VERROR\0C26000\0Mprepared statement "pyproxy_0" does not exist\0\0'
)
CHANGED = b"C0A000\0Mcached plan must not change result type\0"
REFUSED = message(
    b"E",
    b"SERROR\0VERROR\0C25006\0Mcannot execute INSERT in a read-only transaction\0"
    b"RPreventCommandIfReadOnly\0\0",
)


def typed(name: bytes, *types: int) -> bytes:
    """The Parse of SQL, with the types of its parameters."""
    return message(b"P", name + b"\0" + SQL + struct.pack(f"!xH{len(types)}I", len(types), *types))


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        (b"SELECT 1", True),
        (b"-- one\n /* two */ (\n(values (1)))", True),
        (b"With a AS (SELECT 1) TABLE a", True),
        (b"FETCH 1 FROM c", False),
        (b"show work_mem", False),
        (b"SELECTED", False),
        (b"-- SELECT", False),
        (b"/* SELECT", False),
        (b"", False),
        (b"-- " * 100_000, False),
        (b"/**/" * 100_000 + b"/*", False),
        (b"\xff", False),
    ],
)
def test_only_queries_keep_their_columns(text: bytes, keeps: bool) -> None:
    assert keeps_columns(text) is keeps


ANEW = CLOSE + typed(NAME, 23) + ASKED + FLUSH


def row(*columns: tuple[bytes, int, int, int]) -> bytes:
    """The body of a RowDescription: name, table, type and typmod of each column."""
    packed = (
        name + b"\0" + struct.pack("!IhIhih", table, 1, kind, 4, typmod, 0)
        for name, table, kind, typmod in columns
    )
    return struct.pack("!H", len(columns)) + b"".join(packed)


ONE = row((b"a", 7, 23, -1), (b"b", 7, 25, -1))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (row((b"a", 8, 23, -1), (b"b", 0, 25, -1)), True),
        (row((b"a", 7, 20, -1), (b"b", 7, 25, -1)), False),
        (row((b"a", 7, 23, -1), (b"b", 7, 25, 9)), False),
        (row((b"a", 7, 23, -1), (b"c", 7, 25, -1)), False),
        (row((b"a", 7, 23, -1)), False),
        (row(), False),
        (b"", False),
    ],
    ids=["another table", "type", "typmod", "name", "fewer", "no columns", "no result"],
)
def test_results_are_equal_where_postgresql_takes_them_for_equal(other: bytes, same: bool) -> None:
    assert (describe(b"\0\0", ONE) == describe(b"\0\0", other)) is same


def test_a_description_has_the_types_of_the_parameters() -> None:
    types = struct.pack("!H2I", 2, 23, 25)
    assert types_in(describe(types, ONE)) == types_in(describe(types, b"")) == types
    assert describe(types, ONE) != describe(struct.pack("!H2I", 2, 23, 20), ONE)


async def prepared(kind: type[Relay] = ShortWalk, *, asks: bool = False) -> Stage:
    """A client that has prepared `s`, and goes on where nothing of it is known."""
    await asyncio.sleep(0)
    stage = Stage(kind)
    stage.play(True, parse(b"s", SQL) + (DESCRIBE if asks else b"") + SYNC)
    stage.play(False, CLOSED + PARSED + described(23, 23) + ready())
    stage.server.statements.forget_all()
    stage.up.written = stage.down.written = b""
    return stage


@pytest.mark.parametrize("asks", [False, True])
async def test_a_parse_is_described_once(asks: bool) -> None:
    """By the client's own Describe, or by one whose answer it does not see."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"s", SQL) + (DESCRIBE if asks else b"") + SYNC)
    assert stage.up.written == CLOSE + parse(NAME, SQL) + ASKED + SYNC
    stage.play(False, CLOSED + PARSED + described(23, 23) + ready())
    assert stage.down.written == PARSED + (described(23, 23) if asks else b"") + ready()
    assert stage.session.naming is not None
    assert stage.session.naming.names[b"s"].description == describe(
        struct.pack("!HI", 1, 23), row((b"a", 0, 23, -1))
    )


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("kind", [Relay, ShortWalk])
async def test_it_is_prepared_anew_with_the_types_that_were_told(
    kind: type[Relay], asks: bool
) -> None:
    """And bound when it is known to have the columns that were told."""
    stage = await prepared(kind, asks=asks)
    stage.play(True, series(None, b"s", described=False))
    assert stage.up.written == ANEW
    stage.play(False, CLOSED + PARSED + described(23, 23))
    assert stage.up.written == ANEW + BIND
    stage.play(False, BOUND + INSERTED + ready())
    assert stage.down.written == BOUND + INSERTED + ready()
    # From now on it is there.
    stage.up.written = b""
    stage.play(True, series(None, b"s", described=False))
    assert stage.up.written == BIND


@pytest.mark.parametrize(
    "now", [described(23, 20), described(23, 23, name=b"z"), described(23)[:11] + NO_DATA]
)
@pytest.mark.parametrize("asked", [b"", DESCRIBE])
async def test_other_columns_than_were_told_are_an_error(now: bytes, asked: bytes) -> None:
    """PostgreSQL's own, in the place of one that makes its transaction fail."""
    stage = await prepared()
    stage.play(True, asked or series(None, b"s", described=False))
    stage.play(False, CLOSED + PARSED + now)
    nobody = message(b"D", b"Spyproxy_0\0") if asked else NOBODY
    assert stage.up.written[len(ANEW) :].startswith(nobody)
    stage.play(True, SYNC if asked else b"")
    stage.play(False, MISSING + ready())
    assert CHANGED in stage.down.written
    assert b"26000" not in stage.down.written
    assert stage.down.written.startswith(described(23)[:11] if asked else b"E")
    # It is tried again the next time: the table may have been altered back.
    stage.up.written = b""
    stage.play(True, series(None, b"s", described=False))
    assert stage.up.written == ANEW


async def test_who_prepares_after_the_change_is_not_mixed_up_with_who_did_before() -> None:
    stage = await prepared()
    other = stage.client(2, type(stage.down)())
    other.data_received(parse(b"new", SQL) + SYNC)
    stage.play(False, CLOSED + PARSED + described(20, 20) + ready())
    for client, name, types, column in (
        (stage.session, b"s", 23, 23),
        (other, b"new", 20, 20),
        (stage.session, b"s", 23, 23),
    ):
        stage.up.written = b""
        client.data_received(series(None, name, described=False))
        assert stage.up.written == CLOSE + typed(NAME, types) + ASKED + FLUSH
        stage.play(False, CLOSED + PARSED + described(types, column))
        assert stage.up.written.endswith(BIND)
        stage.play(False, BOUND + INSERTED + ready())


async def test_one_form_for_all_who_were_told_the_same() -> None:
    """What a client has of its own is a name."""
    stage = await prepared()
    other = stage.client(2, type(stage.down)())
    other.data_received(parse(b"t", SQL) + SYNC)
    stage.play(False, CLOSED + PARSED + described(23, 23) + ready())
    assert stage.session.naming is not None
    assert other.naming is not None
    assert stage.session.naming.names[b"s"] is other.naming.names[b"t"]


async def test_the_unnamed_statement_that_was_described_keeps_its_word_too() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"", SQL) + message(b"D", b"S\0") + SYNC)
    stage.play(False, PARSED + described(23, 23) + ready())
    stage.up.written = b""
    stage.play(True, series(None))
    assert stage.up.written == series(None)
    stage.play(False, BOUND + result() + ready())
    for column in (23, 20):
        stage.server.statements.forget_all()
        stage.up.written = stage.down.written = b""
        anew = typed(b"", 23) + message(b"D", b"S\0") + FLUSH
        stage.play(True, series(None))
        assert stage.up.written == anew
        stage.play(False, PARSED + described(23, column))
        bound = stage.up.written[len(anew) :]
        assert bound == series(None) if column == 23 else bound.startswith(NOBODY)
        stage.play(False, (BOUND + result() if column == 23 else MISSING) + ready())
        assert (CHANGED in stage.down.written) is (column != 23)


async def test_an_unnamed_statement_of_which_nothing_was_told_is_not_asked_about() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, series())
    stage.play(False, PARSED + BOUND + result() + ready())
    stage.server.statements.forget_all()
    stage.up.written = b""
    stage.play(True, series(None))
    assert stage.up.written == parse(b"", b"SELECT $1") + series(None)


async def test_what_fails_while_it_is_prepared_anew_fails_as_it_is() -> None:
    stage = await prepared()
    stage.play(True, series(None, b"s", described=False))
    stage.play(False, CLOSED + ERROR)
    # The server discards up to the Sync, and so does the proxy.
    assert stage.up.written == ANEW + SYNC
    stage.play(False, ready())
    assert stage.down.written == ERROR + ready()
    stage.up.written = b""
    stage.play(True, series(None, b"s", described=False))
    assert stage.up.written == ANEW


async def test_what_came_before_it_may_fail() -> None:
    stage = await prepared()
    stage.play(True, series(b"SELECT 1")[:-5] + series(None, b"s"))
    stage.play(False, PARSED + BOUND + ERROR)
    assert stage.up.written.endswith(ANEW + SYNC)
    stage.play(False, ready())
    assert stage.down.written == PARSED + BOUND + ERROR + ready()


async def test_a_refused_write_before_it_is_not_waited_for() -> None:
    """FO-08: it is held back up to the ReadyForQuery, and the Sync for that has to go up."""
    stage = await prepared()
    stage.server.parameters["default_transaction_read_only"] = "off"
    stage.play(True, series(b"INSERT INTO t VALUES ($1)")[:-5] + series(None, b"s"))
    stage.play(False, PARSED + BOUND + NO_DATA + REFUSED)
    assert stage.up.written.endswith(SYNC)
    stage.play(False, ready())
    assert stage.down.written == PARSED + BOUND + NO_DATA + REFUSED + ready()


async def test_a_pipeline_waits_and_stays_in_order() -> None:
    stage = await prepared()
    asked = series(None, b"s", described=False) * 2 + query(b"SELECT 1")
    stage.play(True, asked)
    assert stage.up.written == ANEW
    stage.play(False, CLOSED + PARSED + described(23, 23))
    assert stage.up.written == ANEW + BIND * 2 + query(b"SELECT 1")
    told = (BOUND + INSERTED + ready()) * 2 + result() + ready()
    stage.play(False, told)
    assert stage.down.written == told


async def test_who_says_goodbye_meanwhile_gets_its_request_done() -> None:
    """PostgreSQL reads Terminate after what came before it."""
    stage = await prepared()
    stage.play(True, series(None, b"s", described=False) + TERMINATE)
    stage.session.connection_lost(None)
    stage.play(False, CLOSED + PARSED + described(23, 23))
    assert stage.up.written == ANEW + BIND
    stage.play(False, BOUND + INSERTED + ready())
    assert stage.state["ended"] is True
    assert stage.state["idle"] is True


def cuts(pieces: list[tuple[bool, bytes]]) -> Iterator[list[tuple[bool, bytes]]]:
    for index, (side, data) in enumerate(pieces):
        for at in range(1, len(data)):
            yield [*pieces[:index], (side, data[:at]), (side, data[at:]), *pieces[index + 1 :]]


@pytest.mark.parametrize("column", [23, 20])
async def test_it_is_the_same_however_the_bytes_are_cut(column: int) -> None:
    answer = BOUND + INSERTED if column == 23 else MISSING
    pieces = [
        (True, series(None, b"s", described=False)),
        (False, CLOSED + PARSED + described(23, column)),
        (False, answer + ready()),
        (True, query(b"SELECT 1")),
        (False, done(b"SELECT 1") + ready()),
    ]
    whole = await prepared()
    for side, data in pieces:
        whole.play(side, data)
    for cut in cuts(pieces):
        stage = await prepared()
        for side, data in cut:
            stage.play(side, data)
        assert stage.state == whole.state, cut
