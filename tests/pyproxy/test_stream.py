"""Connections to databases: what is said when there is none."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pyproxy import stream
from pyproxy.stream import _first_of, dial


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
