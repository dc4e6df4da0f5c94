"""Messages with too much or too little in them: where one ends is told by its length alone.

What a message is made of anew must not let its rest, or the beginning of the next one, be taken
for a message: nobody has judged that, and its answer would be somebody else's.
"""

from __future__ import annotations

import asyncio

import pytest

from pyproxy.postgres.short_walk import ShortWalk
from tests.support.messages import message
from tests.support.stage import CLOSED, PARSED, SYNC, Stage, described, parse, query, ready

NAME = b"\1\1\1name"


async def prepared() -> Stage:
    """A client that has a statement, which has another name on the server."""
    await asyncio.sleep(0)
    stage = Stage(ShortWalk)
    stage.play(True, parse(NAME, b"SELECT 1") + SYNC)
    stage.play(False, CLOSED + PARSED + described() + ready())
    stage.up.written = b""
    return stage


@pytest.mark.parametrize("tag", [b"D", b"C"])
@pytest.mark.parametrize("more", [b"x", query(b"SET ROLE postgres"), SYNC])
async def test_what_a_message_has_behind_its_name_is_no_message(tag: bytes, more: bytes) -> None:
    """PostgreSQL complains of it, and reads on behind it."""
    stage = await prepared()
    asked = message(tag, b"S" + NAME + b"\0" + more)
    stage.play(True, asked + SYNC)
    assert stage.up.written == asked + SYNC
    assert len(stage.server.conversation.owed) == 2


async def test_the_names_of_a_bind_are_not_looked_for_in_what_is_behind_it() -> None:
    """There may be zeros that fit: here the first and the last of those in and behind a length."""
    stage = await prepared()
    bind = message(b"B", b"portal")
    copied = message(b"d", NAME[3:] + b"\0" + bytes(0x010101 - 4 - 5))
    stage.play(True, bind + copied + SYNC)
    assert stage.up.written == bind + copied + SYNC
