"""Frontend messages as the tests write them: readable when printed, exact as bytes.

A second, independent writing-down of the manual's "Message Formats": a mistake in `protocol/`
must not be able to hide behind the same mistake here. `Raw` carries whatever else one wants to
send, also what no honest client would.

    Query("SELECT 1").encode()
    Parse("s1", "SELECT $1::int4", (23,)).encode()
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol


class Sendable(Protocol):
    """Something that knows its own bytes."""

    def encode(self) -> bytes: ...


def message(tag: bytes, body: bytes = b"") -> bytes:
    """Any message: its tag, its length, its body."""
    return tag + struct.pack("!I", len(body) + 4) + body


def text(value: str) -> bytes:
    """The manual's String: ended by a zero. A lone surrogate is a byte that is no UTF-8."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def _values(values: tuple[bytes | None, ...]) -> bytes:
    parts = [struct.pack("!H", len(values))]
    for value in values:
        if value is None:
            parts.append(struct.pack("!i", -1))
        else:
            parts.append(struct.pack("!i", len(value)) + value)
    return b"".join(parts)


def _shorts(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"!H{len(numbers)}H", len(numbers), *numbers)


class Query(NamedTuple):
    sql: str

    def encode(self) -> bytes:
        return message(b"Q", text(self.sql))


class Parse(NamedTuple):
    statement: str
    sql: str
    types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        types = struct.pack(f"!H{len(self.types)}I", len(self.types), *self.types)
        return message(b"P", text(self.statement) + text(self.sql) + types)


class Bind(NamedTuple):
    portal: str = ""
    statement: str = ""
    values: tuple[bytes | None, ...] = ()
    formats: tuple[int, ...] = ()
    result_formats: tuple[int, ...] = ()

    def encode(self) -> bytes:
        body = text(self.portal) + text(self.statement) + _shorts(self.formats)
        return message(b"B", body + _values(self.values) + _shorts(self.result_formats))

    def __repr__(self) -> str:
        values = tuple(v if v is None or len(v) < 60 else Long(v) for v in self.values)
        named = f"{self.portal!r}, {self.statement!r}, {values!r}"
        return f"Bind({named}, {self.formats!r}, {self.result_formats!r})"


class Long:
    """A long value, as it is printed."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"{self.value[:1]!r} * {len(self.value)}"


class Describe(NamedTuple):
    kind: str
    name: str = ""

    def encode(self) -> bytes:
        return message(b"D", self.kind.encode() + text(self.name))


class Execute(NamedTuple):
    portal: str = ""
    limit: int = 0

    def encode(self) -> bytes:
        return message(b"E", text(self.portal) + struct.pack("!i", self.limit))


class Close(NamedTuple):
    kind: str
    name: str = ""

    def encode(self) -> bytes:
        return message(b"C", self.kind.encode() + text(self.name))


class Sync(NamedTuple):
    def encode(self) -> bytes:
        return message(b"S")


class Flush(NamedTuple):
    def encode(self) -> bytes:
        return message(b"H")


class Terminate(NamedTuple):
    def encode(self) -> bytes:
        return message(b"X")


class CopyData(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return message(b"d", self.data)

    def __repr__(self) -> str:
        return f"CopyData({self.data if len(self.data) < 80 else Long(self.data)!r})"


class CopyDone(NamedTuple):
    def encode(self) -> bytes:
        return message(b"c")


class CopyFail(NamedTuple):
    reason: str

    def encode(self) -> bytes:
        return message(b"f", text(self.reason))


class FunctionCall(NamedTuple):
    oid: int
    arguments: tuple[bytes | None, ...] = ()
    formats: tuple[int, ...] = ()
    result_format: int = 0

    def encode(self) -> bytes:
        body = struct.pack("!I", self.oid) + _shorts(self.formats) + _values(self.arguments)
        return message(b"F", body + struct.pack("!H", self.result_format))


class Bogus(NamedTuple):
    """What is no message: PostgreSQL ends the connection for it."""

    def encode(self) -> bytes:
        """Return its first byte, which is enough."""
        return b"!"


class Raw(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return self.data


class Bloated(NamedTuple):
    """A message with more in it than it may have."""

    message: Sync | Flush | Query | Describe | Close
    more: bytes

    def encode(self) -> bytes:
        data = self.message.encode()
        return message(data[:1], data[5:] + self.more)


def startup(parameters: dict[str, str], version: tuple[int, int] = (3, 0)) -> bytes:
    """The first packet of a plain connection."""
    body = struct.pack("!HH", *version)
    for name, value in parameters.items():
        body += text(name) + text(value)
    body += b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(process_id: int, secret: bytes) -> bytes:
    """The only packet of a connection that cancels another one's query."""
    body = struct.pack("!HHI", 1234, 5678, process_id) + secret
    return struct.pack("!I", len(body) + 4) + body


SSL_REQUEST = struct.pack("!IHH", 8, 1234, 5679)
GSS_REQUEST = struct.pack("!IHH", 8, 1234, 5680)
