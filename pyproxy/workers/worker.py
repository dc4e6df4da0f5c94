"""A worker: an App that has clients, pools and servers, and leaves the rest to the supervisor.

It listens where all workers listen. What it may open is lent to it (`pooling.leased`); who writes
it is told. When its channel ends, so does it: no worker outlives its supervisor.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from protocol.postgres.startup import CancelRequest
from pyproxy import logs
from pyproxy.app import App, Login
from pyproxy.config import MOST_WORKERS, EndpointConfig
from pyproxy.dashboard.view import EventCategory
from pyproxy.listener import Listener
from pyproxy.pooling.leased import LeasedPools
from pyproxy.pooling.pool import Pool
from pyproxy.pooling.pools import PoolLimits, Pools
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.postgres.connect import Connected
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.servers import Servers
from pyproxy.postgres.session import Session
from pyproxy.targets.target import Target
from pyproxy.view import ProxyView
from pyproxy.workers.budget import Claimed, Granted, Order, Refused
from pyproxy.workers.channel import Channel
from pyproxy.workers.messages import (
    BEAT,
    Cancel,
    Cancelled,
    Drain,
    Drained,
    Gave,
    Happened,
    Learnt,
    Lease,
    Look,
    Message,
    Pulse,
    Ready,
    Reload,
    Row,
    Rows,
    Steer,
    Stop,
    Suspect,
    TargetPulse,
    Want,
    Welcome,
)
from pyproxy.workers.tally import values_of

# Rows that are made in one go.
SLICE: Final = 200
# The number of a worker in the ids of its connections: they are the proxy's, and unique in it.
_NUMBER_BITS: Final = (MOST_WORKERS - 1).bit_length()
# How long another worker may take to pass a cancel request on, in seconds.
_CANCEL_PATIENCE: Final = 10.0
# How often it is looked whether a new writer has answered, and for how long, in seconds.
_ANSWER_INTERVAL: Final = 0.01
_ANSWER_PATIENCE: Final = 10.0

Send = Callable[[Message], None]


class WorkerView(ProxyView):
    """A worker's part of what is seen; events are the supervisor's to number."""

    def __init__(self, app: App, send: Send) -> None:
        super().__init__(app)
        self._send = send

    def happened(self, event: str, category: EventCategory, message: str) -> None:
        """Tell the supervisor."""
        self._send(Happened(event, category, message))


class Lender(NamedTuple):
    """The supervisor, as one of its workers has it."""

    number: int
    """Which of them, from 1."""

    workers: int
    """How many there are."""

    send: Send


def learnt(target: Target) -> Learnt:
    """What is known of a target here."""
    return Learnt(target.id, target.limits, target.trouble, target.reason)


class LeasedServers(Servers):
    """The servers of one target, in places that the supervisor lends."""

    # Set as soon as it is made; nothing is opened or asked for before.
    lender: Lender

    def _make_pools(self) -> Pools[ServerConnection]:
        name = self.target.id
        self.leased: LeasedPools[ServerConnection] = LeasedPools(
            PoolLimits(0, 0, self.settings.connection_borrow_timeout),
            open_server=self._start,
            close_server=ServerConnection.close,
            clock=self._loop.time,
            want=lambda *wish: self.lender.send(Want(name, *wish)),
            give=lambda places: self.lender.send(Gave(name, places)),
            soon=self.turn.at_end,
        )
        return self.leased

    def ordered(self, order: Order) -> None:
        """What the supervisor says about places."""
        match order:
            case Granted(places):
                self.leased.granted(places)
            case Refused():
                self.leased.refused()
            case Claimed(spare, must):
                self.leased.claimed(spare, must)

    def _pool_limits(self) -> PoolLimits:
        """The share; of the idle ones that all may keep, an even part, the first ones one more."""
        limits = super()._pool_limits()
        number, workers, _ = self.lender
        idle = (limits.max_idle_connections + workers - number) // workers
        return replace(limits, max_connections=self.leased.share, max_idle_connections=idle)

    async def _recover(self, pool: Pool[ServerConnection]) -> None:
        await super()._recover(pool)
        self.lender.send(learnt(self.target))

    def _opened(self, pool: Pool[ServerConnection], connected: Connected) -> None:
        self.lender.send(learnt(self.target)._replace(key=connected.key))
        super()._opened(pool, connected)


class WorkerApp(App):
    """One of several processes that serve clients."""

    def __init__(self, welcome: Welcome, channel: Channel) -> None:
        self.number: Final = welcome.number
        self._channel: Final = channel
        self._monitored: Final = welcome.monitored
        self._numbers = itertools.count(1)
        # By target.
        self._leased: dict[str, LeasedServers] = {}
        # Cancel requests that other workers are passing on.
        self._passed: dict[int, asyncio.Future[None]] = {}
        super().__init__(welcome.config)

    # -- as App, and what is different ---------------------------------------------------------

    def _say(self, level: str, message: str) -> None:
        """The supervisor reads the same files and says it."""

    def _modified(self) -> None:
        """The supervisor tells it."""

    def _make_view(self) -> ProxyView:
        return WorkerView(self, self._channel.send)

    def _make_cancel_keys(self) -> CancelKeys[Session]:
        return CancelKeys(worker=self.number)

    def random_id(self) -> int:
        """An id as App's, and no other worker's."""
        return self._random.getrandbits(32 - _NUMBER_BITS) << _NUMBER_BITS | self.number - 1

    def _make_listener(self, config: EndpointConfig, login: Login) -> Listener:
        return Listener(config.host, config.port, login, self._complain, shared=True)

    def _servers_of(self, target: Target) -> Servers:
        servers = self._leased[target.id] = self._make_servers(target, LeasedServers)
        servers.lender = Lender(self.number, self.config.workers, self._channel.send)
        return servers

    def _on_trouble(self, target: Target) -> None:
        self._channel.send(learnt(target))
        self._channel.send(Suspect(target.id))

    async def _watch_targets(self) -> None:
        """The supervisor does; here it is only waited for."""
        self._gate.elsewhere = self._pass_on
        if self._monitored:
            self.fleet.wait_for_roles()
        else:
            self.fleet.go_unwatched()

    async def _open_house(self) -> None:
        """Nothing is shown here; the counters go to the supervisor."""
        self._spawn(self._beat())

    # -- the channel ---------------------------------------------------------------------------

    async def serve(self) -> bool:
        """Do as the supervisor says until it says Stop; False when it has gone."""
        self._channel.send(Ready())
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, Stop):
                return True
            try:
                self._heard(message)
            except Exception:
                self.log.failure(None)
        return False

    def _heard(self, message: Message) -> None:
        match message:
            case Steer(decision, epoch):
                self._steer(decision, epoch)
                # Who has lost a server by it belongs to the same failover.
                self._channel.send(self._pulse())
                if decision.writer is not None:
                    self._spawn(self._await_answer(decision.writer))
            case Lease(target, order):
                self._leased[target].ordered(order)
            case Reload(config):
                self.apply(config)
            case Look():
                self._spawn(self._show(message))
            case Drain():
                self._spawn(self._drain())
            case Cancel():
                self._spawn(self._cancel(message))
            case Cancelled(number):
                passed = self._passed.get(number)
                if passed is not None and not passed.done():
                    passed.set_result(None)
            case _:
                raise AssertionError(f"a supervisor does not say {type(message).__name__}")

    async def _drain(self) -> None:
        await self.drain()
        self._channel.send(self._pulse())
        self._channel.send(Drained())

    # -- cancelling ----------------------------------------------------------------------------

    async def _pass_on(self, request: CancelRequest) -> None:
        """A key that is not ours: perhaps another worker's."""
        number = next(self._numbers)
        passed = self._passed[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Cancel(number, request.process_id, request.secret_key))
        try:
            await asyncio.wait((passed,), timeout=_CANCEL_PATIENCE)
        finally:
            del self._passed[number]

    async def _cancel(self, message: Cancel) -> None:
        """A request that came in at another worker."""
        session = self._cancel_keys.owner(message.process_id, message.secret_key)
        if "cancel_requests" in self.config.extensions:
            await self._gate.cancel_of(session)
        self._channel.send(Cancelled(message.number))

    # -- telling -------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._channel.send(self._pulse())
            await asyncio.sleep(BEAT)

    async def _await_answer(self, writer: str) -> None:
        """The monitor wants to know when a new writer has answered first: tell it at once."""
        counters = next(target.counters for target in self.targets if target.id == writer)

        def answers() -> int:
            return counters.query_response_latency.count + counters.extended_response_latency.count

        before, deadline = answers(), self.now() + _ANSWER_PATIENCE
        while self.now() < deadline:
            if answers() > before:
                self._channel.send(self._pulse())
                return
            await asyncio.sleep(_ANSWER_INTERVAL)

    def _pulse(self, number: int | None = None) -> Pulse:
        readings = self.view.readings
        return Pulse(
            {name: values_of(endpoint.counters) for name, endpoint in self.endpoints.items()},
            {
                target.id: TargetPulse(
                    values_of(target.counters),
                    readings.gauges(target),
                    target.sessions_lost,
                    frozenset(
                        server.key for server in self.fleet.of(target).all if server.key is not None
                    ),
                )
                for target in self.targets
            },
            values_of(readings.own),
            self.view.reading(),
            number,
        )

    async def _show(self, look: Look) -> None:
        """Send lists in slices; between two of them others may run."""
        for name in look.lists:
            rows: list[Row] = []
            for row in islice(getattr(self.view, name)(), look.limit):
                rows.append(row)
                if len(rows) == SLICE:
                    self._channel.send(Rows(look.number, name, rows))
                    rows = []
                    await self._channel.drain()
                    await asyncio.sleep(0)
            self._channel.send(Rows(look.number, name, rows))
        self._channel.send(self._pulse(look.number))


async def work(handle: int) -> int:
    """Be the worker at the end of the socket with this file descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # They are for the supervisor, who says what to do; a terminal sends them to all.
        signal.signal(number, signal.SIG_IGN)
    channel = await Channel.over(socket.socket(fileno=handle))
    welcome = await channel.receive()
    if not isinstance(welcome, Welcome):
        return 1
    logs.configure(sys.stderr, json=welcome.log_as_json)
    app = WorkerApp(welcome, channel)
    try:
        await app.start()
    except Exception:
        app.log.failure(None)
        return 1
    try:
        told = await app.serve()
    finally:
        await app.stop()
        channel.close()
    return 0 if told else 1
