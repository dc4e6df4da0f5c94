"""One client's stay after its login: what it holds, what it waits for, and how it ends.

`Session` is everything but the walk of the bytes, which `relay.Relay` adds. It borrows a server
when the walk asks for one, keeps it while pinned (C-09), gives it back, and sees to it that every
end, by whichever side and in whichever state, leaves a server that is clean or closed.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

from protocol.postgres import frontend
from protocol.postgres.conversation import FAILED, HIDDEN_QUERY
from protocol.postgres.quoting import literal
from pyproxy import errors
from pyproxy.errors import ProxyError
from pyproxy.pinning.classifier import Pin
from pyproxy.postgres.client_side import ClientSide

if TYPE_CHECKING:
    from pyproxy.pinning.classifier import Verdict
    from pyproxy.pooling.pool import Pool
    from pyproxy.postgres.endpoint import Endpoint
    from pyproxy.postgres.prepared import Naming
    from pyproxy.postgres.server import ServerConnection
    from pyproxy.postgres.servers import Servers

# How much of a client's is held back before it is read no further, in bytes: also the longest Query
# or Parse that is judged as a whole. A longer one, many times PIN-ALL-01's 16 kB, streams through.
HOLD_LIMIT: Final = 256 * 1024

_FLUSH: Final = frontend.Flush().encode()
_RESET_APPLICATION_NAME: Final = frontend.Query(b"RESET application_name").encode()


class Session(ClientSide):
    """A logged-in client."""

    __slots__ = (
        "_before",
        "_brief",
        "_defaults_name",
        "_held",
        "_instead",
        "_need",
        "_passing",
        "_passing_dropped",
        "_pipelined",
        "_portals",
        "_resets",
        "_started",
        "_tail",
        "application_name",
        "born",
        "cancel_key",
        "conforming",
        "home",
        "id",
        "idle_since",
        "naming",
        "on_borrow",
        "pin",
        "pool",
        "statements_seen",
        "touched",
        "waiting_since",
    )

    def __init__(
        self,
        identity: int,
        endpoint: Endpoint,
        home: Servers,
        pool: Pool[ServerConnection],
        *,
        application_name: str | None,
        conforming: bool,
        tls: bool,
        now: float,
        pin_on_borrow: Pin | None = None,
    ) -> None:
        super().__init__(endpoint, tls=tls)
        self.id = identity
        # Whose servers it borrows, and from which of their pools.
        self.home = home
        self.pool = pool
        # As the client gave it at startup; its server is set to it while it is lent (ST-05).
        self.application_name = application_name
        # The session's standard_conforming_strings: how its string literals are read.
        self.conforming = conforming
        # What a CancelRequest for it has to show (extension).
        self.cancel_key: tuple[int, bytes] | None = None
        # Why it holds its server for good.
        self.pin: Pin | None = None
        # What is to be done with the next server that it is lent, before anything goes up.
        self.on_borrow: Callable[[ServerConnection], None] | None = None
        if pin_on_borrow is not None:
            # A startup setting that only a server of one's own can have (extension).
            self.on_borrow = partial(self._pin, pin=pin_on_borrow)
        self.naming: Naming | None = None
        # Verdicts of bound portals that will do something when they are executed.
        self._portals: dict[bytes, Verdict] | None = None
        # Bytes not walked yet: the start of a message, or all that is held back.
        self._tail: bytes | bytearray | None = None
        # The walk goes on when at least so many bytes are in the tail.
        self._need = 0
        # The tail waits for a server, or for an answer that decides what it means.
        self._held = False
        # Bytes of the client's current message still to come, and whether they go nowhere.
        self._passing = 0
        self._passing_dropped = False
        # What goes down in the place of a hidden reply.
        self._instead = b""
        # A request of the short walk is on its way, and nothing else has happened since.
        self._brief = False
        # Replies that are held back ahead of a refusal (`refused_writes`).
        self._before = b""
        # There was a RESET or DISCARD ALL since the last ReadyForQuery.
        self._resets = False
        # A statement under way puts application_name back to what it was at login.
        self._defaults_name = False
        # When the query of the moment came in, by perf_counter.
        self._started = 0.0
        # When the first Execute came in that no Sync has been answered for; 0 for none.
        self._pipelined = 0.0
        self.waiting_since = 0.0
        self.statements_seen = 0
        self.born = now
        # Upkeep turns `touched` into a time, so that no query has to ask the clock.
        self.touched = True
        self.idle_since = now

    # -- for the subclass ----------------------------------------------------------------------

    @abstractmethod
    def _walk(self, data: bytes) -> None:
        """Process bytes of the client, the first of which begins a message or continues one."""

    @abstractmethod
    def on_server(self, server: ServerConnection, data: bytes) -> None:
        """Process bytes of the server that this session holds."""

    @abstractmethod
    def _fail(self, server: ServerConnection | None) -> None:
        """End the session for an error of ours; its server, if that has spoken, is out of step."""

    # -- the transport -------------------------------------------------------------------------

    def adopt(self, transport: asyncio.Transport, rest: bytes) -> None:
        """Take over the transport of a finished login, and what arrived behind it."""
        self.transport = transport
        transport.set_protocol(self)
        self.endpoint.entered(self)
        transport.resume_reading()
        if rest:
            self.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, politely or not."""
        if self.ended or self._goodbye_waits():
            # Its last requests run all the same, and then it ends.
            self._lost()
            return
        self.endpoint.log.client_channel_closed(self.id)
        self._end(stays=False)

    def _goodbye_waits(self) -> bool:
        """Is there a Terminate behind the last of what is held back?"""
        return self._held and frontend.ends_in_terminate(bytes(self._tail or b""))

    # -- borrow and release --------------------------------------------------------------------

    def _borrow(self) -> ServerConnection | None:
        """A server from the pool, or None: then `lent` or `refused` will be called."""
        pool = self.pool
        server = pool.take()
        while server is not None and server.transport.is_closing():
            # Its end has been read in this very turn of the loop, and is told in the next one. What
            # is not written to it has not reached it (invariant 5).
            pool.withdraw(server)
            server = pool.take()
        if server is None:
            self.home.pools.wait(pool, self)
            return None
        self.endpoint.borrowed_at_once(server)
        self._take(server)
        return server

    def _take(self, server: ServerConnection) -> None:
        """The server is ours: make it look like ours."""
        self.server = server
        server.session = self
        if server.full:
            self.server_full()
        if self._blocked:
            server.transport.pause_reading()
        if server.application_name is not self.application_name:
            self._rename_application(server)
        if self.on_borrow is not None:
            self.on_borrow(server)

    def _rename_application(self, server: ServerConnection) -> None:
        """Set application_name ahead of the client's request; the client never sees the answer.

        Between the requests of a pipeline, and in a failed transaction, it has to wait.
        """
        name = self.application_name
        if name != server.application_name:
            conversation = server.conversation
            if not conversation.settled or conversation.status == FAILED:
                return
            if self.naming is not None and self.naming.irreplaceable:
                return
            self._send_application_name(server, name)
        # The very same object from now on, so that the next look is a comparison of pointers.
        server.application_name = name

    def _send_application_name(self, server: ServerConnection, name: str | None) -> None:
        server.conversation.query(HIDDEN_QUERY)
        server.statements.unnamed = None
        if name is None:
            server.send(_RESET_APPLICATION_NAME)
        else:
            sql = f"SET application_name = {literal(name)}"
            server.send(frontend.Query(sql.encode()).encode())

    def lent(self, server: ServerConnection) -> bool:
        """The wait is over: go on with what was held back. False as in `_borrow`."""
        if server.transport.is_closing():
            return False
        self.endpoint.waited(self, server)
        try:
            self._take(server)
        except Exception:
            # Others are in line behind us.
            self._fail(None)
        else:
            self._go_on()
        return True

    def _repeats(self, queries: int, executes: int, _server: ServerConnection) -> None:
        """So much of what it asked before is asked now once more: that counts once."""
        self.on_borrow = None
        self.statements_seen -= queries + executes
        self.endpoint.repeated(self, queries, executes)

    def refused(self, error: ProxyError) -> None:
        """There is no server for us: tell the client, and part."""
        self.endpoint.borrow_aborted(self.home)
        # It stands in no line any more, so its end is no second abort.
        self._held = False
        self.end(error.in_session(), str(error))

    def move(self, home: Servers) -> None:
        """Borrow another target's servers from now on; a wait goes on there, with its time."""
        pool = home.pools.pool(self.pool.key)
        waiting = self.waiting
        if waiting:
            self.home.pools.leave(self.pool, self)
        self.pool.clients -= 1
        pool.clients += 1
        self.home, self.pool = home, pool
        if waiting:
            home.pools.stand(pool, self)

    def _go_on(self) -> None:
        """Walk what was held back."""
        tail, self._tail = self._tail, None
        self._held = False
        if not tail:
            return
        self._walk(bytes(tail))
        if len(tail) > HOLD_LIMIT:
            # It has not been read since.
            self._resume_reading()

    def _resume_reading(self) -> None:
        if not (self._held and len(self._tail or b"") > HOLD_LIMIT):
            super()._resume_reading()

    def _release(self, server: ServerConnection) -> None:
        """The server is at rest: others may have it."""
        self.server = None
        server.session = None
        self._portals = None
        if self._blocked:
            server.transport.resume_reading()
        if server.full:
            # It has yet to drain what it ignores (copy data after an error), and tells us no more.
            self._resume_reading()
        if server.suspects is not None:
            self.endpoint.observer.released(self, server)
        elif server.cancels or server.retiring:
            server.home.release(server)
        else:
            # What its home would do with it.
            server.pools.release(server.pool, server)

    def unobserved(self, server: ServerConnection) -> bool:
        """Is the session not pinned, and what is being answered not our own query?"""
        owed = server.conversation.owed
        ours = bool(owed) and owed[0] is HIDDEN_QUERY
        return self.pin is None and not ours and not self.endpoint.session_mode

    def take_trail(self) -> list[bytes]:
        """What has run since the server was borrowed, where that is remembered (extension)."""
        return []

    def _pin(self, server: ServerConnection, pin: Pin) -> None:
        """Keep the server until the client ends (C-09). The first reason is the one reported."""
        if self.pin is None:
            self.pin = pin
            self.on_borrow = None
            self.endpoint.pinned(self, server, pin)

    def cancel(self) -> asyncio.Task[None] | None:
        """A CancelRequest with our key: stop what we have running, and nobody else.

        Returns what ends when the request has arrived, or None when there is nothing to stop.
        """
        server = self.server
        if server is None or not server.conversation.owed:
            return None
        return server.home.cancel(server)

    # -- the end -------------------------------------------------------------------------------

    def end(self, error: ProxyError | None, why: str) -> None:
        """End the session from our side; `error` is the one thing that the client is told."""
        if self.ended:
            return
        self.endpoint.log.client_closed_by_proxy(self.id, why)
        if error is not None and (self.server is None or not self.server.has_the_last_word):
            self._last_words = error.response()
        self._part()
        self._end(stays=False)

    def _terminated(self) -> None:
        """The client has said Terminate."""
        self.endpoint.log.client_requested_close(self.id)
        self._leave()

    def _rejected(self, error: ProxyError) -> None:
        """The client has sent what is no message."""
        self.endpoint.log.client_closed_by_proxy(self.id, error.message)
        self._last_words = error.response()
        if self.server is not None and self.server.conversation.unsynced:
            # PostgreSQL's own words would bring the answers with them.
            self.server.send(_FLUSH)
        self._leave()

    def _leave(self) -> None:
        """Read the client no further: what it asked for before still runs, and is answered."""
        self.endpoint.turn.flush()
        self._end(stays=True)
        server = self.server
        if not self._leaving:
            self._part()
        elif server is not None and server.tail:
            # An answer may be held back (`refused_writes`) behind which nothing comes any more.
            self.on_server(server, b"")

    def _end(self, *, stays: bool) -> None:
        self.ended = True
        self._tail = None
        endpoint = self.endpoint
        endpoint.left(self)
        server = self.server
        if server is None:
            if self._held:
                self.home.pools.leave(self.pool, self)
                endpoint.borrow_aborted(self.home)
            return
        self._settle_last(server, stays=stays)
        if self.server is server:
            self._stay(server)

    def _settle_last(self, server: ServerConnection, *, stays: bool = True) -> None:
        """Part with the server; if the client `stays`, once its last requests are answered.

        PostgreSQL reads a message after what came before it.
        """
        conversation = server.conversation
        if stays and server.has_the_last_word and not self._passing:
            # There is more to come, or its end.
            return
        # What is not synced is answered before last words, and not to who has said Terminate.
        awaited = conversation.awaits_answer if self._last_words else conversation.awaits_ready
        unfinished = conversation.feeding or (conversation.unsynced and not awaited)
        half_way = self._passing > 0 or server.passing > 0
        if (conversation.settled or conversation.skipping) and not half_way:
            # An error may have made the server discard all that was to come, up to a Sync that
            # nobody will send.
            self._give_back(server)
        elif unfinished or half_way or not stays:
            # Nobody will feed or end it: PostgreSQL fails a COPY, and a pipeline, with its client.
            self._abandon(server)

    def _let_go(self, server: ServerConnection) -> None:
        """It is this session's no more. Behind its last word ours are too many, or amid it."""
        self.server = None
        if server.has_the_last_word:
            self._last_words = b""

    def _abandon(self, server: ServerConnection) -> None:
        """The client has ended in the middle of a request: so does the request."""
        self._let_go(server)
        self.endpoint.unpinned(self)
        self._part_if_leaving()
        self.endpoint.log.closed_mid_request(self.id, server.id)
        server.home.cut(server, "its client was closed in the middle of a request")

    def _give_back(self, server: ServerConnection) -> None:
        """The client has ended and nothing is owed: reset what it has changed (invariant 2)."""
        self._let_go(server)
        server.session = None
        self._part_if_leaving()
        if self._blocked:
            server.transport.resume_reading()
        servers = server.home
        if self.keeps_server:
            self.endpoint.unpinned(self)
        if server.conversation.perhaps:
            servers.retire(server, "a Sync ahead of a failed COPY may be answered late")
        elif self.keeps_server:
            if self.pin is not None and self.pin.destroys:
                servers.retire(server, "the session has loaded what no reset can unload")
            else:
                servers.reset(server, self.id, self.endpoint.log)
        elif server.suspects is not None:
            self.endpoint.observer.released(self, server)
        elif server.conversation.at_rest:
            servers.release(server)
        else:
            servers.roll_back(server, self.id, self.endpoint.log)

    def server_lost(self, server: ServerConnection) -> None:
        """The server has gone while it was ours. The session goes too: what it had is lost."""
        self._let_go(server)
        # What was held back for an answer of it stands in no line.
        self._held = False
        self.endpoint.unpinned(self)
        if self.ended:
            self._part_if_leaving()
            return
        server.target.sessions_lost += 1
        error = None
        if not server.has_the_last_word:
            error = errors.server_lost(pinned_for=self.pin.reason if self.pin is not None else "")
        self.end(error, "the database connection was lost")

    # -- for who looks -------------------------------------------------------------------------

    @property
    def keeps_server(self) -> bool:
        """Does it keep what it is lent to its end?"""
        return self.pin is not None or self.endpoint.session_mode

    @property
    def waiting(self) -> bool:
        """Is it in line for a server?"""
        return self._held and self.server is None

    @property
    def quiet(self) -> bool:
        """Nothing under way: no request, no transaction, no wait."""
        server = self.server
        return not self._held and (server is None or server.conversation.at_rest)

    @property
    def busy(self) -> bool:
        """Does it wait, or is its request under way?"""
        server = self.server
        return self._held or (server is not None and not server.conversation.settled)

    def busy_for(self) -> float | None:
        """For how many seconds its request has been under way; None when nothing is owed."""
        server = self.server
        if server is None or not server.conversation.owed:
            return None
        return perf_counter() - (self._pipelined or self._started)

    @property
    def waits(self) -> int:
        """How many clients have had to wait for a server of its target since the start."""
        return self.home.pools.waits
