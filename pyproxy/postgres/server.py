"""One database connection: idle in its pool, lent to a session, being reset, closed.

While it is lent its bytes go to the session (`relay.Session.on_server`). Otherwise it reads them
itself: what a database says to nobody (a shutdown, a changed setting), and the answers to a reset.

A connection never goes from one client to another by trust: it is lent again after its
conversation was at rest, or after a reset that was answered as expected; else it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import HIDDEN_QUERY, HIDDEN_SYNC, IDLE, Conversation
from protocol.postgres.errors import ProtocolError
from protocol.postgres.framing import HEADER, Framer
from pyproxy.keepalive import Hearing
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pinning.audit import Row
from pyproxy.postgres.statements import PREFIX, ServerStatements, close_message
from pyproxy.turn import BUFFERFUL

if TYPE_CHECKING:
    from pyproxy.pooling.pool import Pool
    from pyproxy.pooling.pools import Pools
    from pyproxy.postgres.doubts import Doubt
    from pyproxy.postgres.servers import Servers
    from pyproxy.postgres.session import Session
    from pyproxy.targets.target import Target

# How long the database may take to let go of a connection before it is cut off, in seconds.
CLOSE_GRACE: Final = 5.0
# How long a reset may take before the connection is closed instead, in seconds.
RESET_TIMEOUT: Final = 10.0
# A message to nobody is small; more is a server that has lost its way.
MAX_OWN_MESSAGE: Final = 1 << 20

# No client can call itself that.
_LOST_NAME: Final = "\0"

_TERMINATE: Final = HEADER.pack(frontend.TERMINATE, 4)
_SYNC: Final = HEADER.pack(frontend.SYNC, 4)
# No statement has that name.
_PROBE: Final = close_message(PREFIX + b"0") + _SYNC


# How many settings a database reports, each how long, at most: what it says is remembered.
MAX_SETTINGS: Final = 256
MAX_SETTING: Final = 1 << 16


def remember(parameters: dict[str, str], name: str, value: str) -> None:
    """Enter a ParameterStatus; raises ProtocolError for one that no database sends."""
    if len(value) > MAX_SETTING or (len(parameters) >= MAX_SETTINGS and name not in parameters):
        raise ProtocolError(f"it reports settings without end: {name[:60]}")
    parameters[name] = value


class ServerConnection(asyncio.Protocol):
    """A logged-in connection to a database."""

    __slots__ = (
        "_close_timer",
        "_on_closed",
        "_reset_done",
        "_reset_failed",
        "_shown",
        "_turn",
        "answer",
        "application_name",
        "asked",
        "baseline",
        "born",
        "cancels",
        "closing",
        "conversation",
        "doubt",
        "epoch",
        "fatal",
        "full",
        "hearing",
        "home",
        "id",
        "idle_since",
        "key",
        "known",
        "parameters",
        "passing",
        "passing_dropped",
        "pinged",
        "pool",
        "pools",
        "retiring",
        "sent",
        "sent_segment",
        "session",
        "statements",
        "suspects",
        "tail",
        "target",
        "target_counters",
        "tls",
        "transport",
        "waited",
    )

    def __init__(
        self,
        identity: int,
        home: Servers,
        pool: Pool[ServerConnection],
        parameters: dict[str, str],
        key: tuple[int, bytes] | None,
        *,
        tls: bool,
        statement_limit: int,
        counters: ProxyCounters,
        now: float,
        on_closed: Callable[[ServerConnection], None],
        known: Row | None = None,
    ) -> None:
        self.id = identity
        # The servers of its target, and that target.
        self.home = home
        self.target: Target = home.target
        # The failover epoch in which it was opened: it is not lent in another.
        self.epoch = home.epoch
        self.target_counters: Final = home.target.counters
        self._turn: Final = home.turn
        self.pools: Final[Pools[ServerConnection]] = home.pools
        self.pool = pool
        self.transport: asyncio.Transport
        self.tls = tls
        # What it reported at login, and what it reports now; equal until something is SET.
        self.baseline = parameters
        self.parameters = dict(parameters)
        # The value that the proxy has set for the client of the moment; None as at login.
        self.application_name: str | None = None
        # What a look showed after its login, and showed last (leak_guard).
        self.known = known
        self.answer: Row = ()
        # The text of the last simple query, and settings that an unpinned session has changed since
        # it borrowed this server: what they were, and what was running. Not None: have a look.
        self.asked = b""
        self.suspects: dict[str, tuple[str | None, bytes]] | None = None if known is None else {}
        # The bytes that went up last, and the sync point of the conversation that ends them.
        self.sent = b""
        self.sent_segment = -1
        # Whether its database takes writes is being asked, and its answer held back until then.
        self.doubt: Doubt | None = None
        # BackendKeyData: process id and secret, for cancelling.
        self.key = key
        self.conversation = Conversation()
        self.statements = ServerStatements(statement_limit, counters)
        # Who has borrowed it, and how long the first request waited for that, in seconds.
        self.session: Session | None = None
        self.waited = 0.0
        # The start of a message that is looked at only when whole.
        self.tail = b""
        # Bytes of the current message still to come, forwarded as they come; or going nowhere.
        self.passing = 0
        self.passing_dropped = False
        # The database does not take what was written: whoever holds it must not write more.
        self.full = False
        # Cancel requests on their way: it is not lent before they have arrived (invariant 1).
        self.cancels = 0
        # Why it is closed when it comes back; and why it is being closed, reading for the end only.
        self.retiring = ""
        self.closing = ""
        # It has said FATAL: its end of file is no surprise.
        self.fatal = False
        # Does the database acknowledge what it is sent?
        self.hearing = Hearing(None)
        # The last is when it was asked whether it is there (C-11).
        self.born = self.idle_since = self.pinged = now
        self._on_closed = on_closed
        self._reset_done: Callable[[ServerConnection], None] | None = None
        self._reset_failed = ""
        # How many queries are unanswered while the one whose row is kept is being answered.
        self._shown = 0
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def pristine(self) -> bool:
        """Does it report the settings that it had after its login?

        in_hot_standby may change under anybody: it is the database's state, not the session's.
        """
        return all(
            self.parameters.get(name) == value
            for name, value in self.baseline.items()
            if name != "in_hot_standby"
        )

    @property
    def proven(self) -> bool:
        """Is it, as far as can be seen, how it was after its login?"""
        return self.pristine and (self.known is None or self.answer == self.known)

    @property
    def has_the_last_word(self) -> bool:
        """Has it said FATAL, or half a message? Words of ours were too many, or its rest."""
        return self.fatal or self.passing > 0

    @property
    def resting(self) -> bool:
        """At rest, and not being reset."""
        return self.conversation.at_rest and self._reset_done is None

    @property
    def state(self) -> str:
        """In the words of the glossary, for those who look."""
        if self.closing:
            return "RETIRED"
        if self.cancels:
            return "CANCELLING"
        if self._reset_done is not None:
            return "RESETTING"
        return "IDLE" if self.session is None else "BORROWED"

    # -- the transport -------------------------------------------------------------------------

    def adopt(self, transport: asyncio.Transport, rest: bytes) -> None:
        """Take over the transport of a finished login, and what arrived behind it."""
        self.transport = transport
        self.hearing = Hearing(transport.get_extra_info("socket"))
        transport.set_protocol(self)
        transport.resume_reading()
        if rest:
            self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        """Bytes from the database: the session's, or for ourselves."""
        session = self.session
        if session is None:
            if not self.closing:
                self.overhear(data)
        elif len(data) < BUFFERFUL:
            session.on_server(self, data)
        else:
            walk = partial(session.on_server, self)
            self._turn.bufferful(self.transport, walk, data, self._read_on)

    def _read_on(self) -> None:
        """The others have been heard."""
        if self.transport.is_closing():
            return
        if self.session is None:
            self.transport.resume_reading()
        else:
            self.session.server_rested(self)

    def pause_writing(self) -> None:
        """The database does not take more: the client has to wait."""
        self.full = True
        if self.session is not None:
            self.session.server_full()

    def resume_writing(self) -> None:
        """It takes more again."""
        self.full = False
        if self.session is not None:
            self.session.server_drained()

    def eof_received(self) -> None:
        """The database has closed its side: so do we."""
        return

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; its place in the budget is free."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        session, self.session = self.session, None
        self._on_closed(self)
        if session is not None:
            session.server_lost(self)

    def send(self, data: bytes) -> None:
        """To the database, at the end of the turn."""
        self._turn.ask(self.transport, data)

    def probe(self) -> None:
        """Have it say something that we know, to see what else it still has to say."""
        self.conversation.probe()
        self.send(_PROBE)

    def report(self, name: str, value: str) -> None:
        """It reports a setting; raises ProtocolError for more than a database has to say."""
        remember(self.parameters, name, value)

    # -- closing -------------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """Say Terminate and wait for the database to let go, within CLOSE_GRACE.

        Waiting keeps the budget honest: the database counts a connection until it has ended.
        """
        if self.closing:
            return
        self.closing = why
        self.session = None
        self.transport.resume_reading()
        self.send(_TERMINATE)
        self._await_end()

    def cut(self, why: str) -> None:
        """Close it in the middle of something, where a Terminate might be taken for data."""
        if self.closing:
            return
        if not self.transport.can_write_eof():
            self.abort(why)
            return
        self.closing = why
        self.session = None
        self.transport.resume_reading()
        self._turn.flush()
        # The database may have reset it, and nobody has read that yet: asyncio's own loop raises.
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        self._await_end()

    def _await_end(self) -> None:
        if self._close_timer is not None:
            # Of a reset in the middle of which it is closed.
            self._close_timer.cancel()
        self._close_timer = asyncio.get_running_loop().call_later(CLOSE_GRACE, self.transport.abort)

    def abort(self, why: str) -> None:
        """Cut it off: it is out of step, and what it says next means nothing."""
        self.closing = self.closing or why
        self.session = None
        self.transport.abort()

    # -- reset ---------------------------------------------------------------------------------

    def reset(
        self,
        queries: tuple[str, ...],
        done: Callable[[ServerConnection], None],
        *,
        look: int = -1,
    ) -> None:
        """Bring the session back to how it was after login, and call `done` once that is answered.

        Rolls back first if a transaction is open, ends an unsynced pipeline before that. A reset
        that fails, or takes more than RESET_TIMEOUT, closes the connection; `done` is not called.
        The row that the query number `look` gives is kept in `answer`.
        """
        self._shown = len(queries) - look if look >= 0 else 0
        conversation = self.conversation
        messages = b""
        if conversation.unsynced or conversation.skipping:
            conversation.sync(HIDDEN_SYNC)
            messages += _SYNC
        # ROLLBACK outside a transaction is only a warning, so it needs no knowledge of a status
        # that the Sync above may still change.
        if conversation.status != IDLE or messages:
            queries = ("ROLLBACK", *queries)
        self.statements.unnamed = None
        for sql in queries:
            conversation.query(HIDDEN_QUERY)
            messages += frontend.Query(sql.encode()).encode()
        self._reset_done = done
        self._reset_failed = ""
        self._close_timer = asyncio.get_running_loop().call_later(
            RESET_TIMEOUT, self.abort, "its reset took too long"
        )
        self.transport.resume_reading()
        self.send(messages)
        if self.tail:
            self.overhear(b"")

    def forget_application_name(self) -> None:
        """Somebody else has set it: whatever the next client wants has to be set again."""
        self.application_name = _LOST_NAME

    def _finish_reset(self) -> None:
        done, self._reset_done = self._reset_done, None
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if not self.conversation.at_rest:
            self._reset_failed = self._reset_failed or "it was not at rest afterwards"
        if self._reset_failed or done is None:
            self.close(f"its reset failed: {self._reset_failed}")
            return
        done(self)

    # -- what it says to nobody ------------------------------------------------------------------

    def overhear(self, data: bytes) -> None:
        """Process bytes that are for no client; those of a message not yet whole stay in `tail`."""
        framer = Framer(MAX_OWN_MESSAGE)
        try:
            messages = framer.feed(self.tail + data)
            self.tail = framer.rest
            for tag, body in messages:
                self._on_message(tag, body)
                if self.closing:
                    return
        except ProtocolError as error:
            self.abort(f"it is out of step: {error}")
            return
        # Not before the last message: it may say that the database ends the connection.
        if self._reset_done is not None and not self.conversation.owed:
            self._finish_reset()

    def _on_message(self, tag: int, body: bytes) -> None:
        if tag == backend.READY_FOR_QUERY:
            self.conversation.ready(backend.ReadyForQuery.decode(body).status)
        elif tag == backend.ERROR_RESPONSE:
            self._on_error(backend.ErrorResponse.decode(body))
        elif tag == backend.PARAMETER_STATUS:
            name, value = backend.ParameterStatus.decode(body)
            self.report(name.decode(errors="replace"), value.decode(errors="replace"))
        elif tag == backend.COMMAND_COMPLETE and body.startswith(b"DISCARD ALL"):
            self.statements.forget_all()
            self.application_name = None
            self.suspects = None if self.known is None else {}
        elif tag == backend.COMMAND_COMPLETE and body.startswith(b"RESET\0"):
            self.application_name = None
        elif tag == backend.DATA_ROW:
            if len(self.conversation.owed) == self._shown:
                self.answer = backend.DataRow.decode(body).values
        elif tag not in _HARMLESS:
            raise ProtocolError(f"a message {chr(tag)!r} that nobody asked for")
        if tag in _ANSWERS and not self.conversation.owed:
            raise ProtocolError(f"an answer {chr(tag)!r} to nothing")

    def _on_error(self, error: backend.ErrorResponse) -> None:
        if error.severity in ("FATAL", "PANIC"):
            self.fatal = True
            # Its end may take a while to arrive; until then nobody may borrow it (invariant 1).
            self.pool.withdraw(self)
            self.close(f"the database ended it: {error.message}")
        elif self._reset_done is not None:
            self._reset_failed = error.message
            self.conversation.error(error.sqlstate.encode())
        else:
            raise ProtocolError(f"an error that nobody caused: {error.message}")

    def __repr__(self) -> str:
        return f"<Server {self.id} of {self.target.id} {self.conversation!r}>"


# What may come without meaning anything for an idle connection or a reset.
_HARMLESS: Final = frozenset(
    {
        backend.NOTICE_RESPONSE,
        backend.NOTIFICATION_RESPONSE,
        backend.COMMAND_COMPLETE,
        backend.EMPTY_QUERY_RESPONSE,
        backend.ROW_DESCRIPTION,
    }
)
# Of these, what only comes as an answer.
_ANSWERS: Final = frozenset(
    {
        backend.COMMAND_COMPLETE,
        backend.DATA_ROW,
        backend.EMPTY_QUERY_RESPONSE,
        backend.ROW_DESCRIPTION,
    }
)
