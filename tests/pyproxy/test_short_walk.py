"""The short walk leaves everything as the long walk leaves it, however the bytes are cut."""

import asyncio
import inspect
from collections.abc import Iterator
from itertools import chain

import pytest

from protocol.postgres.conversation import FAILED, IN_TRANSACTION
from pyproxy.postgres.relay import Relay
from pyproxy.postgres.short_walk import ShortWalk
from tests.support.messages import message
from tests.support.stage import (
    BOUND,
    CLOSED,
    ERROR,
    INSERTED,
    NO_DATA,
    NOTICE,
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

Play = list[tuple[bytes, bytes]]
"""What a client sends, and what its server answers, in turn."""

PREPARE = (parse(b"s", b"SELECT $1") + SYNC, CLOSED + PARSED + described() + ready())

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
        (parse(b"st", b"SELECT $2") + SYNC, CLOSED + PARSED + described() + ready()),
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
        (parse(b"s", b"SELECT $2") + SYNC, CLOSED + PARSED + described() + ready()),
        (series(None, b"s"), BOUND + result() + ready()),
    ],
    "a series unlike the one before": [
        (series(), PARSED + BOUND + result() + ready()),
        (series(b"SELECT 2"), PARSED + BOUND + result() + ready()),
        (series(b"SELECT 2", described=False), PARSED + BOUND + INSERTED + ready()),
        (series(None), BOUND + result() + ready()),
        (series(b"SELECT 2"), PARSED + BOUND + result() + ready()),
    ],
    "a series that is read otherwise": [
        (series(b"SELECT '\\'"), PARSED + BOUND + result() + ready()),
        (
            query(b"SET standard_conforming_strings = off"),
            done(b"SET") + message(b"S", b"standard_conforming_strings\0off\0") + ready(),
        ),
        (series(b"SELECT '\\'"), ERROR + ready()),
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
