"""The short walk: the two exchanges of which nearly all traffic consists, in a straight line.

A client at the end of an answer sends one Query, or one series of extended-query messages that
ends in Sync; the server answers it with its rows, a CommandComplete and a ReadyForQuery. Where all
of a request is in one chunk, and all of its answer is in another, and neither says anything that
the session has to act on, both are recognized by their outline and forwarded as they came:

    Query                        RowDescription? DataRow* CommandComplete ReadyForQuery
    Parse? Bind Describe?        ParseComplete? BindComplete (RowDescription | NoData)?
        Execute Sync                 DataRow* CommandComplete ReadyForQuery

What is allowed to take the short walk is decided before anything is changed. So everything else
(a verdict that is not clean, a name that the server lacks, an error, a notice, a message cut in
two, a second request behind the first) is simply refused here, and the long walk of `relay`, which
knows all rules, finds the session as if there were no other.

The one thing between the two: a series on its way is owed as one entry, `Series`, instead of one
for each message. Before the long walk looks at what is owed, the entry is spelled out.

What the answer may be is known from the request alone as long as nothing else happens in between:
that is `_brief`. Set by a request that took the short walk, it ends with the first bytes from
either side, so an answer that finds it set finds the session as its request left it.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import (
    IDLE,
    IN_TRANSACTION,
    OWED_DESCRIBE,
    OWED_EXECUTE,
    OWED_QUERY,
)
from protocol.postgres.framing import HEADER, LENGTH_BYTES, read_header
from pyproxy.pinning.classifier import CLEAN, STATEMENT_LIMIT
from pyproxy.postgres.relay import SHORTEST_COMPLETE, Relay, is_telling
from pyproxy.postgres.series import Series, read_series

if TYPE_CHECKING:
    from pyproxy.postgres.server import ServerConnection

# What a Describe of a portal is answered with.
_DESCRIPTIONS: Final = (backend.ROW_DESCRIPTION, backend.NO_DATA)
# A ReadyForQuery up to its status, and where an answer has it.
_READY: Final = backend.ReadyForQuery(IDLE).encode()[:-1]
_READY_SIZE: Final = len(_READY) + 1
_HEADER_SIZE: Final = HEADER.size
# A longer text is judged anew each time: once is enough, and the long walk has to.
_LONGEST: Final = STATEMENT_LIMIT
# A series with a longer Parse is not remembered: each client would have it in memory.
_LONGEST_HEAD: Final = 1024
# A command tag with its ReadyForQuery: the shortest, and the longest of the SQL that returns rows.
_SHORTEST_ENDING: Final = SHORTEST_COMPLETE + _READY_SIZE
_LONGEST_ENDING: Final = 64
# What endings have been found to mean, as `_read_ending` has it, and how many are remembered.
_status_after: Final[dict[bytes, int]] = {}
_ENDINGS: Final = 4096
# Compiled, what is Final is at hand, and an imported name is looked up.
_clock: Final = perf_counter


class ShortWalk(Relay):
    """A session that takes the short walk where it can."""

    __slots__ = ()

    # -- requests up ---------------------------------------------------------------------------

    def _walk(self, data: bytes) -> None:
        try:
            if _HEADER_SIZE < len(data) <= _LONGEST and not self._passing:
                tag = data[0]
                if tag == frontend.QUERY:
                    if self._take_query(data):
                        return
                elif (
                    tag == frontend.BIND or (tag == frontend.PARSE and self.conforming)
                ) and self._take_series(data):
                    return
            if self._brief:
                self._spell_out(self.server)
            self._walk_requests(data)
        except Exception:
            self._fail(None)

    def _take_query(self, data: bytes) -> bool:
        """Forward a Query that changes nothing, or have it wait; False: it has to be walked."""
        _, length = read_header(data, 0)
        if length + 1 != len(data):
            return False
        server = self._server_for(data)
        if server is None:
            return self._held
        text = data[_HEADER_SIZE:-1]
        endpoint = self.endpoint
        if not endpoint.clean.has(text):
            verdict = endpoint.classifier.judge(text, standard_conforming_strings=self.conforming)
            if verdict is not CLEAN:
                return False
        self.touched = True
        self.statements_seen += 1
        self._started = _clock()
        server.asked = text
        naming = self.naming
        if naming is None:
            server.statements.unnamed = None
            server.conversation.query(OWED_QUERY)
        else:
            naming.query(server)
        # As `refused_writes.kept` has it for a request that is whole.
        server.sent = data
        server.sent_segment = server.conversation.segment
        endpoint.query_received(self)
        self._brief = True
        endpoint.turn.ask(server.transport, data)
        return True

    def _take_series(self, data: bytes) -> bool:
        """Forward a series whose statement is in it or known; False as in `_take_query`."""
        naming = self.naming
        series = None if naming is None else naming.series
        if naming is None or series is None or not series.is_like(data):
            series = self._read_series(data)
            if series is None:
                return False
            naming = self._names()
        server = self._server_for(data)
        if server is None:
            return self._held
        if self._portals is not None:
            return False
        sent = data
        bound = series.parsed
        if bound is None:
            if series.name:
                bound = naming.names.get(series.name)
                if (
                    bound is None
                    or bound.verdict is not CLEAN
                    or not server.statements.touch(bound)
                ):
                    return False
                data = series.renamed(data, bound)
            elif naming.has_unnamed(server):
                bound = naming.unnamed
            else:
                return False
        self.touched = True
        self.statements_seen += 1
        self._pipelined = _clock()
        naming.mentioned = bound
        server.conversation.sync(series)
        server.sent = sent
        server.sent_segment = server.conversation.segment
        endpoint = self.endpoint
        endpoint.execute_received(self)
        self._brief = True
        endpoint.turn.ask(server.transport, data)
        return True

    def _read_series(self, data: bytes) -> Series | None:
        """What the client sends now, and from now on; None if it is not for the short walk."""
        endpoint = self.endpoint
        series = read_series(data, endpoint.catalog)
        if series is None:
            return None
        parsed = series.parsed
        if parsed is not None and (
            parsed.verdict is not CLEAN or endpoint.classifier.parse(named=False) is not None
        ):
            return None
        if len(series.head) <= _LONGEST_HEAD:
            self._names().series = series
        return series

    def _server_for(self, data: bytes) -> ServerConnection | None:
        """A server that the request can go to as it is; None if not, or if it is `_held` back."""
        server = self.server
        if server is None:
            server = self._borrow()
            if server is None:
                self._tail = data
                self._held = True
            elif server.conversation.owed:
                # Its application_name is being set.
                return None
        elif (
            not server.conversation.settled or server.application_name is not self.application_name
        ):
            return None
        return server

    # -- replies down --------------------------------------------------------------------------

    def on_server(self, server: ServerConnection, data: bytes) -> None:
        """Bytes from the server that this session holds."""
        if self._brief:
            try:
                if self._take_answer(server, data):
                    return
            except Exception:
                self._fail(server)
                return
            self._spell_out(server)
        super().on_server(server, data)

    def _take_answer(self, server: ServerConnection, data: bytes) -> bool:
        """Forward an answer that is whole and says nothing else; False if it has to be walked."""
        size = len(data)
        if size < _SHORTEST_ENDING or data[size - _READY_SIZE] != backend.READY_FOR_QUERY:
            return False
        owed = server.conversation.owed[0]
        series = owed if isinstance(owed, Series) else None
        pos = 0
        if series is None:
            described = data[0] == backend.ROW_DESCRIPTION
        else:
            pos = len(series.begin)
            described = series.described
            if data[:pos] != series.begin or (described and data[pos] not in _DESCRIPTIONS):
                return False
        if described:
            _, length = read_header(data, pos)
            pos += 1 + length
        pos = _end_of_rows(data, pos, size - _SHORTEST_ENDING)
        if size - pos > _LONGEST_ENDING:
            return False
        ending = data[pos:]
        status = _status_after.get(ending, -1)
        if status < 0:
            status = _remember(ending)
        if not status:
            return False
        self._brief = False
        server.conversation.answered(status)
        now = _clock()
        if series is None:
            if owed is not OWED_QUERY:
                self._changed(server, owed)
            self.endpoint.query_answered(server, now - self._started)
        else:
            if series.parsed is not None:
                self._names().unnamed = server.statements.unnamed = series.parsed
            self.endpoint.pipeline_answered(server, now - self._pipelined)
            self._pipelined = 0.0
        self.endpoint.turn.answer(self.transport, data)
        if status == IDLE and self.pin is None and not self.endpoint.session_mode:
            self._release(server)
        return True

    def _spell_out(self, server: ServerConnection | None) -> None:
        """Owe each message of a series on its way by itself, as the long walk would have it."""
        self._brief = False
        if server is None:
            return
        conversation = server.conversation
        series = conversation.owed[0]
        if not isinstance(series, Series):
            return
        conversation.take_back()
        naming = self._names()
        if series.parsed is not None:
            naming.enter_unnamed(server, series.parsed)
        naming.enter_bind(conversation, series.name)
        if series.described:
            conversation.extended(OWED_DESCRIBE)
        conversation.extended(OWED_EXECUTE)
        conversation.sync()


def _end_of_rows(data: bytes, pos: int, last: int) -> int:
    """Where the DataRows end that begin at `pos`, or where one begins that is past `last`."""
    while pos <= last and data[pos] == backend.DATA_ROW:
        _, length = read_header(data, pos)
        if length < LENGTH_BYTES:
            break
        pos += 1 + length
    return pos


def _read_ending(ending: bytes) -> int:
    """What status a CommandComplete and a ReadyForQuery end with.

    0 if it is something else, or if the session has to know of the command.
    """
    end = len(ending) - _READY_SIZE
    if end < SHORTEST_COMPLETE or ending[end:-1] != _READY:
        return 0
    tag, length = read_header(ending, 0)
    if tag != backend.COMMAND_COMPLETE or 1 + length != end or ending[end - 1]:
        return 0
    status = ending[-1]
    return 0 if is_telling(ending, 0, end) or status not in (IDLE, IN_TRANSACTION) else status


def _remember(ending: bytes) -> int:
    """As `_read_ending`, which is asked once for all answers that end alike."""
    if len(_status_after) >= _ENDINGS:
        _status_after.clear()
    status = _status_after[ending] = _read_ending(ending)
    return status
