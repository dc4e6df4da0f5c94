"""A write that a database refuses because it takes none any more: sent again, to one that does.

No client gets a 25006 that it has not asked for. A database whose `default_transaction_read_only`
is turned on under us (the old one of a blue/green switchover, FO-08) says so itself: PostgreSQL
reports that setting, before the ReadyForQuery of the first command that meets it. So the refusal of
such a server is no answer to the client. It is held back up to that ReadyForQuery, and then:

- Nothing but the refusal has come, or beginnings (Parse, Bind, Describe, BEGIN): nothing was
  executed. The server is retired, the client stands in line, and the same bytes go to the next
  server. One that has itself asked to be read-only gets its 25006 from that one.
- Something else was answered, the session is pinned, or the bytes are not at hand any more: the
  one error of a lost connection (E-PG-24), and the connection is closed.
- The server has reported nothing: the transaction is read-only by the client's wish (or by its
  role's, or a function's). The refusal is passed on as it came.

A BEGIN that is answered by a server which turns read-only in this very answer is sent again too, so
no transaction starts there.

All of this happens after an error or a changed setting. Before, it costs a reference to the bytes
that went up last; only a request in several pieces is put together, up to KEPT_LIMIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import IDLE, SYNC_POINTS
from protocol.postgres.framing import HEADER, read_header
from pyproxy.postgres.requests import Requests
from pyproxy.postgres.statements import Pending
from pyproxy.postgres.void_answers import is_void, prepared_names
from pyproxy.targets.target import READ_ONLY, READ_WRITE

if TYPE_CHECKING:
    from pyproxy.postgres.server import ServerConnection

# The setting that PostgreSQL 14 and later report.
SETTING: Final = "default_transaction_read_only"
# In a ParameterStatus: it is on now.
_TURNED: Final = SETTING.encode() + b"\0on\0"
# In an ErrorResponse: read_only_sql_transaction.
_REFUSED: Final = b"\0C25006\0"
# Between a refusal and its ReadyForQuery there are a few settings.
_HELD_ANSWER: Final = 1 << 16
# The longest request that is put together from pieces.
KEPT_LIMIT: Final = 256 * 1024

_FLUSH: Final = frontend.Flush().encode()
_WHY: Final = "its database takes no writes any more"


def kept(server: ServerConnection, data: bytes, pos: int) -> None:
    """`data[:pos]` has gone up to the server: keep it while it may have to be sent again."""
    piece = data if pos == len(data) else data[:pos]
    conversation = server.conversation
    # The sync point that ends it, sent or still to come: the same for all pieces of one series.
    ends_at = conversation.segment + conversation.unsynced
    if server.sent_segment == ends_at:
        before = server.sent
        # Nothing is kept of what has once been too long.
        fits = before and not conversation.copying and len(before) + pos <= KEPT_LIMIT
        piece = before + piece if fits else b""
    server.sent = piece
    server.sent_segment = ends_at


def refuses(tag: int, data: bytes, pos: int, end: int) -> bool:
    """Is the reply at `data[pos:end]` a whole refusal to write, or the setting that explains it?"""
    if tag == backend.ERROR_RESPONSE:
        return end <= len(data) and data.find(_REFUSED, pos, end) >= 0
    return tag == backend.PARAMETER_STATUS and data.find(_TURNED, pos, end) >= 0


class RefusedWrites(Requests):
    """A session that hides what a database answers which takes no writes any more."""

    __slots__ = ()

    def _withheld(
        self, server: ServerConnection, data: bytes, pos: int, keep: int, out: list[bytes]
    ) -> bool:
        """Is the answer, now at a refusal or a telling setting at `pos`, not for the client?

        True: nothing of it goes down now, and `data` is dealt with. False: it goes on as it is,
        behind what is in `out`.
        """
        owed = server.conversation.owed
        if (
            self.ended
            or self._passing
            or self.endpoint.role != READ_WRITE
            or server.home.role == READ_ONLY
            or not owed
        ):
            return False
        held, self._before = self._before, b""
        before = b"".join((held, *out, data[keep:pos]))
        refused = data[pos] == backend.ERROR_RESPONSE
        # The setting may be told in the answer to a query of ours: the client's is the next.
        begin = _end_of_answer(data, pos) if owed[0].hidden else pos
        end = _end_of_answer(data, begin) if begin >= 0 else -1
        if (refused and owed[0].hidden) or not (refused or self._may_be_void(server)):
            out.insert(0, held)
            return False
        if end < 0:
            synced = any(entry.kind in SYNC_POINTS for entry in owed)
            # An error comes at once, if need be ahead of the client's Sync; who has asked for a
            # Flush may be waiting for it.
            if len(data) - pos > _HELD_ANSWER or not (synced or not server.sent.endswith(_FLUSH)):
                out.insert(0, held)
                return False
            # Nothing more goes up before it is known what this means.
            self._before, server.tail = before, data[pos:]
            self._held = self._held or synced
            return True
        answer = data[begin:end]
        void = self._may_be_void(server) and is_void(
            server.sent, before, answer, sum(not entry.hidden for entry in owed)
        )
        turned = self._turned(server, data[pos:end])
        if not turned or not (refused or void):
            out.insert(0, held)
            return False
        server.home.turned_read_only(server)
        if void:
            self._send_again(server, before + answer)
        else:
            server.home.retire(server, _WHY)
            self.server_lost(server)
        return True

    def _turned(self, server: ServerConnection, answer: bytes) -> bool:
        """Is it the database that takes no writes, and not the client that wants none?"""
        if _TURNED in answer:
            return True
        if self.pin is None and not self.endpoint.session_mode:
            on = server.parameters.get(SETTING) == "on"
            return on and server.baseline.get(SETTING) != "on"
        # It may have set that itself; what the monitor has seen decides.
        return server.home.pools.paused or server.home.role != READ_WRITE

    def _may_be_void(self, server: ServerConnection) -> bool:
        """Is it the first request of its transaction, alone, and can another server answer it?"""
        conversation = server.conversation
        return (
            self.pin is None
            and not self.endpoint.session_mode
            and conversation.status == IDLE
            and not conversation.unsynced
            and server.sent_segment == conversation.segment
            and sum(e.kind in SYNC_POINTS for e in conversation.owed if not e.hidden) == 1
        )

    def _send_again(self, server: ServerConnection, answer: bytes) -> None:
        """Retire the server and stand in line with what it was asked."""
        sent = server.sent
        conversation = server.conversation
        if self.naming is not None:
            for entry in conversation.owed:
                if isinstance(entry, Pending):
                    entry.done = True
            self.naming.discarded(server, conversation.error())
            self.naming.take_back(prepared_names(sent, answer))
        self.server = None
        self._portals = None
        if self._blocked:
            server.transport.resume_reading()
        text = "What it refused to write goes to another database connection."
        self.endpoint.log.note("INFO", text, self.id, server.id)
        server.home.retire(server, _WHY)
        self._tail = sent + bytes(self._tail or b"")
        self._go_on()


def _end_of_answer(data: bytes, pos: int) -> int:
    """Where the next ReadyForQuery ends; -1 while it is not here."""
    size = len(data)
    while size - pos >= HEADER.size:
        tag, length = read_header(data, pos)
        pos += 1 + length
        if length < 4:
            break
        if tag == backend.READY_FOR_QUERY:
            return pos if pos <= size else -1
    return -1
