r"""A client on a bare socket: says exactly what it is told to, reads message by message.

    client = Wire(host, port)
    client.login("app", "secret", "app", application_name="one")
    replies = client.ask(Query("SELECT 1"))          # up to one ReadyForQuery
    client.send(Parse("", "SELECT 1"), Raw(b"E\\0"))  # nothing is awaited

It knows the protocol only as far as it must, so that it can also misbehave: any bytes at any cut,
half a message and silence, a socket that is not read. Every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import struct
import time
from typing import NamedTuple, Self

from tests.support.messages import (
    SSL_REQUEST,
    Query,
    Sendable,
    Terminate,
    message,
    startup,
    text,
)
from tests.support.scram_client import Scram, md5_response

# How long an answer may take before a test says that it never came, in seconds.
PATIENCE = 15.0


class Reply(NamedTuple):
    """A backend message."""

    tag: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Fields of an ErrorResponse or NoticeResponse."""
        parts = self.body.rstrip(b"\0").split(b"\0")
        return {chr(p[0]): p[1:].decode(errors="replace") for p in parts if p}

    @property
    def values(self) -> list[bytes | None]:
        """Columns of a DataRow."""
        (count,) = struct.unpack_from("!H", self.body)
        values: list[bytes | None] = []
        at = 2
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.body, at)
            at += 4
            values.append(None if size < 0 else self.body[at : at + size])
            at += max(size, 0)
        return values

    @property
    def tag_text(self) -> str:
        """The command tag of a CommandComplete."""
        return self.body.rstrip(b"\0").decode()

    def __str__(self) -> str:
        if self.tag in "EN":
            f = self.fields
            return f"{self.tag} {f.get('S')} {f.get('C')} {f.get('M')}"
        shown = (
            repr(self.body) if len(self.body) < 200 else f"{self.body[:80]!r}… {len(self.body)} B"
        )
        return f"{self.tag} {shown}"


class ClosedByPeer(Exception):
    """The connection ended while an answer was awaited; `replies` had come until then."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__("; ".join(map(str, replies)) or "nothing was said")
        self.replies = replies


class LoginFailed(Exception):
    """An ErrorResponse came instead of a welcome."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.fields = reply.fields


class Silence(Exception):
    """What was awaited did not come in time; `replies` had come until then."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__("; ".join(map(str, replies)) or "nothing was said")
        self.replies = replies


class Wire:
    """A client connection; see the module."""

    def __init__(
        self, host: str, port: int, *, timeout: float = PATIENCE, receive_buffer: int = 0
    ) -> None:
        self.timeout = timeout
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock: socket.socket = socket.socket(family)
        if receive_buffer:
            # Before connecting: the window is agreed on then.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parameters: dict[str, str] = {}
        self.key: tuple[int, bytes] | None = None
        self.closed_by_peer = False
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For select()."""
        return self.sock.fileno()

    # -- login ---------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, server_name: str = "localhost") -> None:
        """SSLRequest, then TLS."""
        self.sock.sendall(SSL_REQUEST)
        answer = self.sock.recv(1)
        assert answer == b"S", f"TLS was refused with {answer!r}"
        self.sock = context.wrap_socket(self.sock, server_hostname=server_name)

    def login(self, user: str, password: str, database: str, **parameters: str) -> Self:
        """Log in by whatever the server asks for; raises LoginFailed."""
        self.sock.sendall(startup({"user": user, "database": database, **parameters}))
        scram = Scram(password)
        while True:
            reply = self.read()
            if reply.tag == "R":
                self._authenticate(reply.body, user, password, scram)
            elif reply.tag == "E":
                self.close()
                raise LoginFailed(reply)
            elif reply.tag == "S":
                name, value = reply.body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif reply.tag == "K":
                self.key = (struct.unpack_from("!I", reply.body)[0], reply.body[4:])
            elif reply.tag == "Z":
                return self

    def _authenticate(self, body: bytes, user: str, password: str, scram: Scram) -> None:
        (code,) = struct.unpack_from("!I", body)
        if code == 3:
            self._say_password(text(password))
        elif code == 5:
            self._say_password(text(md5_response(user, password, body[4:])))
        elif code == 10:
            first = scram.first()
            self._say_password(text("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first)
        elif code == 11:
            self._say_password(scram.final(body[4:]))
        elif code == 12:
            scram.verify(body[4:])
        else:
            assert code == 0, f"an unknown way to authenticate: {code}"

    def _say_password(self, body: bytes) -> None:
        self.sock.sendall(message(b"p", body))

    # -- saying --------------------------------------------------------------------------------

    def send(self, *messages: Sendable | bytes) -> None:
        """Send messages, or bytes as they are."""
        data = b"".join(m if isinstance(m, bytes) else m.encode() for m in messages)
        self.sock.sendall(data)

    def send_in_pieces(self, data: bytes, cuts: list[int]) -> None:
        """Send `data` cut at the given places, each piece in a segment of its own."""
        places = [0, *sorted(cuts), len(data)]
        for start, end in itertools.pairwise(places):
            if end > start:
                self.sock.sendall(data[start:end])
                time.sleep(0.0005)

    # -- reading -------------------------------------------------------------------------------

    def take(self) -> Reply | None:
        """The next whole message that has already been received."""
        if len(self._buffer) < 5:
            return None
        (length,) = struct.unpack_from("!I", self._buffer, 1)
        assert length >= 4, f"a message shorter than its header: {bytes(self._buffer[:16])!r}"
        if len(self._buffer) < length + 1:
            return None
        reply = Reply(chr(self._buffer[0]), bytes(self._buffer[5 : length + 1]))
        del self._buffer[: length + 1]
        return reply

    def receive(self, deadline: float) -> bool:
        """Wait until something arrives; False when the deadline passes first."""
        if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
        try:
            data = self.sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self._buffer += data
        self.closed_by_peer = not data
        return True

    def read(self) -> Reply:
        """The next message; raises Silence or ClosedByPeer."""
        deadline = time.monotonic() + self.timeout
        while True:
            reply = self.take()
            if reply is not None:
                return reply
            if self.closed_by_peer:
                raise ClosedByPeer([])
            if not self.receive(deadline):
                raise Silence([])

    def read_ready(self, count: int = 1) -> list[Reply]:
        """All messages up to the `count`-th ReadyForQuery."""
        replies: list[Reply] = []
        while count:
            try:
                replies.append(self.read())
            except (Silence, ClosedByPeer) as trouble:
                raise type(trouble)(replies) from None
            count -= replies[-1].tag == "Z"
        return replies

    def read_until(self, tags: str) -> list[Reply]:
        """All messages up to the first whose tag is among `tags`."""
        replies: list[Reply] = []
        while not replies or replies[-1].tag not in tags:
            try:
                replies.append(self.read())
            except (Silence, ClosedByPeer) as trouble:
                raise type(trouble)(replies) from None
        return replies

    def read_quiet(self, seconds: float) -> list[Reply]:
        """All messages that come until nothing came for `seconds`, or the connection ended."""
        replies: list[Reply] = []
        while True:
            while (reply := self.take()) is not None:
                replies.append(reply)
            if self.closed_by_peer or not self.receive(time.monotonic() + seconds):
                return replies

    def read_to_end(self) -> list[Reply]:
        """All messages until the peer closes; raises Silence when it does not."""
        replies = self.read_quiet(self.timeout)
        if not self.closed_by_peer:
            raise Silence(replies)
        return replies

    def ask(self, *messages: Sendable | bytes, ready: int = 1) -> list[Reply]:
        """Send, and read up to the `ready`-th ReadyForQuery."""
        self.send(*messages)
        return self.read_ready(ready)

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """A simple query's rows as text; an ErrorResponse fails the test."""
        replies = self.ask(Query(sql))
        errors = [str(r) for r in replies if r.tag == "E"]
        assert not errors, f"{sql}: {errors}"
        return [
            tuple(None if v is None else v.decode() for v in r.values)
            for r in replies
            if r.tag == "D"
        ]

    def value(self, sql: str) -> str | None:
        """The first column of a simple query's first row."""
        return self.query(sql)[0][0]

    # -- leaving -------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Leave politely."""
        with contextlib.suppress(OSError):
            self.send(Terminate())
        self.close()

    def close(self) -> None:
        """Leave without a word."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def vanish(self) -> None:
        """Leave as a killed machine does: with a reset, whatever was still to come."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()


def errors_of(replies: list[Reply]) -> list[tuple[str, str]]:
    """SQLSTATE and message of every ErrorResponse."""
    return [(r.fields["C"], r.fields["M"]) for r in replies if r.tag == "E"]


def tags_of(replies: list[Reply]) -> str:
    """The conversation in one word, asynchronous messages left out."""
    return "".join(r.tag for r in replies if r.tag not in "NAS")
