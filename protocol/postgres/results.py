"""What a server answers to queries: descriptions, rows, and how a statement ended.

`backend` hands these names on.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from protocol.postgres.fields import (
    UINT16,
    Reader,
    empty,
    message,
    string,
    uint32s,
    value,
    values,
)

BIND_COMPLETE: Final = 0x32  # '2'
CLOSE_COMPLETE: Final = 0x33  # '3'
COMMAND_COMPLETE: Final = 0x43  # 'C'
DATA_ROW: Final = 0x44  # 'D'
EMPTY_QUERY_RESPONSE: Final = 0x49  # 'I'
FUNCTION_CALL_RESPONSE: Final = 0x56  # 'V'
NO_DATA: Final = 0x6E  # 'n'
PARAMETER_DESCRIPTION: Final = 0x74  # 't'
PARSE_COMPLETE: Final = 0x31  # '1'
PORTAL_SUSPENDED: Final = 0x73  # 's'
ROW_DESCRIPTION: Final = 0x54  # 'T'

# Behind the name: table, column, type, type size, type modifier, format.
_FIELD: Final = Struct("!IhIhih")


class ParseComplete(NamedTuple):
    """Parse is done."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PARSE_COMPLETE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class BindComplete(NamedTuple):
    """Bind is done."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(BIND_COMPLETE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class CloseComplete(NamedTuple):
    """Close is done, whether the name was known or not."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(CLOSE_COMPLETE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class NoData(NamedTuple):
    """What was described returns no rows."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(NO_DATA)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class PortalSuspended(NamedTuple):
    """Execute's row limit was reached; another Execute goes on."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PORTAL_SUSPENDED)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class EmptyQueryResponse(NamedTuple):
    """The query string was empty: this instead of CommandComplete."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(EMPTY_QUERY_RESPONSE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class CommandComplete(NamedTuple):
    """A statement ended well; the tag says which one, often with a count: `SELECT 1`."""

    tag: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(COMMAND_COMPLETE, string(self.tag))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        tag = reader.string("tag")
        reader.end()
        return cls(tag)


class ParameterDescription(NamedTuple):
    """The types (object IDs) of a statement's parameters."""

    types: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PARAMETER_DESCRIPTION, uint32s(self.types))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        types = reader.uint32s("types")
        reader.end()
        return cls(types)


class FieldDescription(NamedTuple):
    """One column of a RowDescription; `table` and `column` are 0 for what is no table's column."""

    name: bytes
    table: int = 0
    column: int = 0
    type: int = 0
    type_size: int = -1
    type_modifier: int = -1
    format: int = 0


class RowDescription(NamedTuple):
    """The columns of the rows that follow."""

    fields: tuple[FieldDescription, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        fields = [string(field.name) + _FIELD.pack(*field[1:]) for field in self.fields]
        return message(ROW_DESCRIPTION, UINT16.pack(len(fields)) + b"".join(fields))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        fields = [
            FieldDescription(
                reader.string("name"), *_FIELD.unpack(reader.take(_FIELD.size, "field"))
            )
            for _ in range(reader.count("fields"))
        ]
        reader.end()
        return cls(tuple(fields))


class DataRow(NamedTuple):
    """A row: each value in its column's format, None for NULL."""

    values: tuple[bytes | None, ...]

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(DATA_ROW, values(self.values))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        row = reader.values("values")
        reader.end()
        return cls(row)


class FunctionCallResponse(NamedTuple):
    """What FunctionCall returned, None for NULL."""

    value: bytes | None

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(FUNCTION_CALL_RESPONSE, value(self.value))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        result = reader.value("value")
        reader.end()
        return cls(result)
