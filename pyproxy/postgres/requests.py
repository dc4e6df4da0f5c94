"""What a client's request means: its verdict, its statement names, what it will be owed.

`Requests` is a session that understands messages; it reads no bytes off the wire itself. The walk
(`relay`) shows it each message at `data[pos:end]`, and gets back what goes up in its place.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from time import perf_counter
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import (
    FAILED,
    IDLE,
    OWED_DESCRIBE,
    OWED_EXECUTE,
    OWED_FUNCTION_CALL,
    OWED_QUERY,
)
from protocol.postgres.framing import LENGTH_BYTES
from pyproxy.pinning.classifier import CLEAN
from pyproxy.postgres.headers import SMALL_MESSAGE
from pyproxy.postgres.prepared import STALL, Naming, Rewritten
from pyproxy.postgres.session import HOLD_LIMIT, Session
from pyproxy.postgres.statements import Learning

if TYPE_CHECKING:
    from protocol.postgres.conversation import Owed
    from pyproxy.pinning.classifier import Verdict
    from pyproxy.postgres.server import ServerConnection

# Messages that ask nothing of a database when none is at hand.
_NEEDS_NO_SERVER: Final = frozenset(
    {
        frontend.SYNC,
        frontend.FLUSH,
        frontend.COPY_DATA,
        frontend.COPY_DONE,
        frontend.COPY_FAIL,
    }
)
# Messages that begin something. Others may go on with the unnamed portal, which a Query of ours,
# as the one that sets application_name, would drop.
_BEGINS: Final = (frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.FUNCTION_CALL)
_DEFAULTS_NAME: Final = re.compile(rb'(?i)application_name["\s]*(?:=|\bto\b)\s*default\b')
_READY: Final = backend.ReadyForQuery(IDLE).encode()


class Requests(Session):
    """A session that knows what its client's messages mean."""

    __slots__ = ()

    def _request(
        self, data: bytes, pos: int, end: int, size: int, tag: int, length: int
    ) -> Rewritten | None:
        """Enter a message in the conversation; returns what goes up in its place.

        None is the message as it is; else the bytes to send and where its own bytes go on, which
        is negative when the message has to wait.
        """
        server = self.server
        if server is None:
            if tag in _NEEDS_NO_SERVER and not _is_invalid(tag, length):
                return self._answer_alone(tag, end)
            server = self._borrow()
            if server is None:
                return STALL
        elif server.application_name is not self.application_name and tag in _BEGINS:
            self._rename_application(server)
        conversation = server.conversation
        if tag == frontend.SYNC:
            conversation.sync()
            return None
        if conversation.skipping:
            conversation.passed_over = conversation.perhaps > 0
            return b"", end
        if tag == frontend.QUERY:
            return self._on_query(server, data, pos, end)
        if tag == frontend.EXECUTE:
            return self._on_execute(server, data, pos, end)
        if tag == frontend.BIND:
            return self._on_bind(server, data, pos, min(end, size), length)
        if tag == frontend.PARSE:
            return self._on_parse(server, data, pos, end, size)
        if tag == frontend.DESCRIBE:
            if length > 4 and data[pos + 5] == frontend.PORTAL:
                conversation.extended(OWED_DESCRIBE)
                return None
            return self._on_describe(server, data, pos, end)
        if tag == frontend.CLOSE:
            return self._on_close(server, data, pos, end)
        if tag == frontend.COPY_DATA:
            conversation.copy_data()
        elif tag == frontend.COPY_DONE or tag == frontend.COPY_FAIL:
            conversation.copy_end()
        elif tag == frontend.FUNCTION_CALL:
            self.statements_seen += 1
            pin = self.endpoint.classifier.function_call()
            if pin is not None:
                self._pin(server, pin)
            conversation.query(OWED_FUNCTION_CALL)
        elif tag == frontend.FLUSH:
            if _is_invalid(tag, length) and not conversation.feeding:
                # To be answered with an error, and with nothing else.
                conversation.extended(OWED_DESCRIBE)
            self._on_flush(server)
        return None

    @abstractmethod
    def _on_flush(self, server: ServerConnection) -> None:
        """The client waits for all answers that there are."""

    def _answer_alone(self, tag: int, end: int) -> tuple[bytes, int]:
        """A message that asks nothing of a database; PostgreSQL ignores stray copy messages."""
        if tag == frontend.SYNC:
            self._send(_READY)
        return b"", end

    def _on_query(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        """Query: a sync point of its own, judged statement by statement (PIN-PG-31)."""
        endpoint = self.endpoint
        if end - pos - 1 > HOLD_LIMIT:
            text = _head(data, pos)
            verdict = endpoint.classifier.oversized(text)
        else:
            # Without even the NUL that ends it, it has no text.
            text = data[pos + 5 : end - 1] if end > pos + 5 else b""
            verdict = endpoint.classifier.judge(text, standard_conforming_strings=self.conforming)
        if verdict is not CLEAN and self._must_wait(server, verdict):
            return STALL
        self.statements_seen += 1
        self._started = perf_counter()
        server.asked = text
        endpoint.query_received(self)
        if verdict.pin is not None:
            self._pin(server, verdict.pin)
            self._look_for_default(text)
        naming = self.naming
        if naming is None:
            server.statements.unnamed = None
            server.conversation.query(OWED_QUERY)
            return None
        ahead = b""
        if naming.knows(verdict.references) and server.conversation.status != FAILED:
            ahead = naming.materialize_before_query(server.conversation, verdict.references)
        naming.query(server, deallocates_all=verdict.deallocates_all)
        return (ahead, pos) if ahead else None

    def _on_parse(
        self, server: ServerConnection, data: bytes, pos: int, end: int, size: int
    ) -> Rewritten | None:
        """Parse announces (PS-06, L-05); one too long to remember keeps its server instead."""
        naming = self._names()
        if end - pos - 1 > HOLD_LIMIT:
            verdict = self.endpoint.classifier.oversized(_head(data, pos))
            if verdict.pin is not None:
                self._pin(server, verdict.pin)
            return naming.parse_oversized(server, data, pos, min(end, size), end - pos - 1)
        keeps = self.keeps_server
        answer = naming.parse(server, data, pos, end, conforming=self.conforming, keeps=keeps)
        if answer is STALL:
            return answer
        named = end > pos + 5 and data[pos + 5] != 0
        server.statements.counters.statements_parsed += named
        statement = naming.mentioned
        if statement is not None and statement.verdict is not CLEAN:
            self.endpoint.announced(self, server, statement.verdict)
            if naming.moved:
                self._pin_for(server, statement.verdict)
        pin = self.endpoint.classifier.parse(named=named)
        if pin is not None:
            self._pin(server, pin)
        return answer

    def _on_bind(
        self, server: ServerConnection, data: bytes, pos: int, size: int, length: int
    ) -> Rewritten | None:
        """Bind takes the verdict of its statement to the portal (PS-06)."""
        naming = self._names()
        answer = naming.bind(server, data, pos, size, length)
        statement = naming.mentioned
        verdict = None if statement is None or statement.verdict is CLEAN else statement.verdict
        if naming.moved:
            self._pin_for(server, verdict)
        if answer is not None and answer[1] < 0:
            return answer
        if verdict is not None or self._portals is not None:
            self._remember_portal(_portal(data, pos, size), verdict)
        return answer

    def _on_describe(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        """Describe; that of a SQL-level EXECUTE looks at the statement which that names."""
        naming = self._names()
        answer = naming.describe(server, data, pos, end)
        if answer is not STALL and naming.moved and naming.mentioned is not None:
            self._pin_for(server, naming.mentioned.verdict)
        return answer

    def _on_close(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        return self._names().close(server, data, pos, end)

    def _remember_portal(self, portal: bytes, verdict: Verdict | None) -> None:
        portals = self._portals = self._portals or {}
        if verdict is None:
            portals.pop(portal, None)
        else:
            portals[portal] = verdict

    def _pin_for(self, server: ServerConnection, verdict: Verdict | None) -> None:
        """What SQL mentions was given its own name on this server: it must be kept from now on."""
        if verdict is not None and verdict.pin is not None:
            self._pin(server, verdict.pin.when_executed())

    def _on_execute(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        """Execute pins what Parse has announced."""
        conversation = server.conversation
        verdict = None
        if self._portals is not None:
            verdict = self._portals.get(_portal(data, pos, end))
        if verdict is not None and self._must_wait(server, verdict):
            return STALL
        self.statements_seen += 1
        self.endpoint.execute_received(self)
        if not self._pipelined:
            self._pipelined = perf_counter()
        if verdict is None:
            conversation.extended(OWED_EXECUTE)
            return None
        if verdict.pin is not None:
            self._pin(server, verdict.pin.when_executed())
            self._look_for_default(verdict.pin.statement.encode())
        naming = self._names()
        naming.execute(conversation, OWED_EXECUTE, deallocates_all=verdict.deallocates_all)
        return None

    def _look_for_default(self, text: bytes) -> None:
        """SET application_name TO DEFAULT has the effect of a RESET, under the tag of a SET."""
        if self.application_name is not None and _DEFAULTS_NAME.search(text):
            self._defaults_name = True

    def _must_wait(self, server: ServerConnection, verdict: Verdict) -> bool:
        """Does it mention names whose meaning an answer on its way decides?"""
        naming = self.naming
        if naming is None or not (verdict.references or verdict.deallocates_all):
            return False
        if server.conversation.feeding:
            # It ends the COPY, whatever it means.
            return False
        # A statement is moved by a segment of its own, which a failed transaction does not allow.
        return naming.undecided(server.conversation) or (
            naming.knows(verdict.references) and server.conversation.awaits_ready
        )

    def _described(self, server: ServerConnection, tag: int, body: bytes) -> bool:
        """A part of the answer to a Describe, or of a Query's: is it one that is hidden?"""
        conversation = server.conversation
        if tag == backend.ROW_DESCRIPTION:
            return self._learned(server, conversation.described(), body)
        entry = conversation.owed[0] if conversation.owed else None
        if isinstance(entry, Learning):
            entry.parameters = body
        return entry is not None and entry.hidden

    def _learned(self, server: ServerConnection, entry: Owed | None, row: bytes) -> bool:
        """A Describe is answered; as in `_described`."""
        if isinstance(entry, Learning):
            self._names().learned(server, entry, row)
        return entry is not None and entry.hidden

    def _names(self) -> Naming:
        """The client's statement names; most clients that never prepare have none."""
        naming = self.naming
        if naming is None:
            naming = self.naming = Naming(self.endpoint.catalog)
        return naming


def _is_invalid(tag: int, length: int) -> bool:
    """Is it a Sync or Flush with a body? PostgreSQL complains of that, and not of a COPY's."""
    return length != LENGTH_BYTES and (tag == frontend.SYNC or tag == frontend.FLUSH)


def _head(data: bytes, pos: int) -> bytes:
    """What is looked at of a Query or Parse of more than HOLD_LIMIT, however it arrives."""
    return data[pos + 5 : pos + 5 + SMALL_MESSAGE]


def _portal(data: bytes, pos: int, end: int) -> bytes:
    """The portal's name in a Bind or Execute: all there is where its end is missing."""
    nul = data.find(0, pos + 5, end)
    return data[pos + 5 : nul if nul >= 0 else end]
