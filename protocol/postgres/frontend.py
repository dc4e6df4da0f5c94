"""The messages that clients send: the manual's (F).

    frontend.Query(b"SELECT 1").encode()
    match frontend.decode(tag, body):
        case frontend.Parse(statement=name, sql=sql): ...

The letter 'p' stands for four messages; which one is meant depends on the authentication request
before it. `decode` takes it for a PasswordMessage; ask SASLInitialResponse, SASLResponse and
GSSResponse by name. Names and texts are bytes without their NUL, in the client's encoding; only
SASL mechanisms, which are ASCII, are str.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypeAlias

from protocol.postgres.copying import COPY_DATA, COPY_DONE, COPY_FAIL, CopyData, CopyDone, CopyFail
from protocol.postgres.errors import ProtocolError
from protocol.postgres.fields import (
    INT16,
    INT32,
    UINT32,
    Reader,
    empty,
    int16s,
    message,
    string,
    uint32s,
    value,
    values,
)
from protocol.postgres.framing import HEADER, LENGTH_BYTES, read_header

__all__ = [
    "BIND", "CLOSE", "COPY_DATA", "COPY_DONE", "COPY_FAIL", "DESCRIBE", "EXECUTE", "FLUSH",
    "FUNCTION_CALL", "PARSE", "PASSWORD", "PORTAL", "QUERY", "STATEMENT", "SYNC", "TERMINATE",
    "Bind", "BindArguments", "CallArguments", "Close", "CopyData", "CopyDone", "CopyFail",
    "Describe", "Execute", "Flush", "FunctionCall", "GSSResponse", "Message", "Parse",
    "PasswordMessage", "Query", "SASLInitialResponse", "SASLResponse", "Sync", "Terminate",
    "decode", "ends_in_terminate",
]  # fmt: skip

BIND: Final = 0x42  # 'B'
CLOSE: Final = 0x43  # 'C'
DESCRIBE: Final = 0x44  # 'D'
EXECUTE: Final = 0x45  # 'E'
FLUSH: Final = 0x48  # 'H'
FUNCTION_CALL: Final = 0x46  # 'F'
PARSE: Final = 0x50  # 'P'
PASSWORD: Final = 0x70  # 'p'
QUERY: Final = 0x51  # 'Q'
SYNC: Final = 0x53  # 'S'
TERMINATE: Final = 0x58  # 'X'

# What Describe and Close speak of.
PORTAL: Final = 0x50  # 'P'
STATEMENT: Final = 0x53  # 'S'


class Query(NamedTuple):
    """A simple query: one or more statements, answered up to one ReadyForQuery."""

    sql: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(QUERY, string(self.sql))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        sql = reader.string("sql")
        reader.end()
        return cls(sql)


class Parse(NamedTuple):
    """Prepare a statement; the empty name is the unnamed one. Type 0 is left to the server."""

    statement: bytes
    sql: bytes
    parameter_types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the whole message."""
        names = string(self.statement) + string(self.sql)
        return message(PARSE, names + uint32s(self.parameter_types))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        parse = cls(
            reader.string("statement"), reader.string("sql"), reader.uint32s("parameter_types")
        )
        reader.end()
        return parse


class BindArguments(NamedTuple):
    """What Bind binds: the values (None is NULL), their formats and those of the result.

    No format means text for all, one format counts for all.
    """

    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    result_formats: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the `rest` of a Bind."""
        return int16s(self.formats) + values(self.values) + int16s(self.result_formats)

    @classmethod
    def decode(cls, rest: bytes) -> Self:
        """Read the `rest` of a Bind."""
        reader = Reader("Bind", rest)
        formats, arguments = reader.int16s("formats"), reader.values("values")
        result_formats = reader.int16s("result_formats")
        reader.end()
        return cls(formats, arguments, result_formats)


class Bind(NamedTuple):
    """Make a portal of a statement.

    `rest` holds the arguments, undecoded: a proxy changes names and passes values on.
    """

    portal: bytes
    statement: bytes
    rest: bytes = BindArguments().encode()

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(BIND, string(self.portal) + string(self.statement) + self.rest)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body; what is in `rest` is not looked at."""
        reader = Reader(cls.__name__, body)
        return cls(reader.string("portal"), reader.string("statement"), reader.rest())

    @property
    def arguments(self) -> BindArguments:
        """Decode `rest`. Raises ProtocolError."""
        return BindArguments.decode(self.rest)


class Describe(NamedTuple):
    """Ask for the description of a STATEMENT or a PORTAL."""

    kind: int
    name: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(DESCRIBE, bytes((self.kind,)) + string(self.name))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(*_kind_and_name(cls.__name__, body))


class Execute(NamedTuple):
    """Run a portal, for at most `row_limit` rows; 0 means all."""

    portal: bytes
    row_limit: int = 0

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(EXECUTE, string(self.portal) + INT32.pack(self.row_limit))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        execute = cls(reader.string("portal"), reader.int32("row_limit"))
        reader.end()
        return execute


class Close(NamedTuple):
    """Forget a STATEMENT or a PORTAL; an unknown name is no error."""

    kind: int
    name: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(CLOSE, bytes((self.kind,)) + string(self.name))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(*_kind_and_name(cls.__name__, body))


class Sync(NamedTuple):
    """End a pipeline of extended messages: answered by exactly one ReadyForQuery."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(SYNC)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class Flush(NamedTuple):
    """Ask for the replies that the server holds back; not answered itself."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(FLUSH)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class Terminate(NamedTuple):
    """Good-bye."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(TERMINATE)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body, which must be empty."""
        empty(cls.__name__, body)
        return cls()


class CallArguments(NamedTuple):
    """What FunctionCall passes; the fields are those of Bind, with one result."""

    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    result_format: int = 0

    def encode(self) -> bytes:
        """Return the `rest` of a FunctionCall."""
        return int16s(self.formats) + values(self.values) + INT16.pack(self.result_format)

    @classmethod
    def decode(cls, rest: bytes) -> Self:
        """Read the `rest` of a FunctionCall."""
        reader = Reader("FunctionCall", rest)
        formats, arguments = reader.int16s("formats"), reader.values("values")
        result_format = reader.int16("result_format")
        reader.end()
        return cls(formats, arguments, result_format)


class FunctionCall(NamedTuple):
    """Call a function by its object ID: the manual's legacy "fast path" (libpq's PQfn)."""

    oid: int
    rest: bytes = CallArguments().encode()

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(FUNCTION_CALL, UINT32.pack(self.oid) + self.rest)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body; what is in `rest` is not looked at."""
        reader = Reader(cls.__name__, body)
        return cls(reader.uint32("oid"), reader.rest())

    @property
    def arguments(self) -> CallArguments:
        """Decode `rest`. Raises ProtocolError."""
        return CallArguments.decode(self.rest)


class PasswordMessage(NamedTuple):
    """A password in the clear, an IAM token, or an MD5 answer."""

    password: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PASSWORD, string(self.password))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        password = reader.string("password")
        reader.end()
        return cls(password)

    def __repr__(self) -> str:
        """Never show the password: a repr ends in logs and tracebacks."""
        return f"{type(self).__name__}(password=<{len(self.password)} bytes>)"


class SASLInitialResponse(NamedTuple):
    """The mechanism that the client chose, and the first message of its exchange, if any."""

    mechanism: str
    response: bytes | None

    def encode(self) -> bytes:
        """Return the whole message. Raises ValueError for a name that is not ASCII."""
        return message(PASSWORD, string(self.mechanism.encode("ascii")) + value(self.response))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        initial = cls(reader.ascii("mechanism"), reader.value("response"))
        reader.end()
        return initial


class SASLResponse(NamedTuple):
    """A later message of a SASL exchange."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PASSWORD, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body: its meaning is the mechanism's."""
        return cls(body)


class GSSResponse(NamedTuple):
    """A GSSAPI or SSPI token."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PASSWORD, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body: its meaning is GSSAPI's."""
        return cls(body)


Message: TypeAlias = (
    Query | Parse | Bind | Describe | Execute | Close | Sync | Flush | Terminate
    | FunctionCall | CopyData | CopyDone | CopyFail
    | PasswordMessage | SASLInitialResponse | SASLResponse | GSSResponse
)  # fmt: skip

_DECODERS: Final[dict[int, Callable[[bytes], Message]]] = {
    QUERY: Query.decode,
    PARSE: Parse.decode,
    BIND: Bind.decode,
    DESCRIBE: Describe.decode,
    EXECUTE: Execute.decode,
    CLOSE: Close.decode,
    SYNC: Sync.decode,
    FLUSH: Flush.decode,
    TERMINATE: Terminate.decode,
    FUNCTION_CALL: FunctionCall.decode,
    COPY_DATA: CopyData.decode,
    COPY_DONE: CopyDone.decode,
    COPY_FAIL: CopyFail.decode,
    PASSWORD: PasswordMessage.decode,
}


def decode(tag: int, body: bytes) -> Message:
    """Read the message with this tag; raises ProtocolError, also for an unknown tag."""
    decoder = _DECODERS.get(tag)
    if decoder is None:
        # PostgreSQL's own words (backend/tcop/postgres.c, SocketBackend).
        raise ProtocolError(f"invalid frontend message type {tag}")
    return decoder(body)


def ends_in_terminate(data: bytes) -> bool:
    """Are these whole messages, and the last of them a Terminate?"""
    size, pos, tag = len(data), 0, 0
    while size - pos >= HEADER.size:
        tag, length = read_header(data, pos)
        if length < LENGTH_BYTES:
            return False
        pos += 1 + length
    return pos == size and tag == TERMINATE


def _kind_and_name(name: str, body: bytes) -> tuple[int, bytes]:
    """The fields that Describe and Close share."""
    reader = Reader(name, body)
    kind = reader.byte("kind")
    if kind not in (STATEMENT, PORTAL):
        reader.refuse("kind", f"{kind} is neither 'S' nor 'P'")
    text = reader.string("name")
    reader.end()
    return kind, text
