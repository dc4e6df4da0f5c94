"""Was anything executed? What a refused request has been answered, message by message.

PostgreSQL refuses a command in a read-only transaction before it does anything for it. When all
that it has said before is that statements were prepared, portals bound and a transaction begun, the
request has left nothing behind anywhere: on another server it can be sent as if for the first time.
Pure: bytes that went up, bytes that came down; whatever is not recognized is not void.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from protocol.postgres import backend, frontend
from protocol.postgres.framing import HEADER, read_header

# The two functions of PostgreSQL that refuse before they do anything (src/backend/tcop/utility.c).
_ROUTINE: Final = re.compile(rb"\0RPrevent(?:CommandIfReadOnly|CommandDuringRecovery)\0")
_SQLSTATE: Final = b"\0C25006\0"
# Raised inside of a function, or by one written in C ("cannot execute nextval() in ..."): what was
# done before is not known.
_CONTEXT: Final = b"\0W"
_FUNCTION: Final = b"()"

_BEGUN: Final = (b"BEGIN\0", b"START TRANSACTION\0")
_BEGINS: Final = re.compile(rb"(?i)\s*(?:begin|start)\b")
# Quoted texts can be left out of a text that has none of the harder ways to quote.
_QUOTED: Final = re.compile(rb"'[^']*'|\"[^\"]*\"")
_HARD: Final = re.compile(rb"\\|\$|--|/\*")

FLUSH: Final = frontend.Flush().encode()
_ENDS: Final = (frontend.SYNC, frontend.QUERY)
_REFUSABLE: Final = (frontend.BIND, frontend.EXECUTE)
_REMARKS: Final = (backend.NOTICE_RESPONSE, backend.PARAMETER_STATUS)
_COMPLETED: Final = {
    frontend.PARSE: backend.PARSE_COMPLETE,
    frontend.BIND: backend.BIND_COMPLETE,
    frontend.CLOSE: backend.CLOSE_COMPLETE,
}


class Message(NamedTuple):
    """A message: tag, and body without its header."""

    tag: int
    body: bytes


def is_void(sent: bytes, before: bytes, answer: bytes, owed: int) -> bool:
    """Is the answer to `sent` at most beginnings and one refusal, and all of it in hand?

    `before` was entered already and `answer` was not; `owed` is how many replies are still owed.
    """
    request = _request(sent)
    if not request:
        return False
    entered = _replies(before)
    if request[0].tag == frontend.QUERY:
        return owed == 1 and _void_query(request[0].body[:-1], [*entered, *_replies(answer)])
    parts = sum(reply.tag == backend.PARAMETER_DESCRIPTION for reply in entered)
    # Whatever is owed no more, and not in hand, the client has seen.
    if len(request) - owed != len(entered) - parts:
        return False
    return _void_series(request, [*entered, *_replies(answer)])


def prepared_names(sent: bytes, answer: bytes) -> list[bytes]:
    """The client's names of the statements that were prepared in this request."""
    count = sum(reply.tag == backend.PARSE_COMPLETE for reply in _replies(answer))
    parses = [message.body for message in _request(sent) if message.tag == frontend.PARSE]
    return [body[: body.index(0)] for body in parses[:count]]


def counted(sent: bytes) -> tuple[int, int]:
    """How many queries and how many Executes it is in the metrics."""
    tags = [message.tag for message in _request(sent)]
    return tags.count(frontend.QUERY), tags.count(frontend.EXECUTE)


def _request(sent: bytes) -> list[Message]:
    """A Query, or a series up to its Sync or without one yet; empty for anything else."""
    messages = [message for message in _cut(sent) if message.tag != frontend.FLUSH]
    ends = [index for index, message in enumerate(messages) if message.tag in _ENDS]
    return messages if not ends or ends == [len(messages) - 1] else []


def _void_query(text: bytes, replies: list[Message]) -> bool:
    several = b";" in _bare(text).rstrip().rstrip(b";")
    begun = replies[0].body in _BEGUN if replies else False
    if several and not (begun and _BEGINS.match(text)):
        # An earlier statement may have been answered in bytes that are gone.
        return False
    if begun:
        del replies[0]
    if replies and _is_refusal(replies[0]):
        del replies[0]
    elif not begun:
        return False
    return [reply.tag for reply in replies] == [backend.READY_FOR_QUERY]


def _void_series(request: list[Message], replies: list[Message]) -> bool:
    # What comes behind a refusal.
    rest = [backend.READY_FOR_QUERY] if request[-1].tag == frontend.SYNC else []
    for message in request:
        if not replies:
            return False
        reply = replies.pop(0)
        if message.tag in _REFUSABLE and _is_refusal(reply):
            return [reply.tag for reply in replies] == rest
        if message.tag == frontend.SYNC:
            return reply.tag == backend.READY_FOR_QUERY and not replies
        if message.tag == frontend.DESCRIBE:
            if reply.tag == backend.PARAMETER_DESCRIPTION and replies:
                reply = replies.pop(0)
            fits = reply.tag in (backend.ROW_DESCRIPTION, backend.NO_DATA)
        elif message.tag == frontend.EXECUTE:
            fits = reply.tag == backend.COMMAND_COMPLETE and reply.body in _BEGUN
        else:
            fits = reply.tag == _COMPLETED.get(message.tag)
        if not fits:
            return False
    return False


def _is_refusal(reply: Message) -> bool:
    body = reply.body
    return (
        reply.tag == backend.ERROR_RESPONSE
        and _SQLSTATE in body
        and _ROUTINE.search(body) is not None
        and _CONTEXT not in body
        and _FUNCTION not in body
    )


def _bare(text: bytes) -> bytes:
    """The text without what is quoted in it, where that can be told simply."""
    return text if _HARD.search(text) else _QUOTED.sub(b"", text)


def _replies(answer: bytes) -> list[Message]:
    return [message for message in _cut(answer) if message.tag not in _REMARKS]


def _cut(data: bytes) -> list[Message]:
    """The messages of what is whole; nothing for what is not."""
    messages = []
    pos, size = 0, len(data)
    while size - pos >= HEADER.size:
        tag, length = read_header(data, pos)
        end = pos + 1 + length
        if length < 4 or end > size:
            return []
        messages.append(Message(tag, data[pos + HEADER.size : end]))
        pos = end
    return messages if pos == size else []
