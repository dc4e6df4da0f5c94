"""Bytes for logins: read message by message, and TLS settled before there is a transport.

A login is a dialogue, so it wants `await stream.read()`; the relay wants callbacks. `LoginStream`
serves the first and then hands its transport over, with whatever arrived early.

TLS is negotiated on the bare socket and the transport is made afterwards (decision record
"TLS on the raw socket"): nothing that came before the handshake can ever be taken for what came
through it (CVE-2021-3935), because exactly the eight bytes of the request are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Coroutine
from pathlib import PurePath
from typing import Any, Final, cast

from protocol.postgres.errors import ProtocolError
from protocol.postgres.framing import HEADER
from protocol.postgres.startup import MAX_STARTUP, SSLRequest
from pyproxy.addresses import join
from pyproxy.keepalive import watch

# No message of a login is longer: tokens with a session token pass 1 kB, certificates don't travel.
MAX_LOGIN_MESSAGE: Final = 1 << 16
# How long one address of a name is waited for before the next one is tried beside it, in seconds.
HEAD_START: Final = 0.25


class LoginStream(asyncio.Protocol):
    """One side's messages, one at a time, while a login lasts."""

    __slots__ = ("_buffer", "_eof", "_gone", "_waiter", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._buffer = bytearray()
        self._eof = False
        self._waiter: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Has the peer closed the connection?"""
        return self._eof

    def gone(self) -> asyncio.Future[None]:
        """What is done when the peer closes the connection, for who waits for something else."""
        self._gone = asyncio.get_running_loop().create_future()
        if self._eof:
            self._gone.set_result(None)
        return self._gone

    async def read(self, limit: int = MAX_LOGIN_MESSAGE) -> tuple[int, bytes]:
        """The next message: tag, body.

        Raises ProtocolError for one longer than `limit`, ConnectionError when the peer is gone.
        """
        while True:
            if len(self._buffer) >= 5:
                tag, length = HEADER.unpack_from(self._buffer)
                if length < 4 or length > limit:
                    raise ProtocolError(f"a message of {length} bytes in a login")
                if len(self._buffer) > length:
                    body = bytes(self._buffer[5 : 1 + length])
                    del self._buffer[: 1 + length]
                    return tag, body
            await self._more()

    async def read_startup(self) -> bytes:
        """The next packet without a tag, after its length. Raises as `startup_length` does."""
        while True:
            if len(self._buffer) >= 4:
                length = startup_length(self._buffer)
                if len(self._buffer) >= length:
                    body = bytes(self._buffer[4:length])
                    del self._buffer[:length]
                    return body
            await self._more()

    async def wait_closed(self) -> None:
        """Until the peer closes the connection; what it says before that is dropped."""
        while not self._eof:
            self._buffer.clear()
            with contextlib.suppress(ConnectionResetError):
                await self._more()

    async def _more(self) -> None:
        """Wait for more bytes."""
        if self._eof:
            raise ConnectionResetError("the connection was closed during the login")
        self.transport.resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def feed(self, data: bytes) -> None:
        """Bytes that were read from the socket before there was a transport."""
        self._buffer += data

    def write(self, data: bytes) -> None:
        """Send; a login never says enough to need flow control. Who has gone is not written to."""
        # asyncio drops what is written to a closed transport, uvloop raises RuntimeError.
        if not self.transport.is_closing():
            self.transport.write(data)

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """The transport, and what has arrived behind the login: the next protocol's now."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return self.transport, rest

    # -- the transport's side ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        # A cast, not a check: uvloop's transports are asyncio's in all but inheritance.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep it; a peer that talks out of turn is not read any further."""
        self._buffer += data
        if len(self._buffer) > MAX_LOGIN_MESSAGE:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The peer has closed its side."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end()

    def _end(self) -> None:
        self._eof = True
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def startup_length(data: bytes | bytearray) -> int:
    """The length of the startup packet that begins so, its own four bytes included.

    Raises ConnectionAbortedError for an impossible one. PostgreSQL does not talk to such a peer
    (backend_startup.c, ProcessStartupPacket): it speaks something else, or has hung up already.
    """
    length = int.from_bytes(data[:4], "big")
    if not 8 <= length <= MAX_STARTUP:
        raise ConnectionAbortedError(f"invalid length of startup packet: {length}")
    return length


def part_with(transport: asyncio.Transport, linger: float) -> None:
    """Close, and give what has been written `linger` seconds to arrive; harmless if it is closed.

    On asyncio a TLS transport that is closed a second time forgets its protocol, and fails at
    whatever it is asked then.
    """
    if transport.is_closing():
        return
    transport.close()
    cut_later(transport, linger)


def cut_later(transport: asyncio.Transport, linger: float, before: int = 0) -> None:
    """Of a connection that is being closed: give its last words `linger` seconds to arrive.

    Whoever has taken some of them, of `before`, has as long again.
    """
    size = transport.get_write_buffer_size()
    if before and size >= before:
        transport.abort()
    elif size:
        asyncio.get_running_loop().call_later(linger, cut_later, transport, linger, size)


async def dial(
    host: str, port: int, tls: str, context: ssl.SSLContext | None
) -> tuple[LoginStream, bool]:
    """Connect to a database; returns the stream and whether it is over TLS.

    A `host` that begins with a slash is the folder of a Unix socket, as in libpq. `tls` is a libpq
    sslmode; without a context, or over a Unix socket, it is "disable".
    Raises OSError, and ConnectionError when TLS is demanded and refused.
    """
    loop = asyncio.get_running_loop()
    if host.startswith("/"):
        path = str(PurePath(host) / f".s.PGSQL.{port}")
        try:
            _, stream = await loop.create_unix_connection(LoginStream, path)
        except OSError as error:
            # The loop's own words don't say which file.
            raise OSError(error.errno, error.strerror, path) from None
        return stream, False
    sock = await _connect(host, port)
    try:
        use_tls = tls != "disable" and context is not None and await _request_tls(sock)
        if tls not in ("disable", "prefer") and not use_tls:
            raise ConnectionRefusedError(f"{host}:{port} does not support TLS, and tls is {tls!r}")
        _, stream = await loop.create_connection(
            LoginStream,
            sock=sock,
            ssl=context if use_tls else None,
            server_hostname=host if use_tls else None,
        )
    except BaseException:
        sock.close()
        raise
    return stream, use_tls


async def _connect(host: str, port: int) -> socket.socket:
    """A connected non-blocking socket."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        # The resolver's own words don't say which name.
        raise OSError(f"{host}: {error.strerror}") from None
    except UnicodeError:
        # Too long for a name, when its letters are written in ASCII.
        raise OSError(f"{host}: this is no host name") from None
    if not found:
        raise OSError(f"{host} has no address")
    return await _first_of([_connect_to(*place) for place in found])


async def _first_of(addresses: list[Coroutine[None, None, socket.socket]]) -> socket.socket:
    """What the first address that answers gives; raises the last one's OSError if none does.

    Each is tried when those before it have failed or said nothing for HEAD_START (RFC 8305): one
    that swallows everything must not take the time of the others.
    """
    trying: set[asyncio.Task[socket.socket]] = set()
    try:
        while True:
            if addresses:
                trying.add(asyncio.get_running_loop().create_task(addresses.pop(0)))
            done, _ = await asyncio.wait(
                trying,
                timeout=HEAD_START if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                trying.discard(attempt)
                failed = isinstance(attempt.exception(), OSError)
                if not (failed and (addresses or trying)):
                    return attempt.result()
    finally:
        for late in trying:
            late.cancel()
            late.add_done_callback(_close)
        for untried in addresses:
            untried.close()


async def _connect_to(
    family: int, kind: int, proto: int, _: str, address: tuple[Any, ...]
) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch(sock)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:
        sock.close()
        # The loop's own words don't say why; its class does.
        why = os.strerror(error.errno) if error.errno else str(error)
        raise type(error)(f"{join(*address[:2])}: {why}") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """It came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _request_tls(sock: socket.socket) -> bool:
    """Ask for TLS and read the one byte of the answer, not more (CVE-2021-23222)."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, SSLRequest().encode())
    answer = await loop.sock_recv(sock, 1)
    if answer not in (b"S", b"N"):
        raise ConnectionResetError(f"the database answered {answer!r} to SSLRequest")
    return answer == b"S"
