"""The servers of one target: opened for the pools, reset, cut off, closed.

The pools decide and this does: it logs in with the user's secret, and reports how it went. A
database that is away is tried again until the waiting clients' time is over; one that refuses the
user or the database says so to those who wait (E-PG-17).

Which role the target has is the fleet's to say. Servers are of the epoch in which they were
opened; when it ends they are lent no more (invariant 1), and each new one has to prove the role.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

from protocol.postgres.errors import ProtocolError
from protocol.postgres.sqlstate import INVALID_PASSWORD, PASSING, TOO_MANY_CONNECTIONS
from pyproxy import errors
from pyproxy.auth.credentials import Credentials
from pyproxy.logs import EventLog
from pyproxy.metrics.counters import ProxyCounters, TargetCounters
from pyproxy.pinning.audit import LOOK, RELEASE
from pyproxy.pooling.pool import Pool
from pyproxy.pooling.pools import PoolLimits, Pools
from pyproxy.postgres.cancel import send_cancel
from pyproxy.postgres.connect import Connected, Refused, in_words
from pyproxy.postgres.doubts import Doubts
from pyproxy.postgres.inquiry import Inquiry
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.server_login import (
    ServerLogin,
    ServerSettings,
    WrongRoleError,
    require_role,
)
from pyproxy.targets.probe import AUTH_FAILURE, CONNECTION_FAILED, INVALID_REPLICATION_STATE
from pyproxy.targets.target import READ_WRITE, Target
from pyproxy.turn import Turn

# How long a connection to a database may take to be logged in, in seconds.
CONNECT_TIMEOUT: Final = 15.0
# An idle connection is asked something so often, in seconds (C-11; AWS says "occasionally"): so the
# database's idle_session_timeout, and whoever forgets silent connections on the way, starts anew.
PING: Final = 60.0
# The cheapest question that PostgreSQL answers.
_NOTHING: Final = ("",)


class Servers:
    """Opens, resets and closes the servers of one target."""

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        settings: ServerSettings,
        log: EventLog,
        *,
        turn: Turn,
        counters: ProxyCounters,
        random_id: Callable[[], int],
        tls_context: Callable[[Target], ssl.SSLContext | None],
        on_trouble: Callable[[Target], None],
    ) -> None:
        self.target: Final = target
        # What its servers are lent for, and each that is opened has to prove; "" until known.
        self.role = ""
        # Counts up whenever the role may have changed hands.
        self.epoch = 0
        self.settings = settings
        self._credentials = credentials
        self._login: Final = ServerLogin(target, credentials, tls_context)
        self._log = log
        self.turn: Final = turn
        self._counters = counters
        self._random_id = random_id
        self._tls_context = tls_context
        # Told when a server breaks or cannot be opened: the target may be dead.
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        # Tasks under way; the loop itself keeps only weak references.
        self._tasks: set[asyncio.Task[None]] = set()
        # Those of them that open a server; for those in line one that is cancelled is done again.
        self._opening: set[asyncio.Task[None]] = set()
        self._inquiry = Inquiry(target, self._connect, self._require_role, self._shuts_out, log)
        self.doubts: Final = Doubts(self._inquiry.takes_no_writes, self._spawn)
        # While it is looked whether a target answers again.
        self._recovering: asyncio.Task[None] | None = None
        self.pools = self._make_pools()
        self.all: set[ServerConnection] = set()

    def _make_pools(self) -> Pools[ServerConnection]:
        return Pools(
            self._pool_limits(),
            open_server=self._start,
            close_server=ServerConnection.close,
            clock=self._loop.time,
            soon=self.turn.at_end,
        )

    # -- settings ------------------------------------------------------------------------------

    def apply(self, settings: ServerSettings) -> None:
        """New settings: for the pools at once, for the servers as they are opened anew."""
        why = self._outdated(settings)
        if why:
            self.expire_servers(why)
            self._abandon_openings()
        self.settings = settings
        self.pools.limits = self._pool_limits()

    def _outdated(self, settings: ServerSettings) -> str:
        """Why servers that are open, or being opened, are not what they ought to be any more."""
        if settings.init_query != self.settings.init_query:
            return "the init query has changed"
        return "leak_guard was switched" if settings.leak_guard != self.settings.leak_guard else ""

    def expire_servers(self, why: str) -> None:
        """Close the idle servers, and the others when they come back."""
        self.pools.close_idle(why)
        for server in self.all:
            server.retiring = why

    def _pool_limits(self) -> PoolLimits:
        limits = self.target.limits
        settings = self.settings
        timeout = settings.connection_borrow_timeout
        if limits is None:
            # One connection finds out what the target allows.
            return PoolLimits(1, 1, timeout)
        idle = limits.max_connections * settings.max_idle_connections_percent // 100
        return PoolLimits(limits.allowed(settings.max_connections_percent), idle, timeout)

    def care(self) -> None:
        """Close what is too old or too long idle; call it every second or so."""
        self.pools.care()
        now = self._loop.time()
        for server in list(self.all):
            if server.session is None:
                server.sent = b""
            if server.hearing.lost(now):
                note = "The database acknowledges nothing any more on a connection that is in use."
                self._log.note("WARN", note, None, server.id)
                server.transport.abort()
        for pool in self.pools:
            self._ping(pool, now)

    def _ping(self, pool: Pool[ServerConnection], now: float) -> None:
        """Ask one of a pool's idle connections; the others are there for who comes meanwhile."""
        server = min(pool.idle, key=_heard, default=None)
        if server is not None and now - _heard(server) >= PING:
            server.pinged = now
            pool.withdraw(server)
            server.reset(_NOTHING, partial(self._pinged, server.idle_since))

    def _pinged(self, since: float, server: ServerConnection) -> None:
        if server.cancels or server.retiring:
            self.release(server)
        else:
            self.pools.put_down(server.pool, server, since)

    # -- the role ------------------------------------------------------------------------------

    def take_role(self, role: str, epoch: int) -> None:
        """Lend for `role`, after `resume`. Servers of another epoch are not lent again."""
        if (role, epoch) != (self.role, self.epoch):
            self.hold()
            self._abandon_openings()
            self.expire_servers(why := "its target has another role now")
            if role != self.role:
                self.part_with_keepers(why)
            self.role, self.epoch = role, epoch

    def resume(self) -> None:
        """Lend again."""
        if self.pools.paused:
            self.pools.resume()

    def hold(self) -> None:
        """Lend nothing until it is known how the target is; what is lent stays so."""
        if not self.pools.paused:
            self.pools.pause()

    def fence(self, why: str) -> None:
        """The target has lost its role: end everything that its servers are doing."""
        self.hold()
        self.role = ""
        self._abandon_openings()
        for server in list(self.all):
            self._cut_off(server, why)

    def part_with_keepers(self, why: str) -> None:
        """A session that keeps its server would go on where its role is not any more (FO-04)."""
        for server in list(self.all):
            if server.session is not None and server.session.keeps_server:
                self._cut_off(server, why)

    def _cut_off(self, server: ServerConnection, why: str) -> None:
        session = server.session
        # It may never answer again: to wait for it would keep its place in the budget.
        server.abort(why)
        if session is not None:
            session.server_lost(server)

    # -- opening -------------------------------------------------------------------------------

    def _start(self, pool: Pool[ServerConnection]) -> None:
        self.target.counters.requests += 1
        task = self._spawn(self._open(pool))
        self._opening.add(task)
        task.add_done_callback(partial(self._was_opening, pool))

    def _was_opening(self, pool: Pool[ServerConnection], task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled():  # Maybe before it has begun.
            self.target.counters.setup_failed += 1
            self.pools.open_abandoned(pool)

    def _abandon_openings(self) -> None:
        """What is being opened is not what is wanted any more."""
        for task in self._opening:
            task.cancel()

    async def _open(self, pool: Pool[ServerConnection]) -> None:
        """Open one server for `pool` and tell the pools how it went."""
        target = self.target
        error: errors.ProxyError | None = None
        about = ""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connected = await self._connect(pool, target.counters)
            self._require_role(connected)
        except Refused as refused:
            why, about = refused.message, refused.about
            # In a rotation the database is ahead of the secret for a moment (AU-12). As long as
            # older connections of the user live, its clients get those instead of an error.
            rotating = refused.sqlstate == INVALID_PASSWORD and pool.size > 0
            if refused.sqlstate == TOO_MANY_CONNECTIONS and self.all:
                # A role's or a database's limit is none of the target's, nor is one reached by us.
                pass
            elif refused.sqlstate in PASSING:
                target.troubled(why)
            elif not rotating:
                error = errors.request_error(why)
                if self._shuts_out(refused, pool):
                    target.troubled(why, AUTH_FAILURE)
        except (OSError, ProtocolError) as problem:
            why = in_words(problem) or f"it did not answer within {CONNECT_TIMEOUT:g} s"
            misplaced = isinstance(problem, WrongRoleError)
            target.troubled(why, INVALID_REPLICATION_STATE if misplaced else CONNECTION_FAILED)
        except Exception as bug:
            # The place in the budget and those who wait must not be lost with it (invariant 10).
            self._log.failure(None)
            why = f"an error of the proxy itself: {bug}"
            error = errors.unknown_error()
        else:
            target.trouble = ""
            self._opened(pool, connected)
            return
        target.counters.setup_failed += 1
        self._log.note("WARN", f"no connection to target {target.id}: {about}{why}")
        if target.trouble:
            self._on_trouble(target)
            if target.health is None and self._recovering is None:
                self._recovering = self._spawn(self._recover(pool))
        self.pools.open_failed(pool, why, error)
        self._try_again(pool)

    def _shuts_out(self, refused: Refused, pool: Pool[ServerConnection]) -> bool:
        """Does the database not accept the password of the only user that there is?"""
        only = self._credentials.users() == (pool.key.user,) and self.settings.role is None
        return refused.sqlstate == INVALID_PASSWORD and only and not self.all

    async def _connect(self, pool: Pool[ServerConnection], counters: TargetCounters) -> Connected:
        return await self._login.connect(pool.key, self.settings, counters)

    def _require_role(self, connected: Connected) -> None:
        require_role(connected, self.role)

    async def _recover(self, pool: Pool[ServerConnection]) -> None:
        """Nobody probes it: find out when it answers again."""
        try:
            await self._inquiry.until_it_answers(pool)
        finally:
            self._recovering = None

    def _try_again(self, pool: Pool[ServerConnection]) -> None:
        """Serve who waits as soon as `pool` may open a server again."""
        self._loop.call_later(max(pool.retry_at - self._loop.time(), 0) + 0.01, self.pools.serve)

    def _opened(self, pool: Pool[ServerConnection], connected: Connected) -> None:
        target = self.target
        target.counters.setup_succeeded += 1
        server = ServerConnection(
            self._random_id(),
            self,
            pool,
            connected.parameters,
            connected.key,
            tls=connected.tls,
            statement_limit=self.settings.statement_limit,
            counters=self._counters,
            now=self._loop.time(),
            on_closed=self._closed,
            known=connected.known,
        )
        self.all.add(server)
        pool.parameters = connected.parameters
        self.pools.limits = self._pool_limits()
        transport, rest = connected.stream.hand_over()
        server.adopt(transport, rest)
        self._log.server_connected(
            None,
            server.id,
            transport.get_extra_info("sockname"),
            transport.get_extra_info("peername"),
        )
        if server.closing:
            # A database that shuts down lets in who was at the door, and says goodbye.
            self.pools.opened_in_vain(pool, server.closing)
            self._try_again(pool)
        else:
            self.pools.opened(pool, server)

    def refuses_writes(self, server: ServerConnection) -> None:
        """A write was refused on it: has the database lost its role? Look at once (FO-08)."""
        if self.role == READ_WRITE:
            self._on_trouble(server.target)

    def turned_read_only(self, server: ServerConnection) -> None:
        """It has reported that its database takes no writes any more: so will the others."""
        if self.role == READ_WRITE:
            self.expire_servers("its database takes no writes any more")
            self.refuses_writes(server)

    # -- coming back ---------------------------------------------------------------------------

    def release(self, server: ServerConnection) -> None:
        """A server at rest comes back."""
        server.waited = 0.0
        if server.cancels:
            # It is in use by the cancel request on its way; `cancel` gives it back (invariant 1).
            server.pool.withdraw(server)
        elif server.retiring:
            self.pools.retire(server.pool, server, server.retiring)
        else:
            self.pools.release(server.pool, server)

    def reset(self, server: ServerConnection, client: int, log: EventLog) -> None:
        """Undo what a session has changed: the effect of DISCARD ALL, init query again (END-02)."""
        self._reset(server, self._with_init_query("DISCARD ALL"), client, log)

    def look(self, server: ServerConnection, done: Callable[[ServerConnection], None]) -> None:
        """See what a session has left behind, and undo what cannot be seen (leak_guard).

        `done` finds what there was in `server.answer`; it has to release the server or reset it.
        """
        server.pool.withdraw(server)
        server.reset(self._with_init_query(RELEASE), done, look=0)

    def roll_back(self, server: ServerConnection, client: int, log: EventLog) -> None:
        """Undo an open transaction: nothing else has been changed (END-03)."""
        self._reset(server, (), client, log)

    def retire(self, server: ServerConnection, why: str) -> None:
        """Lend it no more."""
        self.pools.retire(server.pool, server, why)

    def cut(self, server: ServerConnection, why: str) -> None:
        """Get rid of a server in the middle of something, and stop what it is doing."""
        server.pool.withdraw(server)
        if server.key is not None and server.conversation.owed:
            self._spawn(self._cancel(server))
        server.cut(why)

    def _with_init_query(self, sql: str) -> tuple[str, ...]:
        again = self.settings.init_query
        return (sql, again) if again else (sql,)

    def _reset(
        self, server: ServerConnection, queries: tuple[str, ...], client: int, log: EventLog
    ) -> None:
        server.pool.withdraw(server)
        proves = bool(queries)
        look = -1
        if proves and server.known is not None:
            look = len(queries)
            queries += (LOOK,)

        def done(server: ServerConnection) -> None:
            if proves and not server.proven:
                self.retire(server, "it was not as at login after the reset")
                return
            log.released_upon_reset(client, server.id)
            self.release(server)

        server.reset(queries, done, look=look)

    # -- cancelling ----------------------------------------------------------------------------

    def cancel(self, server: ServerConnection) -> asyncio.Task[None] | None:
        """Cancel what it is running; until that has arrived it is not lent to anybody else."""
        if server.key is None:
            return None
        server.cancels += 1
        return self._spawn(self._cancel_and_return(server))

    async def _cancel_and_return(self, server: ServerConnection) -> None:
        await self._cancel(server)
        server.cancels -= 1
        held_back = server.session is None and not server.closing and server.resting
        if not server.cancels and held_back and server not in server.pool.idle:
            self.release(server)

    async def _cancel(self, server: ServerConnection) -> None:
        assert server.key is not None
        try:
            await send_cancel(server.target, server.key, self._tls_context(server.target))
        except (OSError, TimeoutError, ssl.SSLError, ProtocolError):
            # It may be on its way still: whoever got the server next might be hit by it.
            server.retiring = server.retiring or "a cancel request to it got no answer"

    # -- closing -------------------------------------------------------------------------------

    def _closed(self, server: ServerConnection) -> None:
        self.all.discard(server)
        if server.fatal or not server.closing:
            self._on_trouble(self.target)
        why = server.closing or "the database closed it"
        self._log.note("INFO", f"The database connection closed. Reason: {why}.", None, server.id)
        self.pools.closed(server.pool, server)

    async def stop(self) -> None:
        """Close every server and wait until the databases have let go."""
        self.pools.pause()
        for task in list(self._tasks):
            task.cancel()
        for server in list(self.all):
            server.pool.withdraw(server)
            server.close("the proxy is shutting down")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        deadline = self._loop.time() + 2.0
        while self.all and self._loop.time() < deadline:  # noqa: ASYNC110 - at the end only
            await asyncio.sleep(0.01)
        for server in list(self.all):
            server.abort("the proxy is shutting down")

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _heard(server: ServerConnection) -> float:
    """When a connection that idles has answered last."""
    return max(server.idle_since, server.pinged)
