"""A database that says what a test tells it to: honest until then, hostile from there on.

    with FakeServer(answer=lambda peer, tag, body: peer.say(b"garbage")) as database:
        database.port

It lets everybody in without a password, answers what the proxy asks for itself, and hands the
clients' messages to `answer`. Bytes are written down here a second time, as in `messages`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from tests.support.messages import message, text

READY = message(b"Z", b"I")
OK = message(b"R", struct.pack("!I", 0))
LIMITS = (b"100", b"3", b"0", b"f", b"f")


def fields(**values: str) -> bytes:
    """The body of an ErrorResponse: `fields(S="FATAL", C="57P01", M="bye")`."""
    return b"".join(letter.encode() + text(value) for letter, value in values.items()) + b"\0"


def error(severity: str = "ERROR", sqlstate: str = "XX000", said: str = "no") -> bytes:
    """An ErrorResponse."""
    return message(b"E", fields(S=severity, V=severity, C=sqlstate, M=said))


def row(*values: bytes) -> bytes:
    """A DataRow."""
    body = b"".join(struct.pack("!I", len(value)) + value for value in values)
    return message(b"D", struct.pack("!H", len(values)) + body)


def result(*values: bytes) -> bytes:
    """What a simple query of one row is answered with, ReadyForQuery included."""
    columns = b"".join(b"c\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0) for _ in values)
    description = message(b"T", struct.pack("!H", len(values)) + columns)
    return description + row(*values) + message(b"C", b"SELECT 1\0") + READY


WELCOME = b"".join(
    (
        OK,
        message(b"S", b"server_version\x0017.0\0"),
        message(b"S", b"standard_conforming_strings\0on\0"),
        message(b"K", struct.pack("!II", 4242, 1)),
        READY,
    )
)


class Peer:
    """One connection of the proxy, seen from the database."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def say(self, *pieces: bytes) -> None:
        """Send bytes; a proxy that has hung up hears nothing."""
        with contextlib.suppress(OSError):
            self.sock.sendall(b"".join(pieces))

    def hang_up(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def take(self, count: int) -> bytes:
        """Exactly so many bytes; raises ConnectionError at the end."""
        while len(self._buffer) < count:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionResetError("the proxy has closed the connection")
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def startup(self) -> bytes:
        """The first packet without its length; encryption is declined."""
        while True:
            body = self.take(struct.unpack("!I", self.take(4))[0] - 4)
            if body != struct.pack("!I", 80877103):
                return body
            self.say(b"N")

    def message(self) -> tuple[bytes, bytes]:
        """The next message: tag, body."""
        tag = self.take(1)
        return tag, self.take(struct.unpack("!I", self.take(4))[0] - 4)


Answer = Callable[[Peer, bytes, bytes], None]


def honest(peer: Peer, tag: bytes, body: bytes) -> None:
    """Answers every query with one row: its own text."""
    if tag == b"Q":
        peer.say(result(body[:-1]))


class FakeServer:
    """The listening side; every connection has a thread that ends with it."""

    host = "127.0.0.1"

    def __init__(
        self, answer: Answer = honest, welcome: Callable[[Peer], None] | None = None
    ) -> None:
        self.answer = answer
        self.welcome: Callable[[Peer], None] = welcome or (lambda peer: peer.say(WELCOME))
        # What it tells of itself.
        self.limits = LIMITS
        # Does it hold on to a connection that the proxy has said Terminate on?
        self.lingers = False
        # What it says in the same breath as the last answer of a login.
        self.behind_login = b""
        self.connections = 0
        self.peers: list[Peer] = []
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for peer in self.peers:
            peer.hang_up()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            peer = Peer(sock)
            self.peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        with contextlib.suppress(OSError), peer.sock:
            if peer.startup().startswith(struct.pack("!I", 80877102)):
                return
            self.welcome(peer)
            while True:
                tag, body = peer.message()
                if tag == b"X":
                    if self.lingers:
                        continue
                    return
                if tag == b"Q" and b"max_connections" in body:
                    peer.say(result(*self.limits) + self.behind_login)
                elif tag == b"Q" and body.startswith((b"DISCARD", b"ROLLBACK")):
                    peer.say(message(b"C", body), READY)
                else:
                    self.answer(peer, tag, body)
