"""A session's connection to its client: when it is read, what is written to it, how it ends.

Each side that takes no more stops the reading of the other. Who has said Terminate, or has sent
what is no message, is still told what it has asked before, as PostgreSQL does, which reads it
when it is done with that: `_leaving`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from pyproxy.stream import cut_later, part_with

if TYPE_CHECKING:
    from pyproxy.postgres.endpoint import Endpoint
    from pyproxy.postgres.server import ServerConnection

# How long a client may take to read its last words before the connection is cut, in seconds.
LINGER: Final = 5.0


class ClientSide(asyncio.Protocol, ABC):
    """What a session is to its transport."""

    __slots__ = (
        "_blocked",
        "_last_words",
        "_leaving",
        "_patience",
        "ended",
        "endpoint",
        "server",
        "tls",
        "transport",
    )

    def __init__(self, endpoint: Endpoint, *, tls: bool) -> None:
        self.endpoint = endpoint
        self.transport: asyncio.Transport
        self.tls = tls
        # The server that it holds.
        self.server: ServerConnection | None = None
        # The client takes no more at the moment.
        self._blocked = False
        # It is read no further; its last requests run to their end.
        self._leaving = False
        # What it is told behind them.
        self._last_words = b""
        # When it is cut off if it takes nothing of the last answers.
        self._patience: asyncio.TimerHandle | None = None
        self.ended = False

    def pause_writing(self) -> None:
        """The client does not take more: neither its server nor itself is read.

        So does a backend that blocks in send(): it reads no further queries.
        """
        self._blocked = True
        self.transport.pause_reading()
        if self.server is not None:
            self.server.transport.pause_reading()
        if self._leaving:
            self._lose_patience()

    def resume_writing(self) -> None:
        """It takes more again."""
        self._blocked = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.server is not None:
            self.server.transport.resume_reading()
        self._resume_reading()

    def server_full(self) -> None:
        """The server does not take more: the client has to wait."""
        self.transport.pause_reading()

    def server_drained(self) -> None:
        """It takes more again."""
        self._resume_reading()

    def eof_received(self) -> bool:
        """The client has closed its side: so do we, behind what it has been answered.

        One that has said Terminate before may still read what it has asked for (not over TLS, which
        has no half-closed connections).
        """
        self.endpoint.turn.flush()
        if (self._leaving or self._goodbye_waits()) and not self.tls:
            return True
        cut_later(self.transport, LINGER)
        return False

    def server_rested(self, server: ServerConnection) -> None:
        """It is read on, unless it has to wait for the client, or for what an answer means."""
        if not self._blocked and server.doubt is None:
            server.transport.resume_reading()

    def _read_on(self) -> None:
        """The others have been heard. One that has ended is read to its end."""
        if not self.ended:
            self._resume_reading()
        elif not (self._blocked or self.transport.is_closing()):
            self.transport.resume_reading()

    def _send(self, data: bytes) -> None:
        """To the client, at the end of the turn."""
        self.endpoint.turn.answer(self.transport, data)

    def _resume_reading(self) -> None:
        if self._blocked or self.ended or self.transport.is_closing():
            return
        if self.server is None or not self.server.full:
            self.transport.resume_reading()

    @abstractmethod
    def _goodbye_waits(self) -> bool:
        """Has it said Terminate, and nobody has come to read that yet?"""

    def _stay(self, server: ServerConnection) -> None:
        """It is read no further: stay until its last requests are answered."""
        self._leaving = True
        if self._blocked:
            self._lose_patience()
        else:
            server.transport.resume_reading()

    def _lose_patience(self) -> None:
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(LINGER, self.transport.abort)

    def _part(self) -> None:
        """Close, behind what was said and the last words."""
        if self._last_words:
            self._send(self._last_words)
            self._last_words = b""
        self.endpoint.turn.flush()
        part_with(self.transport, LINGER)

    def _part_if_leaving(self) -> None:
        if self._leaving:
            self._part()

    def _go_on_without_server(self) -> None:
        self._part_if_leaving()
        self._resume_reading()

    def _lost(self) -> None:
        """The client has gone before its last requests were answered: nobody listens any more."""
        self._blocked = False
        if self.server is not None:
            self.server.transport.resume_reading()
