"""What is put off to the end of the loop's turn goes out in its order, whatever happens till then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from pyproxy.turn import Turn


class Wire:
    """A transport that remembers in which order it and its like were written to."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.written = written
        self.lost = False

    def write(self, data: bytes) -> None:
        if self.lost:
            # As uvloop's does once it has told of its end.
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.written.append((self.name, data))


class Stage:
    """A turn that is over when the test says so."""

    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []
        self.turn = Turn(self.ends.append)
        self.written: list[tuple[str, bytes]] = []
        self.one, self.two = Wire("one", self.written), Wire("two", self.written)
        self.base = Wire("base", self.written)

    def answer(self, wire: Wire, data: bytes) -> None:
        self.turn.answer(cast(Any, wire), data)

    def ask(self, data: bytes) -> None:
        self.turn.ask(cast(Any, self.base), data)

    def end(self) -> None:
        ends, self.ends[:] = list(self.ends), []
        for end in ends:
            end()


def test_words_go_out_together_and_in_order() -> None:
    stage = Stage()
    stage.answer(stage.one, b"a")
    stage.answer(stage.two, b"b")
    stage.answer(stage.one, b"c")
    assert (stage.written, len(stage.ends)) == ([], 1)
    stage.end()
    assert stage.written == [("one", b"a"), ("two", b"b"), ("one", b"c")]
    stage.end()
    stage.answer(stage.two, b"d")
    assert len(stage.ends) == 1
    stage.end()
    assert stage.written[3:] == [("two", b"d")]


def test_what_a_task_sends_goes_out_in_the_same_turn() -> None:
    stage = Stage()
    stage.answer(stage.one, b"answer")
    stage.turn.at_end(lambda: stage.ask(b"request"))
    stage.turn.at_end(lambda: stage.turn.at_end(lambda: stage.ask(b"another")))
    assert len(stage.ends) == 1
    stage.end()
    assert stage.written == [("base", b"request"), ("base", b"another"), ("one", b"answer")]
    assert stage.ends == []


def test_a_database_is_asked_before_anybody_is_answered() -> None:
    """It works while the answers are written."""
    stage = Stage()
    stage.answer(stage.one, b"a")
    stage.ask(b"b")
    stage.answer(stage.two, b"c")
    stage.ask(b"d")
    stage.end()
    assert stage.written == [("base", b"b"), ("base", b"d"), ("one", b"a"), ("two", b"c")]


def test_a_flush_leaves_nothing_for_the_end() -> None:
    stage = Stage()
    stage.answer(stage.one, b"last words")
    stage.turn.flush()
    assert stage.written == [("one", b"last words")]
    stage.end()
    assert len(stage.written) == 1


@pytest.mark.parametrize("whom", ["one", "base"])
def test_much_goes_out_at_once_behind_what_was_sent_before(whom: str) -> None:
    stage = Stage()
    say = stage.ask if whom == "base" else partial(stage.answer, stage.one)
    say(b"head")
    say(b"x" * 100_000)
    assert [len(data) for _, data in stage.written] == [4, 100_000]
    say(b"tail")
    stage.end()
    assert stage.written[-1] == (whom, b"tail")


@pytest.mark.parametrize("whom", ["one", "base"])
def test_nobody_waits_for_the_end_of_a_very_long_turn(whom: str) -> None:
    stage = Stage()
    say = stage.ask if whom == "base" else partial(stage.answer, stage.one)
    for number in range(1_000):
        say(b"%d" % number)
        assert number - len(stage.written) < 16
    stage.end()
    assert [int(data) for _, data in stage.written] == list(range(1_000))


def test_a_lost_connection_takes_nothing_from_the_others() -> None:
    stage = Stage()
    stage.answer(stage.one, b"to nobody")
    stage.answer(stage.two, b"to somebody")
    stage.one.lost = True
    stage.end()
    assert stage.written == [("two", b"to somebody")]


def test_a_task_that_fails_takes_nothing_from_the_others() -> None:
    stage = Stage()
    stage.answer(stage.one, b"sent before")
    stage.turn.at_end(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    stage.turn.at_end(lambda: stage.answer(stage.two, b"sent after"))
    with pytest.raises(ZeroDivisionError):
        stage.end()
    assert stage.written == [("one", b"sent before")]
    stage.end()
    assert stage.written[1:] == [("two", b"sent after")]
    stage.answer(stage.one, b"next turn")
    stage.end()
    assert stage.written[2:] == [("one", b"next turn")]


async def test_a_real_loop_ends_its_turn_before_it_waits_again() -> None:
    turn = Turn(asyncio.get_running_loop().call_soon)
    written: list[tuple[str, bytes]] = []
    turn.answer(cast(Any, Wire("one", written)), b"a")
    assert written == []
    await asyncio.sleep(0)
    assert written == [("one", b"a")]
