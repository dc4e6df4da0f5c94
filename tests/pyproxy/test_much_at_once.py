"""Long pipelines: what is done for a message must not grow with how many there are."""

from __future__ import annotations

import asyncio
import time

from protocol.postgres.conversation import OWED_EXECUTE, Conversation
from pyproxy.postgres.short_walk import ShortWalk
from tests.support.messages import message
from tests.support.stage import (
    CLOSED,
    ERROR,
    PARSED,
    SYNC,
    Stage,
    described,
    done,
    parse,
    query,
    ready,
)

# In each case what is quadratic takes ten seconds and more, and what is not a tenth of one.
MANY = 30_000
SOON = 2.0


def test_a_mark_of_a_copy_is_not_looked_for_at_each_answer() -> None:
    conversation = Conversation()
    for _ in range(MANY):
        conversation.extended(OWED_EXECUTE)
    conversation.copy_end()
    conversation.sync()
    begun = time.process_time()
    for _ in range(MANY):
        conversation.executed()
    assert time.process_time() - begun < SOON


async def test_an_error_undoes_many_unnamed_statements_at_once() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"", b"SELECT 1") * MANY + SYNC + message(b"D", b"P\0") * MANY)
    begun = time.process_time()
    stage.play(False, ERROR)
    assert time.process_time() - begun < SOON
    assert stage.unnamed == (None, None)


async def test_names_that_are_closed_are_forgotten() -> None:
    """A pinned client may have a new one for each statement, for as long as it stays."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, query(b"SET work_mem = '1MB'"))
    stage.play(False, done(b"SET") + ready())
    for number in range(100):
        name = b"s%d" % number
        stage.play(True, parse(name, b"SET work_mem = '1MB'") + SYNC)
        stage.play(False, PARSED + ready())
        stage.play(True, message(b"C", b"S" + name + b"\0") + SYNC)
        stage.play(False, CLOSED + ready())
    naming = stage.session.naming
    assert naming is not None
    assert not naming._own


async def test_a_close_that_is_discarded_leaves_a_name_its_meaning() -> None:
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(b"a", b"SELECT 1") + SYNC)
    stage.play(False, CLOSED + PARSED + described() + ready())
    stage.play(True, query(b"SET work_mem = '1MB'"))
    stage.play(False, done(b"SET") + ready())
    stage.play(True, parse(b"b", b"EXECUTE a") + SYNC)
    stage.play(False, (PARSED * 2) + ready())
    stage.play(True, message(b"D", b"Pnobody\0") + message(b"C", b"Sb\0") + SYNC)
    stage.play(False, ERROR + ready())
    naming = stage.session.naming
    assert naming is not None
    assert list(naming._own) == [b"b"]
