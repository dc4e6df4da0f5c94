"""The manual's message data types: how a body is read and written.

`Reader` serves the decoders; `message`, `string`, `values` and the numbers' `Struct`s serve the
encoders. PostgreSQL manual, "Message Data Types": integers are big-endian, strings end with NUL.
Nothing is reserved before the bytes are there, so a count that lies costs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack, unpack
from typing import Final, NoReturn

from protocol.postgres.errors import ProtocolError
from protocol.postgres.framing import HEADER, LENGTH_BYTES

INT32: Final = Struct("!i")
UINT32: Final = Struct("!I")
INT16: Final = Struct("!h")
UINT16: Final = Struct("!H")

NULL: Final = -1
"""The length that means: no value at all."""


class Reader:
    """A body, read field by field; each complaint names the message and the field."""

    __slots__ = ("_body", "_message", "_position")

    def __init__(self, message: str, body: bytes) -> None:
        self._message: Final = message
        self._body: Final = body
        # Where the next field starts.
        self._position = 0

    def take(self, count: int, field: str) -> bytes:
        """Read exactly `count` bytes."""
        start = self._position
        end = start + count
        if end > len(self._body):
            self.refuse(field, f"{end - len(self._body)} bytes are missing")
        self._position = end
        return self._body[start:end]

    def byte(self, field: str) -> int:
        """Read a Byte1 or an Int8."""
        return self.take(1, field)[0]

    def int32(self, field: str) -> int:
        """Read a signed Int32."""
        number: int = INT32.unpack(self.take(4, field))[0]
        return number

    def uint32(self, field: str) -> int:
        """Read an Int32 that is meant unsigned: an object ID, a process ID, a code."""
        number: int = UINT32.unpack(self.take(4, field))[0]
        return number

    def int16(self, field: str) -> int:
        """Read a signed Int16."""
        number: int = INT16.unpack(self.take(2, field))[0]
        return number

    def count(self, field: str) -> int:
        """Read an Int16 that counts: unsigned, as PostgreSQL reads it (up to 65535 parameters)."""
        number: int = UINT16.unpack(self.take(2, field))[0]
        return number

    def string(self, field: str) -> bytes:
        """Read a String, without its NUL."""
        start = self._position
        end = self._body.find(b"\0", start)
        if end < 0:
            self.refuse(field, "the terminating NUL is missing")
        self._position = end + 1
        return self._body[start:end]

    def ascii(self, field: str) -> str:
        """Read a String that must be US-ASCII."""
        text = self.string(field)
        if not text.isascii():
            self.refuse(field, "the text is not ASCII")
        return text.decode("ascii")

    def value(self, field: str) -> bytes | None:
        """Read an Int32 length and that many bytes, or None for the length -1."""
        length = self.int32(field)
        if length == NULL:
            return None
        if length < 0:
            self.refuse(field, f"the length {length} is negative")
        return self.take(length, field)

    def int16s(self, field: str) -> tuple[int, ...]:
        """Read a count and that many Int16."""
        count = self.count(field)
        return unpack(f"!{count}h", self.take(2 * count, field))

    def uint32s(self, field: str) -> tuple[int, ...]:
        """Read a count and that many unsigned Int32."""
        count = self.count(field)
        return unpack(f"!{count}I", self.take(4 * count, field))

    def values(self, field: str) -> tuple[bytes | None, ...]:
        """Read a count and that many values."""
        return tuple([self.value(field) for _ in range(self.count(field))])

    def rest(self) -> bytes:
        """Read all that is left."""
        rest = self._body[self._position :]
        self._position = len(self._body)
        return rest

    @property
    def at_end(self) -> bool:
        """Nothing is left."""
        return self._position == len(self._body)

    def end(self) -> None:
        """Insist that nothing is left."""
        if not self.at_end:
            self.refuse("end", f"{len(self._body) - self._position} bytes too many")

    def refuse(self, field: str, what: str) -> NoReturn:
        """Raise the ProtocolError that says what is wrong with a field."""
        raise ProtocolError(f"{self._message}.{field}: {what}")


def empty(message: str, body: bytes) -> None:
    """Insist that a message without fields has an empty body."""
    Reader(message, body).end()


def message(tag: int, body: bytes = b"") -> bytes:
    """A whole message: tag, length, body."""
    return HEADER.pack(tag, len(body) + LENGTH_BYTES) + body


def string(text: bytes) -> bytes:
    """A String with its NUL.

    Raises ValueError at a NUL inside: it would end the field early and let the text write the
    next one.
    """
    if 0 in text:
        raise ValueError("a NUL byte cannot be part of a protocol string")
    return text + b"\0"


def value(data: bytes | None) -> bytes:
    """A value with its length; None is the length -1."""
    return INT32.pack(NULL) if data is None else INT32.pack(len(data)) + data


def values(data: Sequence[bytes | None]) -> bytes:
    """A count and that many values."""
    return UINT16.pack(len(data)) + b"".join([value(each) for each in data])


def int16s(numbers: Sequence[int]) -> bytes:
    """A count and that many Int16."""
    return pack(f"!H{len(numbers)}h", len(numbers), *numbers)


def uint32s(numbers: Sequence[int]) -> bytes:
    """A count and that many unsigned Int32."""
    return pack(f"!H{len(numbers)}I", len(numbers), *numbers)
