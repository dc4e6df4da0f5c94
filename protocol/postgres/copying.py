"""The messages of COPY: data in both directions, and how a copy starts.

PostgreSQL manual, "COPY Operations". `frontend` and `backend` hand these names on.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from protocol.postgres.errors import ProtocolError
from protocol.postgres.fields import Reader, empty, int16s, message, string

COPY_DATA: Final = 0x64  # 'd', both directions
COPY_DONE: Final = 0x63  # 'c', both directions
COPY_FAIL: Final = 0x66  # 'f', from clients
COPY_IN_RESPONSE: Final = 0x47  # 'G'
COPY_OUT_RESPONSE: Final = 0x48  # 'H'
COPY_BOTH_RESPONSE: Final = 0x57  # 'W'

TEXT: Final = 0
BINARY: Final = 1


class CopyData(NamedTuple):
    """A piece of the copy stream; a server sends one row per message, a client cuts anywhere."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_DATA, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body: any bytes are data."""
        return cls(body)


class CopyDone(NamedTuple):
    """The copy stream is complete."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_DONE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class CopyFail(NamedTuple):
    """A client gives up a COPY FROM STDIN; the server reports `reason` as its error."""

    reason: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_FAIL, string(self.reason))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        reason = reader.string("reason")
        reader.end()
        return cls(reason)


class CopyInResponse(NamedTuple):
    """COPY FROM STDIN begins: the client may send data.

    `format` is 0 (text) or 1 (binary) overall, `columns` the format of each column.
    """

    format: int
    columns: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_IN_RESPONSE, bytes((self.format,)) + int16s(self.columns))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(*_formats(cls.__name__, body))


class CopyOutResponse(NamedTuple):
    """COPY TO STDOUT begins: data will follow. The fields are those of CopyInResponse."""

    format: int
    columns: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_OUT_RESPONSE, bytes((self.format,)) + int16s(self.columns))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(*_formats(cls.__name__, body))


class CopyBothResponse(NamedTuple):
    """Streaming replication begins: both sides copy. The fields are those of CopyInResponse."""

    format: int
    columns: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COPY_BOTH_RESPONSE, bytes((self.format,)) + int16s(self.columns))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(*_formats(cls.__name__, body))


def _formats(name: str, body: bytes) -> tuple[int, tuple[int, ...]]:
    """The fields that the three responses share."""
    reader = Reader(name, body)
    overall, columns = reader.byte("format"), reader.int16s("columns")
    reader.end()
    # PostgreSQL manual, "Message Formats": 0 is textual, 1 is binary, and a textual copy has
    # textual columns only.
    if overall not in (TEXT, BINARY):
        raise ProtocolError(f"{name}.format: {overall} is neither 0 nor 1")
    if any(column not in (TEXT, overall) for column in columns):
        raise ProtocolError(f"{name}.columns: a format does not fit the overall format {overall}")
    return overall, columns
