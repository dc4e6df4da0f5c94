"""The commands' end of HTTP: whatever goes wrong is one line that says what to do."""

import asyncio
import contextlib
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pyproxy.dashboard.client import ApiError, get, get_json
from tests.pyproxy.dashboard.conftest import Open


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """A server that answers everything with the same bytes."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def asked(url: str, path: str = "/api/v1/pins", patience: float = 0.5) -> str:
    """Return the complaint about an answer that is not ours."""
    with pytest.raises(ApiError) as caught:
        await asyncio.to_thread(get_json, url, path, patience)
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_an_answer_is_read(opened: Open) -> None:
    async with opened() as house:
        answer = await asyncio.to_thread(get, house.server.url, "/healthz")
        value = await asyncio.to_thread(get_json, house.server.url, "/api/v1/proxy")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})
    assert value["db_proxy_name"] == "demo"


async def test_an_error_of_the_api_is_passed_on(opened: Open) -> None:
    async with opened() as house:
        message = await asked(house.server.url, "/api/v1/pins?limit=x")
    assert "answered 400: limit is 'x'" in message


async def test_a_proxy_that_does_not_run_is_told_as_such(free_port: int) -> None:
    message = await asked(f"http://127.0.0.1:{free_port}")
    assert message.endswith("cannot be reached (Connection refused): is pyproxy running there?")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"E\x00\x00\x00\x10garbage\r\n", "did not answer in HTTP"),
        (b"", "is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "answered 200 without JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "answered 200 without JSON"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "answered 502 without JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhi", "did not answer in HTTP"),
    ],
    ids=["not http", "nothing", "text", "list", "gateway", "cut"],
)
async def test_an_answer_that_is_not_ours_is_told_as_such(raw: bytes, said: str) -> None:
    async with answering(raw) as url:
        assert said in await asked(url)


async def test_a_proxy_that_does_not_answer_is_not_waited_for() -> None:
    async def silent(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await asked(url) == f"{url} did not answer within 0.5 s"


async def test_a_server_that_drips_is_not_waited_for() -> None:
    async def drip(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await asked(url, patience=0.1) == f"{url} did not answer within 0.1 s"


async def test_a_server_that_never_stops_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyproxy.dashboard.client.LONGEST", 1_000_000)
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000) as url:
        assert "did not answer in HTTP ('it goes on and on')" in await asked(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8432",
        "https://127.0.0.1:8432",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:8432/api/v1",
        "http://a b",
        "http://" + "a" * 300,
        "http://[::1",
        "postgresql://app@127.0.0.1:6432/shop",
    ],
)
async def test_a_url_that_is_none_is_told_as_such(url: str) -> None:
    assert await asked(url) == f"{url!r} is not the URL of a proxy: use http://host:port"


async def test_the_environment_sends_no_question_elsewhere(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with opened() as house:
        answer = await asyncio.to_thread(get, house.server.url, "/healthz")
    assert json.loads(answer.body) == {"status": "alive"}
