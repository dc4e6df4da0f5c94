"""The server where its address cannot be had."""

from __future__ import annotations

import socket

import pytest

from pyproxy.dashboard.http import HttpServer
from tests.support.fake_view import FakeView


async def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    server = HttpServer("nobody.invalid", 0, FakeView(), lambda _: ("", b""))
    with pytest.raises(OSError, match=r"cannot listen on nobody\.invalid:0: ") as told:
        await server.start()
    assert "error -" not in str(told.value)


async def test_a_port_that_is_taken_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HttpServer("127.0.0.1", port, FakeView(), lambda _: ("", b""))
        with pytest.raises(OSError, match=f"{port}: Address already in use"):
            await server.start()
