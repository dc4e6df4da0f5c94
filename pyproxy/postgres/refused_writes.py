"""A write that a database refuses because it takes none any more: sent again, to one that does.

No client gets a 25006 that it has not asked for. A database whose `default_transaction_read_only`
is turned on under us (the old one of a blue/green switchover, FO-08) mostly says so itself: since
version 14 PostgreSQL reports that setting, before the ReadyForQuery of the first command that meets
it. So a refusal is held back up to that ReadyForQuery. Where the server's word does not decide, the
database is asked by a connection made for that (`doubts`), and the refusal is held back until then:

- of a session that keeps its server, which may have turned the setting on itself;
- of a PostgreSQL that reports nothing;
- while the ReadyForQuery is not to be waited for: the client waits at a Flush, or is in the middle
  of a long message.

Then, if it is the database that takes no writes:

- Nothing but the refusal has come, or beginnings (Parse, Bind, Describe, BEGIN): nothing was
  executed. The server is retired, the client stands in line, and the same bytes go to the next
  server. One that has itself asked to be read-only gets its 25006 from that one.
- Something else was answered, the session is pinned, or the bytes are not at hand any more: the
  one error of a lost connection (E-PG-24), and the connection is closed.

And if not, the transaction is read-only by the client's wish (or by its role's, or a function's):
the refusal is passed on as it came.

A BEGIN that is answered by a server which turns read-only in this very answer is sent again too, so
no transaction starts there.

All of this happens after an error or a changed setting. Before, it costs a reference to the bytes
that went up last; only a request in several pieces is put together, up to KEPT_LIMIT.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend
from protocol.postgres.conversation import IDLE, SYNC_POINTS, Owed
from protocol.postgres.framing import HEADER, read_header
from pyproxy.postgres.doubts import Doubt
from pyproxy.postgres.requests import Requests
from pyproxy.postgres.statements import Pending
from pyproxy.postgres.void_answers import FLUSH, counted, is_void, prepared_names
from pyproxy.targets.target import READ_ONLY, READ_WRITE

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Is the reply at `data[pos:end]` a refusal to write, or the setting that explains it?"""
    if tag == backend.ERROR_RESPONSE:
        return data.find(_REFUSED, pos, end) >= 0
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
        held, self._before = self._before, b""
        if (
            self.ended
            or self.endpoint.role != READ_WRITE
            or server.home.role == READ_ONLY
            or not owed
        ):
            return self._pass_on(out, held)
        before = b"".join((held, *out, data[keep:pos]))
        refused = data[pos] == backend.ERROR_RESPONSE
        if refused and owed[0].hidden:
            return self._pass_on(out, held)
        # The setting may be told in the answer to a query of ours: the client's is the next.
        begin = _end_of_answer(data, pos) if owed[0].hidden else pos
        end = _end_of_answer(data, begin) if begin >= 0 else -1
        if end < 0 and self._comes_to_its_end(server, len(data) - pos):
            if not refused and not self._may_be_void(server):
                return self._pass_on(out, held)
            # The client's Sync may still be to come.
            self._hold_back(server, before, data[pos:], holds=_is_synced(owed))
            return True
        answer = data[begin:end] if end >= 0 else data[pos:]
        turned = self._turned(server, data[pos : end if end >= 0 else len(data)], whole=end >= 0)
        if turned is None and refused:
            self._hold_back(server, before, data[pos:], holds=True)
            self._ask(server)
            return True
        doubt, server.doubt = server.doubt, None
        if doubt is not None and not self._blocked:
            server.transport.resume_reading()
        void = self._may_be_void(server) and is_void(
            server.sent, before, answer, sum(not entry.hidden for entry in owed)
        )
        if not turned or not (refused or void):
            return self._pass_on(out, held)
        if doubt is None or doubt.turned:
            server.home.turned_read_only(server)
        if void:
            self._send_again(server, before + answer)
        else:
            server.home.retire(server, _WHY)
            self.server_lost(server)
        return True

    def _pass_on(self, out: list[bytes], held: bytes) -> bool:
        out.insert(0, held)
        return False

    def _hold_back(
        self, server: ServerConnection, before: bytes, rest: bytes, *, holds: bool
    ) -> None:
        """Nothing goes down before it is known what this means; if it `holds`, nothing goes up."""
        self._before, server.tail = before, rest
        if holds:
            self._held = True
            if self._tail is None:
                self._tail = b""
        elif self._held:
            # It waited for an answer that is in `before`, or will not come any more, and the Sync
            # may be behind it.
            self._names().wait_no_more()
            self._go_on()

    def _comes_to_its_end(self, server: ServerConnection, here: int) -> bool:
        """Can the ReadyForQuery be waited for, when so many bytes of the answer are here?

        An error comes at once, if need be ahead of the client's Sync; who has sent a Flush may be
        waiting for it, and so may one of whose bytes nothing is known.
        """
        if self._passing or here > _HELD_ANSWER:
            return False
        if _is_synced(server.conversation.owed):
            return True
        return bool(server.sent) and FLUSH not in server.sent

    def _turned(self, server: ServerConnection, answer: bytes, *, whole: bool) -> bool | None:
        """Is it the database that takes no writes, and not the client that wants none?

        None: that is not known yet. A `whole` answer is one up to its ReadyForQuery, ahead of which
        a server reports what has changed.
        """
        if _TURNED in answer:
            return True
        on = server.parameters.get(SETTING)
        if on is not None and whole:
            if on != "on" or server.baseline.get(SETTING) == "on":
                return False
            if self.pin is None and not self.endpoint.session_mode:
                return True
        if server.home.pools.paused or server.home.role != READ_WRITE:
            return True
        doubt = server.doubt
        if doubt is None or not doubt.settled:
            return None
        # One that cannot be asked is none to stay with.
        return doubt.turned is not False

    def _ask(self, server: ServerConnection) -> None:
        """Have the database asked; its server is not read before that is answered."""
        if server.doubt is None:
            server.doubt = Doubt(partial(self._told, server))
            server.transport.pause_reading()
            server.home.doubts.enter(server.pool, server.doubt)

    def _on_flush(self, server: ServerConnection) -> None:
        """The client wants its answers now; one that is held back is looked at again."""
        if server.tail:
            # Not before the Flush is on its way, and entered with what was sent.
            asyncio.get_running_loop().call_soon(self._told, server)

    def _told(self, server: ServerConnection) -> None:
        """More is known: go on with the answer that is held back."""
        if self.server is server:
            self.on_server(server, b"")

    def _may_be_void(self, server: ServerConnection) -> bool:
        """Is it the first request of its transaction, alone, and can another server answer it?"""
        conversation = server.conversation
        unsynced = conversation.unsynced
        return (
            self.pin is None
            and not self.endpoint.session_mode
            and not self._passing
            and conversation.status == IDLE
            and server.sent_segment == conversation.segment + unsynced
            and sum(e.kind in SYNC_POINTS for e in conversation.owed if not e.hidden)
            == (not unsynced)
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
        self.on_borrow = partial(self._repeats, *counted(sent))
        self._go_on()


def _is_synced(owed: Iterable[Owed]) -> bool:
    """Has the client sent what it will get a ReadyForQuery for?"""
    return any(entry.kind in SYNC_POINTS and not entry.hidden for entry in owed)


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
