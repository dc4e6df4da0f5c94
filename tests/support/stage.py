"""One client, one server and the session between them, without a socket; and what they say."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

from protocol.postgres.conversation import IDLE
from pyproxy.config import CompatibilityConfig, TargetConfig
from pyproxy.logs import EventLog
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.ledger import Ledger
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.postgres.endpoint import Endpoint
from pyproxy.postgres.fleet import Fleet
from pyproxy.postgres.observer import Observer
from pyproxy.postgres.relay import Relay
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.server_login import ServerSettings
from pyproxy.postgres.servers import Servers
from pyproxy.postgres.statements import Catalog
from pyproxy.targets.target import Limits, Target
from pyproxy.turn import Turn
from tests.support.messages import message


class Wire:
    """A transport that keeps what it is given, until it is closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        # Is it read?
        self.reading = True
        # How much the peer has not taken yet.
        self.buffered = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def close(self) -> None:
        self.closed = True

    write_eof = close

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Stage:
    """One client, one server, and the session between them; no socket.

    Each turn of the loop is over at once; `long_turn`: not before the test says so. Each look at
    its clock is `slow` seconds after the last one.
    """

    def __init__(self, kind: type[Relay], *, long_turn: bool = False, slow: float = 0.0) -> None:
        self.ends: list[Callable[[], None]] = []
        soon = self.ends.append if long_turn else lambda end: end()
        turn = Turn(soon, itertools.count(0.0, slow).__next__)
        log = EventLog("default")
        target = Target(TargetConfig(id="db"))
        target.limits = Limits(1, 0, False)
        servers, lobby, reading_room = (
            Servers(
                target,
                cast(Any, None),
                ServerSettings(),
                log,
                turn=turn,
                counters=ProxyCounters(),
                random_id=lambda: 1,
                tls_context=lambda _: None,
                on_trouble=lambda _: None,
            )
            for _ in range(3)
        )
        switches = CompatibilityConfig()
        classifier = Classifier(switches)
        self.endpoint = Endpoint(
            "default",
            "READ_WRITE",
            Fleet([servers], lobby, reading_room),
            classifier,
            Catalog(classifier),
            Ledger(),
            log,
            turn=turn,
            observer=Observer(switches, ProxyCounters(), lambda *_: None, lambda: 0.0),
            cancel_keys=CancelKeys(),
            random_id=lambda: 1,
            session_mode=False,
        )
        self.pool = servers.pools.pool(PoolKey("app", "app"))
        self.server = ServerConnection(
            7,
            servers,
            self.pool,
            {},
            None,
            tls=False,
            statement_limit=50,
            counters=ProxyCounters(),
            now=0.0,
            on_closed=lambda _: None,
        )
        self.up, self.down = Wire(), Wire()
        self.server.adopt(cast(Any, self.up), b"")
        self.pool.opening += 1
        servers.pools.used += 1
        servers.pools.opened(self.pool, self.server)
        self._kind = kind
        self.session = self.client(1, self.down)

    def client(self, identity: int, wire: Wire) -> Relay:
        """A client of the same pool; the first one is `session`."""
        session = self._kind(
            identity,
            self.endpoint,
            self.server.home,
            self.pool,
            application_name=None,
            conforming=True,
            tls=False,
            now=0.0,
        )
        session.adopt(cast(Any, wire), b"")
        return session

    def play(self, from_client: bool, data: bytes) -> None:
        receiver = self.session if from_client else self.server
        receiver.data_received(data)

    def end_turn(self) -> None:
        while self.ends:
            self.ends.pop(0)()

    @property
    def state(self) -> dict[str, object]:
        """All that a later message could notice, and what the counters say."""
        session, server = self.session, self.server
        conversation, counters, naming = server.conversation, self.endpoint.counters, session.naming
        return {
            "up": self.up.written,
            "down": self.down.written,
            "held": session.server is server,
            "idle": server in self.pool.idle,
            "owes": len(conversation.owed) > 0,
            "status": conversation.status,
            "settled": conversation.settled,
            "segment": conversation.segment,
            "ended": session.ended,
            "pin": session.pin,
            "tail": bytes(session._tail or b""),
            "names": naming and {name: kept.definition for name, kept in naming.names.items()},
            "queries": counters.queries,
            "executes": counters.extended_queries,
            "latencies": counters.query_response_latency.count,
            "pipelines": counters.extended_response_latency.count,
            "statements": session.statements_seen,
        }

    @property
    def unnamed(self) -> tuple[object, object]:
        """What the unnamed statement is, here and there: the same once nothing is owed."""
        naming = self.session.naming
        here = naming and naming.unnamed
        there = self.server.statements.unnamed
        return here and here.definition, there and there.definition


def query(sql: bytes) -> bytes:
    return message(b"Q", sql + b"\0")


def parse(name: bytes, sql: bytes) -> bytes:
    return message(b"P", name + b"\0" + sql + b"\0\0\0")


def series(
    sql: bytes | None = b"SELECT $1",
    name: bytes = b"",
    *,
    described: bool = True,
    value: bytes = b"x",
) -> bytes:
    sent = parse(b"", sql) if sql is not None else b""
    parameter = b"\0\1" + len(value).to_bytes(4, "big") + value
    sent += message(b"B", b"\0" + name + b"\0" + b"\0\0" + parameter + b"\0\0")
    if described:
        sent += message(b"D", b"P\0")
    return sent + message(b"E", b"\0\0\0\0\0") + SYNC


def ready(status: int = IDLE) -> bytes:
    return message(b"Z", bytes((status,)))


def done(tag: bytes) -> bytes:
    return message(b"C", tag + b"\0")


def result(rows: int = 1) -> bytes:
    described = message(b"T", b"\0\1a\0" + b"\0" * 18)
    # A row that looks like the end of an answer.
    return described + message(b"D", b"\0\1\0\0\0\6" + ready()) * rows + done(b"SELECT 1")


SYNC = message(b"S")
PARSED, BOUND, CLOSED, NO_DATA = (message(tag) for tag in (b"1", b"2", b"3", b"n"))


# What a Describe of a statement is answered with: a parameter and a column, of these types.
def described(parameter: int = 25, column: int = 25, *, name: bytes = b"a") -> bytes:
    types = parameter.to_bytes(4, "big")
    place, kind = b"\0" * 6, column.to_bytes(4, "big")
    row = message(b"T", b"\0\1" + name + b"\0" + place + kind + b"\0\4" + b"\xff" * 4 + b"\0\0")
    return message(b"t", b"\0\1" + types) + row


INSERTED = done(b"INSERT 0 1")
ERROR = message(b"E", b"SERROR\0VERROR\0C42P01\0Mno such table\0\0")
NOTICE = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0")
