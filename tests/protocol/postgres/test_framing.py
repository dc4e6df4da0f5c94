"""A stream cut anywhere is the same messages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.postgres.errors import ProtocolError
from protocol.postgres.framing import HEADER, Framer

messages = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8)


def encode(items: list[tuple[int, bytes]]) -> bytes:
    return b"".join(HEADER.pack(tag, len(body) + 4) + body for tag, body in items)


@given(messages, st.lists(st.integers(0, 400), max_size=9))
def test_cuts_change_nothing(items: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = encode(items)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    framer = Framer(100)
    found: list[tuple[int, bytes]] = []
    for start, end in itertools.pairwise(places):
        found += framer.feed(data[start:end])
    assert found == items
    assert framer.rest == b""


def test_what_is_left_over_is_handed_on() -> None:
    framer = Framer(100)
    assert framer.feed(encode([(65, b"x")]) + b"B\0") == [(65, b"x")]
    assert framer.rest == b"B\0"


@pytest.mark.parametrize("length", [0, 3, 105, 2**32 - 1])
def test_impossible_lengths_are_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(ProtocolError):
        Framer(100).feed(HEADER.pack(65, length))
