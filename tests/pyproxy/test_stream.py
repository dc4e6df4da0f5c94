"""Connections: what is said when there is none, and how long one that is closed may stay."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest

from pyproxy import stream
from pyproxy.stream import _first_of, cut_later, dial
from tests.support.stage import Wire


async def test_it_is_told_why_who_did_not_answer() -> None:
    """Operators read it in the log, and orchestrators show it as the reason of bad health."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(OSError, match=rf"^127\.0\.0\.1:{port}: Connection refused$"):
        await dial("127.0.0.1", port, "disable", None)


@pytest.mark.both_loops
async def test_what_cannot_be_a_name_is_told_as_one_that_is_not_known() -> None:
    """The resolver's interface raises UnicodeError for it, and nobody else knows what to do."""
    host = "d\u00e4" * 30
    with pytest.raises(OSError, match=f"^{host}: this is no host name$"):
        await dial(host, 5432, "disable", None)


class Addresses:
    """Some that answer, some that refuse, some that swallow everything."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.asked = self.given_up = 0

    async def good(self) -> socket.socket:
        self.sockets.append(socket.socket())
        return self.sockets[-1]

    async def refusing(self, why: str = "refused") -> socket.socket:
        raise ConnectionRefusedError(why)

    async def silent(self) -> socket.socket:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        raise AssertionError


async def test_an_address_that_swallows_everything_does_not_take_the_time_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As libpq, which has a time for each; lesson 27: several databases stand behind one name."""
    monkeypatch.setattr(stream, "HEAD_START", 0.0)
    some = Addresses()
    found = await _first_of([some.silent(), some.refusing(), some.silent(), some.good()])
    await asyncio.sleep(0)
    assert found is some.sockets[0]
    assert found.fileno() >= 0
    assert some.given_up == 2
    found.close()


async def test_of_two_addresses_that_answer_the_first_is_taken_and_none_left_open() -> None:
    some = Addresses()
    found = await _first_of([some.good(), some.good()])
    assert some.sockets == [found]
    found.close()


async def test_of_addresses_that_all_refuse_the_last_one_is_told() -> None:
    some = Addresses()
    with pytest.raises(ConnectionRefusedError, match="the last"):
        await _first_of([some.refusing(), some.refusing("the last")])


async def test_who_gives_up_gives_all_addresses_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEAD_START", 0.0)
    some = Addresses()
    connecting = asyncio.create_task(_first_of([some.silent(), some.silent()]))
    while some.asked < 2:  # noqa: ASYNC110 - the loop is what is waited for
        await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    await asyncio.sleep(0)
    assert some.given_up == 2


async def test_who_reads_its_last_words_slowly_is_not_cut_off() -> None:
    """As long as it does: a PostgreSQL would wait for it in send()."""

    class Slow(Wire):
        def get_write_buffer_size(self) -> int:
            self.buffered = max(self.buffered - 1, least)
            return self.buffered

    for least, cut in ((0, False), (2, True)):
        wire = Slow()
        wire.buffered = 6
        cut_later(cast(asyncio.Transport, wire), 0.0)
        async with asyncio.timeout(15):
            while wire.buffered > least:
                assert not wire.aborted
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0.001)
        assert wire.aborted is cut
