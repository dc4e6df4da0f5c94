"""The walk: requests up to a server, replies down to the client, borrow and release.

Two callbacks and no task. `Session.data_received` takes the client's bytes, `Session.on_server`
the database's. Both hop from header to header, look only into the messages that change a decision,
and forward the rest as it came; a chunk that needs no change goes out as the object that came in.

    client bytes ─▶ data_received ─▶ _walk ─▶ verdict ─▶ borrow ─▶ database
    client bytes ◀───────────── on_server ◀── conversation ◀────── database
                                   └─ at rest and not pinned → release

What keeps it invisible:

- The conversation knows what the server owes; a server goes back only when that is nothing, the
  transaction is over, and no message is half-way to it (invariant 1).
- A message that must wait (for a server, or for an answer that decides what it means) stays in
  `_tail` with all that follows, and the walk goes on from there later.
- A message longer than HOLD_LIMIT is never held: it streams through behind its head.
- Each side that takes no more stops the reading of the other.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import (
    BIND,
    DESCRIBE,
    EXECUTE,
    HIDDEN_QUERY,
    HIDDEN_SYNC,
    IDLE,
    OWED_EXECUTE,
    PARSE,
    QUERY,
    Owed,
)
from protocol.postgres.errors import ProtocolError
from protocol.postgres.framing import read_header
from pyproxy import errors
from pyproxy.errors import ProxyError
from pyproxy.postgres.headers import (
    SMALL_MESSAGE,
    STREAMED,
    check_request,
    check_tag,
    reply_streams,
)
from pyproxy.postgres.names import Forgetting
from pyproxy.postgres.parameters import reported_application_name
from pyproxy.postgres.refused_writes import SETTING, RefusedWrites, kept, refuses
from pyproxy.postgres.session import HOLD_LIMIT
from pyproxy.postgres.statements import Pending
from pyproxy.turn import BUFFERFUL

if TYPE_CHECKING:
    from pyproxy.postgres.server import ServerConnection

# A CommandComplete has at least the end of its tag.
SHORTEST_COMPLETE: Final = 6

# How the command tags begin that `_on_tag` looks for; SET, which begins as SELECT does, is the only
# one of three letters and known by the size of its message.
_TELLING: Final = b"DLPR"
_SET_SIZE: Final = 9
# A write in a read-only transaction: the client's own, or a database that takes no writes any more.
_READ_ONLY: Final = b"25006"


def is_telling(data: bytes, pos: int, end: int) -> bool:
    """May the CommandComplete at `data[pos:end]` mean that settings or statements have changed?"""
    return data[pos + 5] in _TELLING or end - pos == _SET_SIZE


class Relay(RefusedWrites):
    """A session whose bytes walk: the two callbacks."""

    __slots__ = ()

    # -- requests up ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        tail = self._tail
        if tail is not None:
            if isinstance(tail, bytes):
                tail = self._tail = bytearray(tail)
            tail += data
            if self._held:
                if len(tail) > HOLD_LIMIT:
                    self.transport.pause_reading()
                return
            if len(tail) < self._need:
                return
            data = bytes(tail)
            self._tail = None
        if not self.ended:
            if len(data) < BUFFERFUL:
                self._walk(data)
            else:
                self.endpoint.turn.bufferful(self.transport, self._walk, data, self._read_on)

    def _walk(self, data: bytes) -> None:
        """Requests up. `out` and `data[keep:pos]` are what goes to the server, in this order."""
        try:
            self._walk_requests(data)
        except Exception:
            self._fail(None)

    def _walk_requests(self, data: bytes) -> None:
        self.touched = True
        size = len(data)
        pos = keep = 0
        out: list[bytes] = []
        problem: ProxyError | None = None
        terminated = False
        if self.server is not None and self.server.conversation.overdrawn:
            self._rejected(errors.protocol_violation("too many Sync messages in a COPY"))
            return
        streamed = self._passing
        if streamed:
            pos = min(streamed, size)
            self._passing -= pos
            if self._passing_dropped:
                keep = pos
        while size - pos >= 5:
            tag, length = read_header(data, pos)
            end = pos + 1 + length
            problem = check_request(tag, length)
            if problem is not None:
                break
            if end > size and not self._streams(data, pos, size, tag, length):
                break
            if tag == frontend.TERMINATE:
                terminated = True
                break
            answer = self._request(data, pos, end, size, tag, length)
            if answer is not None:
                piece, resume = answer
                if pos > keep:
                    out.append(data[keep:pos])
                if piece:
                    out.append(piece)
                if resume < 0:
                    keep, self._held = pos, True
                    break
                keep = resume
            pos = end
        if pos > size:
            self._passing = pos - size
            self._passing_dropped = keep > size
            pos = size
        elif pos < size < pos + 5:
            problem = check_tag(data[pos])
        self._send_up(data, keep, pos, out)
        if self.server is not None and pos:
            kept(self.server, data, pos)
        if problem is not None:
            self._rejected(problem)
        elif terminated:
            self._terminated()
        else:
            self._keep_tail(data, pos)
            if streamed and not self._passing and self.server is not None:
                self._settle(self.server)

    def _fail(self, server: ServerConnection | None) -> None:
        """End the session for an error of ours; its server, if that has spoken, is out of step."""
        self.endpoint.failed(self)
        if server is not None:
            server.abort("an error of the proxy itself")
            if self._leaving:
                self.server_lost(server)
        self.end(errors.unknown_error(), "an error of the proxy itself")

    def _send_up(self, data: bytes, keep: int, pos: int, out: list[bytes]) -> None:
        server = self.server
        if server is None:
            return
        if out:
            if keep < pos:
                out.append(data[keep:pos])
            server.send(b"".join(out))
        elif keep < pos:
            server.send(data if keep == 0 and pos == len(data) else data[keep:pos])

    def _keep_tail(self, data: bytes, pos: int) -> None:
        size = len(data)
        if pos == size:
            return
        self._tail = data[pos:]
        if size - pos >= 5:
            tag, length = read_header(data, pos)
            if tag == frontend.BIND:
                # Only the names are waited for, however long it is.
                self._need = size - pos + 1
            elif length > HOLD_LIMIT and (tag == frontend.QUERY or tag == frontend.PARSE):
                # Only as much as `_streams` wants.
                self._need = SMALL_MESSAGE + 1
            else:
                self._need = 1 + length
        else:
            self._need = 5

    def _streams(self, data: bytes, pos: int, size: int, tag: int, length: int) -> bool:
        """May an incomplete message be dealt with by its head, its rest passing through?"""
        if tag == frontend.COPY_DATA or tag == frontend.FUNCTION_CALL:
            return True
        if tag == frontend.BIND:
            portal_end = data.find(0, pos + 5, size)
            return size - pos > SMALL_MESSAGE or (
                portal_end >= 0 and data.find(0, portal_end + 1, size) >= 0
            )
        if tag == frontend.QUERY or tag == frontend.PARSE:
            return length > HOLD_LIMIT and size - pos > SMALL_MESSAGE
        return False

    # -- replies down --------------------------------------------------------------------------

    def on_server(self, server: ServerConnection, data: bytes) -> None:
        """Bytes from the server that this session holds."""
        if server.fatal and not server.passing:
            # Exactly one FATAL ends a connection: nothing that follows is passed on.
            return
        try:
            self._walk_replies(server, data)
        except ProtocolError as error:
            server.abort(f"it is out of step: {error}")
            self.server_lost(server)
        except Exception:
            self._fail(server)

    def _walk_replies(self, server: ServerConnection, data: bytes) -> None:
        """Replies down. `out` and `data[keep:pos]` are what goes to the client, in this order."""
        data, server.tail = server.tail + data, b""
        owed = server.conversation.owed
        hiding = bool(owed) and owed[0] is HIDDEN_QUERY
        size, pos, keep, ready = len(data), 0, 0, False
        out: list[bytes] = []
        if server.passing:
            pos = min(server.passing, size)
            server.passing -= pos
            keep = pos if server.passing_dropped else 0
        while size - pos >= 5:
            tag, length = read_header(data, pos)
            end = pos + 1 + length
            if length < 4:
                raise ProtocolError(f"a reply {chr(tag)!r} of {length} bytes")
            if end > size and not reply_streams(tag, length, size - pos):
                break
            hidden = hiding
            if tag != backend.DATA_ROW and tag != backend.COPY_DATA:
                if refuses(tag, data, pos, end) and self._withheld(server, data, pos, keep, out):
                    return
                if tag == backend.READY_FOR_QUERY:
                    # Without its status it is as good as one with an unknown status.
                    answered = server.conversation.ready(data[pos + 5] if length == 5 else 0)
                    hidden = answered.hidden
                    hiding = bool(owed) and owed[0] is HIDDEN_QUERY
                    ready = True
                    if not hidden:
                        self._answered(server, answered)
                    if end < size and self._is_done_with(server):
                        # The database speaks of itself, as its end: that is not for the client.
                        data, server.tail, size = data[:end], data[end:], end
                elif tag == backend.ERROR_RESPONSE:
                    renamed = self._on_error(server, data, pos, min(end, size), end <= size)
                    # A Sync of ours ends the segments that only we have asked for.
                    hidden = hiding or (bool(owed) and owed[0] is HIDDEN_SYNC)
                    if server.fatal:
                        # It ends the client's request too, whatever it was the answer to.
                        data, size, hidden = data[:end], min(end, size), False
                    if renamed and not hidden:
                        out += data[keep:pos], renamed
                        keep = end
                else:
                    hidden = self._on_reply(server, tag, data, pos, end) or hiding
            if hidden:
                if keep < pos:
                    out.append(data[keep:pos])
                if self._instead:
                    out.append(self._instead)
                    self._instead = b""
                keep = end
            pos = end
        if pos > size:
            server.passing = pos - size
            server.passing_dropped = keep > size
            pos = size
        elif pos < size:
            server.tail = data[pos:]
        self._send_down(data, min(keep, size), pos, out)
        if ready or self._held or self._leaving:
            self._settle(server)

    def _send_down(self, data: bytes, keep: int, pos: int, out: list[bytes]) -> None:
        if (self.ended and not self._leaving) or self.transport.is_closing():
            # Nobody listens; uvloop's transports do not even take it.
            return
        if out:
            if keep < pos:
                out.append(data[keep:pos])
            data = b"".join(out)
            if data:
                self._send(data)
        elif keep < pos:
            self._send(data if keep == 0 and pos == len(data) else data[keep:pos])

    def _settle(self, server: ServerConnection) -> None:
        """After an answer: go on with what waited for it; release what is at rest."""
        if server.tail and self._is_done_with(server):
            self._overhear(server)
        if self._held:
            self._go_on()
        if self.server is not server:
            return
        if server.conversation.perhaps and server.conversation.settled:
            if not self._passing:
                server.probe()
        elif self._leaving:
            self._settle_last(server)
        elif not self.ended and self._is_done_with(server):
            self._release(server)

    def _is_done_with(self, server: ServerConnection) -> bool:
        """Could the server be given back now?"""
        return (
            server.conversation.at_rest
            and self.pin is None
            and not self._passing
            and not self.endpoint.session_mode
        )

    def _overhear(self, server: ServerConnection) -> None:
        """What a server has said behind its last answer; if it was its end, part without a word."""
        server.overhear(b"")
        if server.closing:
            self.server = None
            self._portals = None
            self._go_on_without_server()

    # -- what a reply means --------------------------------------------------------------------

    def _on_reply(
        self, server: ServerConnection, tag: int, data: bytes, pos: int, end: int
    ) -> bool:
        """Enter a reply in the conversation; is it one that the client must not see?"""
        conversation = server.conversation
        if tag == backend.COMMAND_COMPLETE:
            if end - pos < SHORTEST_COMPLETE or data[end - 1]:
                raise ProtocolError("a CommandComplete without a tag")
            self._executed(server, conversation.executed())
            if is_telling(data, pos, end):
                self._on_tag(server, data[pos + 5 : end - 1])
        elif tag == backend.ROW_DESCRIPTION or tag == backend.PARAMETER_DESCRIPTION:
            return self._described(server, tag, data[pos + 5 : end])
        elif tag == backend.BIND_COMPLETE:
            conversation.complete(BIND)
        elif tag == backend.PARSE_COMPLETE:
            return self._changed(server, conversation.complete(PARSE))
        elif tag == backend.NO_DATA:
            return self._learned(server, conversation.complete(DESCRIBE), b"")
        elif tag == backend.EMPTY_QUERY_RESPONSE:
            self._executed(server, conversation.executed())
        elif tag == backend.PARAMETER_STATUS:
            return self._on_parameter_status(server, data[pos + 5 : end])
        elif tag == backend.CLOSE_COMPLETE:
            return self._changed(server, conversation.closed())
        elif tag == backend.PORTAL_SUSPENDED:
            self._executed(server, conversation.complete(EXECUTE))
        elif tag == backend.COPY_IN_RESPONSE:
            conversation.copy_in()
        elif tag == backend.NOTIFICATION_RESPONSE:
            # LISTEN pins, so one for an unpinned session is another's leftover.
            if self.unobserved(server) and self.endpoint.observer.notified(self, server):
                return True
            return self._own_notification(server, data[pos:end])
        elif tag == backend.NOTICE_RESPONSE:
            # What PostgreSQL remarks on a Parse that only we have asked for was said before.
            owed = conversation.owed
            return bool(owed) and owed[0].hidden and owed[0].kind == PARSE
        elif tag not in STREAMED:
            raise ProtocolError(f"a reply of type {tag} that nobody asked for")
        return False

    def _executed(self, server: ServerConnection, entry: Owed | None) -> None:
        if entry is not OWED_EXECUTE and entry is not None:
            self._changed(server, entry)

    def _changed(self, server: ServerConnection, entry: Owed) -> bool:
        """A Parse or Close is answered; is it one that the client must not see?"""
        if self.naming is not None and isinstance(entry, Pending):
            self.naming.answered(server, entry)
        return entry.hidden

    def _answered(self, server: ServerConnection, answered: Owed) -> None:
        """A sync point of the client is answered."""
        if answered.kind == QUERY:
            self._changed(server, answered)
            self.endpoint.query_answered(server, perf_counter() - self._started)
        elif self._pipelined:
            self.endpoint.pipeline_answered(server, perf_counter() - self._pipelined)
            self._pipelined = 0.0
        self._resets = False
        conversation = server.conversation
        if self._defaults_name and not conversation.owed:
            self._defaults_name = False
        if self._portals is not None and conversation.status == IDLE and not conversation.owed:
            # Portals end with their transaction, and no Bind is on its way to make new ones.
            self._portals = None

    def _on_parameter_status(self, server: ServerConnection, body: bytes) -> bool:
        """A setting has changed. Is it one that the client must not see?"""
        name, value = (
            part.decode(errors="replace") for part in backend.ParameterStatus.decode(body)
        )
        old = server.parameters.get(name)
        if self.unobserved(server):
            self.endpoint.observer.setting(self, server, name)
        server.report(name, value)
        if name == SETTING and value == "on" and self.pin is None:
            # The database, or a function: a look tells (FO-08).
            server.home.refuses_writes(server)
        if name == "standard_conforming_strings":
            self.conforming = value != "off"
        elif name == "application_name" and self._resets and value == server.baseline.get(name):
            return self._on_application_name_reset(server, old)
        return False

    def _own_notification(self, server: ServerConnection, message: bytes) -> bool:
        """A client knows its own NOTIFY by the process id, which is that of its key (extension)."""
        if self.cancel_key is None or server.key is None:
            return False
        process_id = message[5:9]
        if process_id != server.key[0].to_bytes(4, "big"):
            return False
        self._instead = message[:5] + self.cancel_key[0].to_bytes(4, "big") + message[9:]
        return True

    def _on_application_name_reset(self, server: ServerConnection, old: str | None) -> bool:
        """RESET has put the server's own default where the client's startup value belongs."""
        if self.application_name is None:
            return False
        server.application_name = None
        name = reported_application_name(
            self.application_name or "", server.parameters.get("server_version", "")
        )
        if name != old:
            self._instead = backend.ParameterStatus(b"application_name", name.encode()).encode()
        return True

    def _on_tag(self, server: ServerConnection, tag: bytes) -> None:
        """A command tag that may mean that settings or statements are gone, or new."""
        observer = self.endpoint.observer
        if tag in observer.tags and self.unobserved(server):
            observer.tag(self, server, tag)
        if tag in (b"RESET", b"DISCARD ALL") or (tag == b"SET" and self._defaults_name):
            # PostgreSQL reports what has changed only before the ReadyForQuery.
            self._resets = True
        if tag in (b"DEALLOCATE ALL", b"DISCARD ALL"):
            server.statements.forget_all()
            owed = server.conversation.owed
            if owed and isinstance(owed[0], Forgetting):
                owed[0].names = {}

    def _on_error(
        self, server: ServerConnection, data: bytes, pos: int, limit: int, whole: bool
    ) -> bytes:
        """ErrorResponse: undo what the server discards; returns it with the client's names."""
        if data.find(b"\0VFATAL\0", pos, limit) >= 0 or data.find(b"\0VPANIC\0", pos, limit) >= 0:
            server.fatal = True
        at = data.find(b"\0C", pos, limit)
        sqlstate = data[at + 2 : at + 7] if at >= 0 else b""
        owed = server.conversation.owed
        if sqlstate == _READ_ONLY:
            server.home.refuses_writes(server)
        if owed and owed[0] is HIDDEN_QUERY:
            if not server.fatal:
                self.endpoint.log.note(
                    "WARN", "a setting of the proxy's own failed", self.id, server.id
                )
            return b""
        renamed = b""
        if whole and self.naming is not None:
            failed = owed[0] if owed else None
            renamed = self.naming.in_its_words(server, data[pos:limit], sqlstate, failed)
        if server.fatal:
            return renamed
        self._discarded(server, server.conversation.error(sqlstate), sqlstate)
        if owed and self.naming is not None:
            self.naming.failed(server, sqlstate)
        return renamed

    def _discarded(self, server: ServerConnection, entries: list[Owed], why: bytes = b"") -> None:
        if entries and self.naming is not None:
            self.naming.discarded(server, entries, why)
