"""The messages that servers send: the manual's (B).

    backend.ReadyForQuery(backend.IDLE).encode()
    match backend.decode(tag, body):
        case backend.ParameterStatus(name, value): ...

All names are here; what belongs together lives in a room of its own: `authentication`,
`notices`, `results`, `copying`. Here are the session's own messages, and the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypeAlias

from protocol.postgres.authentication import (
    AUTHENTICATION,
    Authentication,
    AuthenticationCleartextPassword,
    AuthenticationGSS,
    AuthenticationGSSContinue,
    AuthenticationKerberosV5,
    AuthenticationMD5Password,
    AuthenticationOk,
    AuthenticationOther,
    AuthenticationSASL,
    AuthenticationSASLContinue,
    AuthenticationSASLFinal,
    AuthenticationSSPI,
    decode_authentication,
)
from protocol.postgres.copying import (
    COPY_BOTH_RESPONSE,
    COPY_DATA,
    COPY_DONE,
    COPY_IN_RESPONSE,
    COPY_OUT_RESPONSE,
    CopyBothResponse,
    CopyData,
    CopyDone,
    CopyInResponse,
    CopyOutResponse,
)
from protocol.postgres.errors import ProtocolError
from protocol.postgres.fields import UINT32, Reader, message, string
from protocol.postgres.notices import (
    ERROR_RESPONSE,
    NOTICE_RESPONSE,
    ErrorResponse,
    NoticeResponse,
)
from protocol.postgres.results import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    COMMAND_COMPLETE,
    DATA_ROW,
    EMPTY_QUERY_RESPONSE,
    FUNCTION_CALL_RESPONSE,
    NO_DATA,
    PARAMETER_DESCRIPTION,
    PARSE_COMPLETE,
    PORTAL_SUSPENDED,
    ROW_DESCRIPTION,
    BindComplete,
    CloseComplete,
    CommandComplete,
    DataRow,
    EmptyQueryResponse,
    FieldDescription,
    FunctionCallResponse,
    NoData,
    ParameterDescription,
    ParseComplete,
    PortalSuspended,
    RowDescription,
)
from protocol.postgres.startup import MAX_SECRET_KEY, MIN_SECRET_KEY

__all__ = [
    "AUTHENTICATION", "BACKEND_KEY_DATA", "BIND_COMPLETE", "CLOSE_COMPLETE", "COMMAND_COMPLETE",
    "COPY_BOTH_RESPONSE", "COPY_DATA", "COPY_DONE", "COPY_IN_RESPONSE", "COPY_OUT_RESPONSE",
    "DATA_ROW", "EMPTY_QUERY_RESPONSE", "ERROR_RESPONSE", "FAILED", "FUNCTION_CALL_RESPONSE",
    "IDLE", "IN_TRANSACTION", "NEGOTIATE_PROTOCOL_VERSION", "NOTICE_RESPONSE",
    "NOTIFICATION_RESPONSE", "NO_DATA", "PARAMETER_DESCRIPTION", "PARAMETER_STATUS",
    "PARSE_COMPLETE", "PORTAL_SUSPENDED", "READY_FOR_QUERY", "ROW_DESCRIPTION",
    "Authentication", "AuthenticationCleartextPassword", "AuthenticationGSS",
    "AuthenticationGSSContinue", "AuthenticationKerberosV5", "AuthenticationMD5Password",
    "AuthenticationOk", "AuthenticationOther", "AuthenticationSASL", "AuthenticationSASLContinue",
    "AuthenticationSASLFinal", "AuthenticationSSPI", "BackendKeyData", "BindComplete",
    "CloseComplete", "CommandComplete", "CopyBothResponse", "CopyData", "CopyDone",
    "CopyInResponse", "CopyOutResponse", "DataRow", "EmptyQueryResponse", "ErrorResponse",
    "FieldDescription", "FunctionCallResponse", "Message", "NegotiateProtocolVersion", "NoData",
    "NoticeResponse", "NotificationResponse", "ParameterDescription", "ParameterStatus",
    "ParseComplete", "PortalSuspended", "ReadyForQuery", "RowDescription", "decode",
    "decode_authentication",
]  # fmt: skip

BACKEND_KEY_DATA: Final = 0x4B  # 'K'
NEGOTIATE_PROTOCOL_VERSION: Final = 0x76  # 'v'
NOTIFICATION_RESPONSE: Final = 0x41  # 'A'
PARAMETER_STATUS: Final = 0x53  # 'S'
READY_FOR_QUERY: Final = 0x5A  # 'Z'

# The transaction status in ReadyForQuery.
IDLE: Final = 0x49  # 'I'
IN_TRANSACTION: Final = 0x54  # 'T'
FAILED: Final = 0x45  # 'E'

_PROTOCOL_3: Final = 3 << 16


class BackendKeyData(NamedTuple):
    """What a CancelRequest must show: the key has 4 bytes, in protocol 3.2 up to 256."""

    process_id: int
    secret_key: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(BACKEND_KEY_DATA, UINT32.pack(self.process_id) + self.secret_key)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        process_id, secret_key = reader.uint32("process_id"), reader.rest()
        if not MIN_SECRET_KEY <= len(secret_key) <= MAX_SECRET_KEY:
            reader.refuse("secret_key", f"{len(secret_key)} bytes are not 4 to 256")
        return cls(process_id, secret_key)


class ParameterStatus(NamedTuple):
    """A setting's value, at login and whenever it changes."""

    name: bytes
    value: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(PARAMETER_STATUS, string(self.name) + string(self.value))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        status = cls(reader.string("name"), reader.string("value"))
        reader.end()
        return status


class ReadyForQuery(NamedTuple):
    """A sync point is answered; the status is IDLE, IN_TRANSACTION or FAILED."""

    status: int

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(READY_FOR_QUERY, bytes((self.status,)))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        status = reader.byte("status")
        reader.end()
        if status not in (IDLE, IN_TRANSACTION, FAILED):
            reader.refuse("status", f"{status} is not 'I', 'T' or 'E'")
        return cls(status)


class NotificationResponse(NamedTuple):
    """A NOTIFY reached this session, which listens to the channel."""

    process_id: int
    channel: bytes
    payload: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        texts = string(self.channel) + string(self.payload)
        return message(NOTIFICATION_RESPONSE, UINT32.pack(self.process_id) + texts)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        notification = cls(
            reader.uint32("process_id"), reader.string("channel"), reader.string("payload")
        )
        reader.end()
        return notification


class NegotiateProtocolVersion(NamedTuple):
    """The newest minor of protocol 3 that the server speaks, and the `_pq_.` options unknown to it.

    On the wire PostgreSQL sends the whole version, major included (backend_startup.c,
    SendNegotiateProtocolVersion), though its manual says "minor": both are read, the first is
    written.
    """

    minor: int
    options: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the whole message."""
        numbers = UINT32.pack(_PROTOCOL_3 | self.minor) + UINT32.pack(len(self.options))
        options = b"".join([string(option) for option in self.options])
        return message(NEGOTIATE_PROTOCOL_VERSION, numbers + options)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = Reader(cls.__name__, body)
        version = reader.uint32("minor")
        if version & ~0xFFFF not in (0, _PROTOCOL_3):
            reader.refuse("minor", f"{version:#x} is not a version of protocol 3")
        count = reader.uint32("options")
        options = tuple([reader.string("options") for _ in range(count)])
        reader.end()
        return cls(version & 0xFFFF, options)


Message: TypeAlias = (
    Authentication | BackendKeyData | ParameterStatus | ReadyForQuery | NotificationResponse
    | NegotiateProtocolVersion | ErrorResponse | NoticeResponse
    | ParseComplete | BindComplete | CloseComplete | NoData | PortalSuspended | EmptyQueryResponse
    | CommandComplete | ParameterDescription | RowDescription | DataRow | FunctionCallResponse
    | CopyData | CopyDone | CopyInResponse | CopyOutResponse | CopyBothResponse
)  # fmt: skip

_DECODERS: Final[dict[int, Callable[[bytes], Message]]] = {
    AUTHENTICATION: decode_authentication,
    BACKEND_KEY_DATA: BackendKeyData.decode,
    BIND_COMPLETE: BindComplete.decode,
    CLOSE_COMPLETE: CloseComplete.decode,
    COMMAND_COMPLETE: CommandComplete.decode,
    COPY_BOTH_RESPONSE: CopyBothResponse.decode,
    COPY_DATA: CopyData.decode,
    COPY_DONE: CopyDone.decode,
    COPY_IN_RESPONSE: CopyInResponse.decode,
    COPY_OUT_RESPONSE: CopyOutResponse.decode,
    DATA_ROW: DataRow.decode,
    EMPTY_QUERY_RESPONSE: EmptyQueryResponse.decode,
    ERROR_RESPONSE: ErrorResponse.decode,
    FUNCTION_CALL_RESPONSE: FunctionCallResponse.decode,
    NEGOTIATE_PROTOCOL_VERSION: NegotiateProtocolVersion.decode,
    NOTICE_RESPONSE: NoticeResponse.decode,
    NOTIFICATION_RESPONSE: NotificationResponse.decode,
    NO_DATA: NoData.decode,
    PARAMETER_DESCRIPTION: ParameterDescription.decode,
    PARAMETER_STATUS: ParameterStatus.decode,
    PARSE_COMPLETE: ParseComplete.decode,
    PORTAL_SUSPENDED: PortalSuspended.decode,
    READY_FOR_QUERY: ReadyForQuery.decode,
    ROW_DESCRIPTION: RowDescription.decode,
}


def decode(tag: int, body: bytes) -> Message:
    """Read the message with this tag; raises ProtocolError, also for an unknown tag."""
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise ProtocolError(f"invalid backend message type {tag}")
    return decoder(body)
