"""What can be seen of a running proxy: the JSON API's rows.

It reads the rooms when somebody asks and keeps nothing itself, so the hot path owes it nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import pyproxy
from pyproxy.addresses import join
from pyproxy.build import BUILD
from pyproxy.dashboard.view import (
    ApplicationRow,
    ClientRow,
    EndpointRow,
    EventCategory,
    EventRow,
    PinnedSessionRow,
    PinRow,
    PoolRow,
    ProxySummary,
    Reading,
    ServerRow,
    TargetRow,
)
from pyproxy.logs import format_address
from pyproxy.pinning.ledger import remedy
from pyproxy.pooling.pool import Pool
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.session import Session
from pyproxy.readings import ProxyReadings, in_transaction, pinned

if TYPE_CHECKING:
    from pyproxy.app import App

# How many events are remembered.
EVENTS: Final = 1000
# How many clients of each line are shown.
WAITING: Final = 20

# What a client does, each state above the ones before it: a pinned one in a transaction is pinned.
IDLE_CLIENT: Final = 0
WAITING_CLIENT: Final = 1
BORROWED: Final = 2
IN_TRANSACTION: Final = 3
PINNED: Final = 4

# Some are born in the same millisecond: their order must not depend on a set's.
_BORN: Final = attrgetter("born", "id")


class ProxyView:
    """The application, seen from outside."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._events: deque[EventRow] = deque(maxlen=EVENTS)
        self._event_number = 0
        self.readings = self._make_readings(app)

    def _make_readings(self, app: App) -> ProxyReadings:
        return ProxyReadings(app)

    def happened(self, event: str, category: EventCategory, message: str) -> None:
        """Remember an event (EV)."""
        self._event_number += 1
        self._events.append(
            EventRow(
                id=self._event_number,
                time=_instant(time.time()),
                event=event,
                category=category,
                message=message,
            )
        )

    # -- the JSON API --------------------------------------------------------------------------

    def proxy(self) -> ProxySummary:
        """The proxy as a whole."""
        app = self._app
        config = app.config
        gauges = [self.readings.gauges(target) for target in app.targets]
        return ProxySummary(
            db_proxy_name=config.proxy.db_proxy_name,
            version=pyproxy.__version__,
            build=BUILD,
            engine_family=config.proxy.engine_family,
            pool_mode=config.pool_mode,
            started_at=_instant(app.started_at),
            uptime=time.time() - app.started_at,
            extensions=sorted(config.extensions),
            endpoints=[self._endpoint(name) for name in app.endpoints],
            clients=sum(endpoint.counters.open for endpoint in app.endpoints.values()),
            clients_waiting=sum(gauge.waiting for gauge in gauges),
            servers=sum(gauge.connections for gauge in gauges),
            borrowed=sum(gauge.borrowed for gauge in gauges),
            in_transaction=sum(gauge.in_transaction for gauge in gauges),
            pinned=sum(gauge.pinned for gauge in gauges),
            max_connections=sum(gauge.max_allowed for gauge in gauges),
            pins_total=sum(sum(target.counters.pins.values()) for target in app.targets),
        )

    def clients(self) -> Iterator[ClientRow]:
        """Client connections that have logged in, the oldest first: so that pages stay put."""
        now = self._app.now()
        for endpoint in self._app.endpoints.values():
            for session in sorted(endpoint.sessions, key=_BORN):
                # The reader may take its time, and clients go.
                if not session.ended:
                    yield self._client(session, now)

    def waiting(self) -> Iterator[ClientRow]:
        """Clients in line for a server, the longest wait first, and at most some of each pool."""
        now = self._app.now()
        first = [
            borrower
            for servers in self._app.fleet.everywhere()
            for pool in servers.pools
            for borrower in islice(pool.waiting, WAITING)
            if isinstance(borrower, Session)
        ]
        for session in sorted(first, key=lambda session: session.waiting_since):
            yield self._client(session, now)

    def applications(self) -> Iterator[ApplicationRow]:
        """Clients by application and pool, the largest group first."""
        groups: dict[tuple[str | None, Pool[ServerConnection]], list[int]] = {}
        for endpoint in self._app.endpoints.values():
            for session in endpoint.sessions:
                key = (session.application_name, session.pool)
                counts = groups.get(key)
                if counts is None:
                    counts = groups[key] = [0] * 5
                counts[_doing(session)] += 1
        for (name, pool), counts in sorted(groups.items(), key=lambda group: -sum(group[1])):
            yield ApplicationRow(
                application_name=name or "",
                pool=_pool_name(pool),
                clients=sum(counts),
                idle=counts[IDLE_CLIENT],
                waiting=counts[WAITING_CLIENT],
                borrowed=counts[BORROWED],
                in_transaction=counts[IN_TRANSACTION],
                pinned=counts[PINNED],
            )

    def servers(self) -> Iterator[ServerRow]:
        """Server connections, the oldest first."""
        now = self._app.now()
        for servers in self._app.fleet:
            for server in sorted(servers.all, key=_BORN):
                yield self._server(server, now)

    def reading(self) -> Reading:
        """The numbers of this moment."""
        lent = [0] * 5
        groups = self._app.fleet
        changing = sum(pool.opening for servers in groups for pool in servers.pools)
        idle = 0
        for servers in groups:
            for server in servers.all:
                session = server.session
                if session is not None:
                    lent[_doing(session)] += 1
                elif server.state == "IDLE":
                    idle += 1
                else:
                    changing += 1
        counters = [endpoint.counters for endpoint in self._app.endpoints.values()]
        return Reading(
            idle=idle,
            borrowed=lent[BORROWED],
            in_transaction=lent[IN_TRANSACTION],
            pinned=lent[PINNED],
            changing=changing,
            queries=sum(c.queries + c.extended_queries for c in counters),
            borrows=tuple(map(sum, zip(*(c.borrow_latency.counts for c in counters), strict=True))),
        )

    def pools(self) -> Iterator[PoolRow]:
        """Pools."""
        now = self._app.now()
        for servers in self._app.fleet:
            for pool in list(servers.pools):
                first = pool.next_waiting()
                yield PoolRow(
                    pool=_pool_name(pool),
                    target=servers.target.id,
                    user=pool.key.user,
                    database=pool.key.database,
                    servers=pool.size,
                    idle=len(pool.idle),
                    borrowed=len(pool.lent),
                    pinned=sum(pinned(server) for server in pool.lent),
                    waiting=len(pool.waiting),
                    longest_wait=now - first.waiting_since if first is not None else 0.0,
                )

    def pins(self) -> Iterator[PinRow]:
        """Pins by rule, digest and application, those with the most pins first."""
        ledger = self._app.ledger
        ledger.observe(self._app.now())
        for group in ledger.groups():
            yield PinRow(
                rule=group.rule,
                reason=group.reason,
                digest=group.digest,
                application_name=group.application,
                driver=group.driver,
                count=group.count,
                held=group.held,
                held_seconds=group.seconds,
                idle_seconds=group.idle,
                waited=group.waited,
                remedy=remedy(group.rule),
            )

    def pinned_sessions(self) -> Iterator[PinnedSessionRow]:
        """Pins one by one, those that hold a server first."""
        ledger = self._app.ledger
        now = self._app.now()
        ledger.observe(now)
        # The reader may take its time, and pins come and go.
        for pin in list(ledger.pins()):
            facts = pin.facts
            since = time.time() - (now - pin.since)
            yield PinnedSessionRow(
                client=facts.session,
                server=facts.server,
                endpoint=facts.endpoint,
                user=facts.user,
                database=facts.database,
                application_name=facts.application_name,
                driver=pin.driver,
                rule=facts.rule,
                reason=facts.reason,
                statement=facts.statement,
                digest=facts.digest,
                number=facts.number,
                since=_instant(since),
                held=pin.ended is None,
                held_seconds=pin.seconds,
                idle_seconds=pin.idle,
                waited=pin.waited,
                remedy=remedy(facts.rule),
            )

    def targets(self) -> Iterator[TargetRow]:
        """Targets."""
        for target in self._app.targets:
            gauges = self.readings.gauges(target)
            health = target.in_aws_words
            yield TargetRow(
                id=target.id,
                host=target.config.host,
                port=target.config.port,
                role=health.role,
                available=gauges.available,
                state=health.state,
                reason=health.reason,
                description=health.description,
                timeline=target.timeline,
                lag=target.lag,
                epoch=self._app.fleet.of(target).epoch,
                servers=gauges.connections,
                borrowed=gauges.borrowed,
                in_transaction=gauges.in_transaction,
                pinned=gauges.pinned,
                max_connections=gauges.max_allowed,
            )

    def events(self) -> Iterable[EventRow]:
        """The latest events, oldest first."""
        return list(self._events)

    def ready(self) -> tuple[bool, str]:
        """It listens, and a target is available, or none was asked yet."""
        app = self._app
        if not app.listening:
            return False, "the proxy is not accepting connections"
        health = {target.id: target.in_aws_words for target in app.targets}
        for name, seen in health.items():
            if seen.state == "AVAILABLE":
                return True, f"listening, and target {name} is available"
        troubles = [
            f"target {name}: {seen.description}"
            for name, seen in health.items()
            if seen.state == "UNAVAILABLE"
        ]
        if len(troubles) == len(health):
            return False, "no target is available: " + "; ".join(troubles)
        return True, "listening; no client has needed a target yet"

    # -- inside --------------------------------------------------------------------------------

    def _endpoint(self, name: str) -> EndpointRow:
        app = self._app
        listener = app.listeners[name]
        role = next(e.target_role for e in app.config.endpoints if e.db_proxy_endpoint_name == name)
        return EndpointRow(
            db_proxy_endpoint_name=name,
            host=listener.host,
            port=listener.port,
            target_role=role,
            clients=app.endpoints[name].counters.open,
        )

    def _client(self, session: Session, now: float) -> ClientRow:
        server = session.server
        if server is not None:
            state = "ACTIVE" if not server.conversation.at_rest else "IDLE"
        else:
            state = "WAITING" if session.waiting else "IDLE"
        peer = session.transport.get_extra_info("peername")
        since = session.waiting_since if state == "WAITING" else session.idle_since
        age = now - session.born
        busy = session.busy_for()
        return ClientRow(
            id=session.id,
            endpoint=session.endpoint.name,
            pool=_pool_name(session.pool),
            user=session.pool.key.user,
            database=session.pool.key.database,
            application_name=session.application_name or "",
            address=join(*format_address(peer)),
            tls=session.tls,
            state=state,
            server=server.id if server is not None else None,
            in_transaction=server is not None and in_transaction(server),
            pin=session.pin.rule if session.pin is not None else None,
            age=age,
            state_age=max(now - since, 0.0) if busy is None else min(busy, age),
        )

    def _server(self, server: ServerConnection, now: float) -> ServerRow:
        session = server.session
        pin = session.pin if session is not None else None
        return ServerRow(
            id=server.id,
            target=server.target.id,
            epoch=server.epoch,
            pool=_pool_name(server.pool),
            process_id=server.key[0] if server.key is not None else 0,
            tls=server.tls,
            state=server.state,
            client=session.id if session is not None else None,
            application_name=(session.application_name or "") if session is not None else "",
            in_transaction=in_transaction(server),
            pin=pin.rule if pin is not None else None,
            age=now - server.born,
            state_age=now - server.idle_since,
        )


def _doing(session: Session) -> int:
    """What a client does: IDLE_CLIENT, WAITING_CLIENT, BORROWED, IN_TRANSACTION or PINNED."""
    if session.pin is not None:
        return PINNED
    if session.server is None:
        return WAITING_CLIENT if session.waiting else IDLE_CLIENT
    return IN_TRANSACTION if in_transaction(session.server) else BORROWED


def _instant(seconds: float) -> str:
    """A time of the world, as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _pool_name(pool: Pool[ServerConnection]) -> str:
    """user@database, and the startup settings that make it a pool of its own."""
    key = pool.key
    settings = "".join(f" {name}={value}" for name, value in key.startup)
    return f"{key.user}@{key.database}{settings}"
