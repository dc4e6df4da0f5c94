"""A server on loopback with a fake view, and raw sockets to talk to it."""

import asyncio
import json
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import pytest

from pyproxy.dashboard.http import HttpServer, Limits
from pyproxy.metrics.exposition import Exposition
from tests.support.fake_metrics import FakeSource
from tests.support.fake_view import FakeView


class Reply(NamedTuple):
    """One answer, as it came off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Peer:
    """A socket that says whatever a test likes."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str, *headers: str, method: str = "GET") -> Reply:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        await self.say("\r\n".join(lines).encode())
        return await self.hear(bodiless=method == "HEAD")

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()
        first, *lines = text.split("\r\n")[:-2]
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def hear(self, *, bodiless: bool = False) -> Reply:
        status, headers = await self.head()
        length = 0 if bodiless else int(headers["content-length"])
        return Reply(status, headers, await asyncio.wait_for(self.reader.readexactly(length), 5))

    async def closed(self) -> bool:
        """Whether the server closes, in order, without another byte."""
        return await asyncio.wait_for(self.reader.read(), 5) == b""


Connect = Callable[[], AbstractAsyncContextManager[Peer]]


class House:
    """A running server, what it shows, and how to come in."""

    def __init__(self, server: HttpServer, view: FakeView) -> None:
        self.server = server
        self.view = view

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    async def get(self, path: str, *headers: str, method: str = "GET") -> Reply:
        async with self.peer() as peer:
            return await peer.get(path, *headers, method=method)


Open = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def opened() -> Open:
    """Start a server with the limits a test gives."""

    @asynccontextmanager
    async def start(view: FakeView | None = None, **limits: float) -> AsyncIterator[House]:
        shown = view or FakeView()
        render = Exposition(FakeSource()).render
        chosen = Limits(**limits)  # type: ignore[arg-type]  # some limits are whole numbers
        server = HttpServer("127.0.0.1", 0, shown, render, chosen)
        await server.start()
        try:
            yield House(server, shown)
        finally:
            await server.stop()

    return start


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert isinstance(port, int)
        return port


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until a condition holds, for five seconds at most."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not come to pass")
