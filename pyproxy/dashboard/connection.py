"""One HTTP connection: h11 reads and writes the protocol, this moves the bytes.

`HttpConnection(...).serve()` is one task from accept to close. It never raises, and every wait in
it has a deadline: a peer that sends or reads slowly costs a task for some seconds and no more.
"""

import asyncio
import contextlib
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote, urlsplit

import h11

from pyproxy.dashboard.feed import Feed, Listener, Prepare
from pyproxy.dashboard.origin import OriginGuard
from pyproxy.dashboard.routes import DELIBERATE, Request, Response, Routes, error
from pyproxy.dashboard.view import View

log: Final = logging.getLogger("pyproxy.dashboard")

READ_SIZE: Final = 16 * 1024
LINGER: Final = 1.0
"""Seconds to wait for a peer to stop sending after we have refused it."""

ALWAYS: Final = (
    # What is shown is true now and perhaps nobody else's business.
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

OVERLOADED: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 72\r\n"
    b"Cache-Control: no-store\r\n"
    b"Connection: close\r\n\r\n"
    b'{"status": 503, "error": "too many HTTP connections: close some first"}\n'
)


@dataclass(frozen=True)
class Limits:
    """What a peer may use up. Seconds and bytes."""

    connections: int = 64
    streams: int = 16
    head_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    idle_timeout: float = 60.0
    request_timeout: float = 10.0
    write_timeout: float = 10.0
    stream_interval: float = 1.0
    grace: float = 2.0


class Refused(Exception):
    """The request cannot be answered as asked; the connection ends after saying so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = error(status, message)


@dataclass(frozen=True)
class Service:
    """What the connections of one server share."""

    routes: Routes
    feed: Feed
    guard: OriginGuard
    limits: Limits
    prepare: Prepare | None = None
    streaming: set["HttpConnection"] = field(default_factory=set)
    """Connections that send server-sent events, without end."""


class HttpConnection:
    """A connection and what it is doing."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, service: Service) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._service: Final = service
        self._limits: Final = service.limits
        self._http: Final = h11.Connection(
            h11.SERVER, max_incomplete_event_size=service.limits.head_bytes
        )
        # The request being answered is a HEAD: the answer has no body.
        self._bodiless = False
        # What was fetched for that answer, where it has to be.
        self._view: View | None = None
        # Between requests: nothing of the next one has arrived.
        self.idle = True
        # The server stops, or the request was broken: this answer is the last one.
        self.last = False

    async def serve(self) -> None:
        """Answer requests until the peer goes, breaks the rules, or the server stops."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
                # A peer that pipelines has hundreds of requests in one read; others wait as well.
                await asyncio.sleep(0)
            await self._close()
        except (OSError, TimeoutError):
            # Gone, or as good as gone: what is unsent will not be read.
            pass
        except Exception:
            # The top of a task: a fault here must not reach the loop that serves the database.
            log.exception("an HTTP connection failed")
        finally:
            self._service.streaming.discard(self)
            self._writer.transport.abort()

    async def refuse(self) -> None:
        """Answer that there are too many connections, whatever is asked."""
        try:
            # h11 answers only what was asked; this peer's request we do not even read.
            self._writer.write(OVERLOADED)
            await self._linger()
        except (OSError, TimeoutError):
            pass
        finally:
            self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """Read a request and answer it; False when it was the last."""
        try:
            request = await self._receive()
            if request is None:
                return False
            response = await self._answer(request)
        except Refused as refusal:
            await self._refuse(refusal.response)
            return False
        if response.stream and not self._bodiless:
            with self._service.feed.listen(request.last_event_id, self._view) as listener:
                await self._send_stream(response, listener)
        else:
            await self._send(response)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _answer(self, request: Request) -> Response:
        try:
            if self._service.prepare is not None:
                self._view = await self._service.prepare(request.path)
            response = self._service.routes.answer(request, self._view)
            if response.pieces is not None:
                body = []
                for piece in response.pieces:
                    body.append(piece)
                    # The next slice after everybody else had a turn.
                    await asyncio.sleep(0)
                return response._replace(body=b"".join(body), pieces=None)
        except Exception:
            log.exception("%s %r failed", request.method, request.path)
            return error(500, "this is a fault of the proxy's; its log has the traceback")
        if response.stream and len(self._service.streaming) >= self._limits.streams:
            return error(503, f"{self._limits.streams} streams are open already: close one")
        return response

    # -- reading -------------------------------------------------------------------------------

    async def _receive(self) -> Request | None:
        """Return the next request, its body read and dropped; None if the peer is done."""
        self._bodiless = False
        self._view = None
        # A peer that pipelines has sent its next request already.
        if not self._http.trailing_data[0] and not await self._wait_for_request():
            return None
        try:
            async with asyncio.timeout(self._limits.request_timeout):
                return await self._receive_whole()
        except TimeoutError:
            limit = self._limits.request_timeout
            raise Refused(408, f"the request was not complete after {limit:g} s") from None
        except h11.RemoteProtocolError as wrong:
            raise Refused(wrong.error_status_hint, _explain(wrong, self._limits)) from None

    async def _wait_for_request(self) -> bool:
        """Wait for the first bytes of a request; False if none come."""
        self.idle = True
        try:
            async with asyncio.timeout(self._limits.idle_timeout):
                data = await self._reader.read(READ_SIZE)
        except TimeoutError:
            return False
        self.idle = False
        self._http.receive_data(data)
        return True

    async def _receive_whole(self) -> Request | None:
        head: h11.Request | None = None
        body = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if head is not None and self._http.they_are_waiting_for_100_continue:
                    # No answer depends on a body: it need not be sent at all.
                    return self._read_head(head)
                self._http.receive_data(await self._reader.read(READ_SIZE))
            elif isinstance(event, h11.Request):
                head = event
                self._bodiless = event.method == b"HEAD"
            elif isinstance(event, h11.Data):
                body += len(event.data)
                if body > self._limits.body_bytes:
                    raise Refused(413, "the body is too large: no request here needs one")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._read_head(head)
            else:
                return None

    def _read_head(self, head: h11.Request) -> Request:
        headers = {name: value.decode("latin-1") for name, value in head.headers}
        host, origin = headers.get(b"host"), headers.get(b"origin")
        if not self._service.guard.permits(host, origin):
            raise Refused(
                403,
                "this server is bound to loopback and answers to loopback's names only: "
                "use http://127.0.0.1 or http://localhost",
            )
        try:
            # RFC 9112, "absolute-form": a server accepts the whole URL as well.
            target = urlsplit(head.target.decode("ascii"))
        except ValueError:
            raise Refused(400, "the request target is not a URL's path and query") from None
        return Request(
            head.method.decode("ascii"),
            unquote(target.path),
            target.query,
            headers.get(b"accept", ""),
            headers.get(b"last-event-id", ""),
            DELIBERATE.lower().encode() in headers,
        )

    # -- writing -------------------------------------------------------------------------------

    async def _send(self, response: Response) -> None:
        self._write(self._head(response))
        if not self._bodiless:
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        await self._drain()

    async def _send_stream(self, response: Response, listener: Listener) -> None:
        """Send frames until the peer goes, does not take them, or the server stops."""
        self._service.streaming.add(self)
        self._write(self._head(response))
        self._write(h11.Data(data=listener.opening()))
        gone = asyncio.ensure_future(self._peer_gone())
        try:
            while (frames := await self._unless(gone, listener.next())) is not None:
                self._write(h11.Data(data=frames))
                await self._drain()
        except asyncio.CancelledError:
            # The server stops: end the stream as the protocol has it, so that nobody sees an error.
            self._write(h11.EndOfMessage())
            await self._close()
            raise
        finally:
            gone.cancel()

    @staticmethod
    async def _unless(
        gone: asyncio.Future[None], frames: Coroutine[None, None, bytes | None]
    ) -> bytes | None:
        """Wait for the next frames; None when the peer is gone before they come."""
        following = asyncio.ensure_future(frames)
        try:
            await asyncio.wait((gone, following), return_when=asyncio.FIRST_COMPLETED)
            return following.result() if following.done() and not gone.done() else None
        finally:
            following.cancel()

    async def _peer_gone(self) -> None:
        """Wait until the peer is gone. What it sends meanwhile is dropped."""
        with contextlib.suppress(OSError):
            while await self._reader.read(READ_SIZE):
                pass

    async def _peer_left(self, seconds: float) -> bool:
        """Wait; True as soon as the peer is gone."""
        try:
            async with asyncio.timeout(seconds):
                await self._peer_gone()
        except TimeoutError:
            return False
        return True

    async def _refuse(self, response: Response) -> None:
        """Answer a broken request, if an answer can still be sent, and let the peer read it."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.last = True
            await self._send(response)
            await self._linger()

    async def _linger(self) -> None:
        """Say that we are done, and drop what the peer still sends.

        To close with unread data is to reset, and the peer would lose our answer.
        """
        if self._writer.can_write_eof():
            self._writer.write_eof()
        await self._peer_left(LINGER)

    async def _close(self) -> None:
        """Close when the peer has taken what we sent."""
        self._writer.close()
        async with asyncio.timeout(self._limits.write_timeout):
            await self._writer.wait_closed()

    def _head(self, response: Response) -> h11.Response:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            *response.headers,
            *ALWAYS,
        ]
        if not response.stream:
            headers.append(("Content-Length", str(len(response.body))))
        if self.last:
            headers.append(("Connection", "close"))
        return h11.Response(status_code=response.status, headers=headers)

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)

    async def _drain(self) -> None:
        async with asyncio.timeout(self._limits.write_timeout):
            await self._writer.drain()


def _explain(wrong: h11.RemoteProtocolError, limits: Limits) -> str:
    if wrong.error_status_hint == 431:
        return f"the request's head is larger than {limits.head_bytes} bytes"
    return f"this is not HTTP/1.1: {wrong}"
