"""What a message's header may say: which tags there are, how long each may be, which may stream."""

from __future__ import annotations

from typing import Final

from protocol.postgres import backend, frontend
from protocol.postgres.errors import ProtocolError
from pyproxy import errors
from pyproxy.errors import ProxyError

# PostgreSQL's own limits (src/include/libpq/libpq.h): PQ_SMALL_MESSAGE_LIMIT for messages that
# are a name or less, PQ_LARGE_MESSAGE_LIMIT for the rest.
SMALL_MESSAGE: Final = 10_000
LARGE_MESSAGE: Final = 0x3FFF_FFFE
# How much of an ErrorResponse must be here to know its severity and SQLSTATE.
ERROR_HEAD: Final = 256

# What a client may send, and how long it may be.
_LIMITS: Final[dict[int, int]] = {
    frontend.QUERY: LARGE_MESSAGE,
    frontend.PARSE: LARGE_MESSAGE,
    frontend.BIND: LARGE_MESSAGE,
    frontend.COPY_DATA: LARGE_MESSAGE,
    frontend.FUNCTION_CALL: LARGE_MESSAGE,
    frontend.CLOSE: SMALL_MESSAGE,
    frontend.COPY_DONE: SMALL_MESSAGE,
    frontend.COPY_FAIL: SMALL_MESSAGE,
    frontend.DESCRIBE: SMALL_MESSAGE,
    frontend.EXECUTE: SMALL_MESSAGE,
    frontend.FLUSH: SMALL_MESSAGE,
    frontend.SYNC: SMALL_MESSAGE,
    frontend.TERMINATE: SMALL_MESSAGE,
}
# Replies that are looked at whole; they are short. The others may stream.
_WHOLE: Final = frozenset(
    {
        backend.READY_FOR_QUERY,
        backend.COMMAND_COMPLETE,
        backend.PARAMETER_STATUS,
        backend.PARSE_COMPLETE,
        backend.BIND_COMPLETE,
        backend.CLOSE_COMPLETE,
        backend.NO_DATA,
        backend.PORTAL_SUSPENDED,
        backend.EMPTY_QUERY_RESPONSE,
        backend.COPY_IN_RESPONSE,
        backend.NOTIFICATION_RESPONSE,
        # What a statement is described as is kept; as long as its 65,535 parameters at most.
        backend.ROW_DESCRIPTION,
        backend.PARAMETER_DESCRIPTION,
    }
)
STREAMED: Final = frozenset(
    {
        backend.DATA_ROW,
        backend.COPY_DATA,
        backend.NOTICE_RESPONSE,
        backend.COPY_OUT_RESPONSE,
        backend.COPY_DONE,
        backend.FUNCTION_CALL_RESPONSE,
        backend.ERROR_RESPONSE,
    }
)

# The longest reply that is held to be looked at; a longer one is a server out of step.
_HELD_REPLY: Final = 1 << 20


def check_request(tag: int, length: int) -> ProxyError | None:
    """What PostgreSQL would end the connection for."""
    limit = _LIMITS.get(tag, 0)
    if 4 <= length <= limit:
        return None
    if not limit:
        return check_tag(tag)
    return errors.protocol_violation(f"invalid message length {length} of {chr(tag)!r}")


def check_tag(tag: int) -> ProxyError | None:
    """The same of a message's first byte: PostgreSQL looks at it before it waits for more."""
    if tag in _LIMITS:
        return None
    return errors.protocol_violation(f"invalid frontend message type {tag}")


def reply_streams(tag: int, length: int, here: int) -> bool:
    """May an incomplete reply be dealt with by its head? Raises ProtocolError for an impossible."""
    if tag in _WHOLE:
        if length > _HELD_REPLY:
            raise ProtocolError(f"a reply {chr(tag)!r} of {length} bytes")
        return False
    if tag not in STREAMED:
        raise ProtocolError(f"a reply of type {tag} that nobody asked for")
    return tag != backend.ERROR_RESPONSE or here >= ERROR_HEAD
