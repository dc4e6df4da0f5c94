"""A `View` with known rows, and as many clients as a test wants."""

from collections.abc import Iterable

from pyproxy.dashboard.view import (
    ApplicationRow,
    ClientRow,
    EventRow,
    PinnedSessionRow,
    PinRow,
    PoolRow,
    ProxySummary,
    Reading,
    ServerRow,
    TargetRow,
)
from pyproxy.metrics.counters import LATENCY_BOUNDS


def client_row(number: int) -> ClientRow:
    """One client of every three waits, one of every ten is of another pool."""
    return {
        "id": 4173595554 - number,
        "endpoint": "default",
        "pool": "report@shop" if number % 10 == 9 else "app@shop",
        "user": "app",
        "database": "shop",
        "application_name": "checkout",
        "address": f"127.0.0.1:{40000 + number % 20000}",
        "tls": number % 2 == 0,
        "state": "WAITING" if number % 3 == 2 else "IDLE",
        "server": None,
        "in_transaction": False,
        "pin": None,
        "age": 61.5,
        "state_age": 0.25,
    }


def pin_row(rule: str, digest: str, remedy: str) -> PinRow:
    return {
        "rule": rule,
        "reason": "SQL changed session settings that the proxy doesn't track.",
        "digest": digest,
        "count": 12,
        "held": 3,
        "held_seconds": 340.5,
        "idle_seconds": 300.25,
        "waited": 5,
        "application_name": "psql",
        "driver": "psql",
        "remedy": remedy,
    }


def session_row(*, held: bool) -> PinnedSessionRow:
    return {
        "client": 4173595554,
        "server": 529039385,
        "endpoint": "default",
        "user": "app",
        "database": "shop",
        "application_name": "psql",
        "driver": "psql",
        "rule": "PIN-PG-01",
        "reason": "SQL changed session settings that the proxy doesn't track.",
        "statement": "SET search_path TO app, public",
        "digest": "set search_path to $1,$2",
        "number": 3,
        "since": "2026-05-04T12:00:00.000+00:00",
        "held": held,
        "held_seconds": 90.5,
        "idle_seconds": 80.25,
        "waited": 2,
        "remedy": "Put it into the init query.",
    }


def application_row(name: str, clients: int) -> ApplicationRow:
    return {
        "application_name": name,
        "pool": "app@shop",
        "clients": clients,
        "idle": clients - 1,
        "waiting": 0,
        "borrowed": 1,
        "in_transaction": 0,
        "pinned": 0,
    }


class FakeView:
    """Everything at once, nothing real. Change an attribute to change what is seen."""

    def __init__(self, clients: int = 3) -> None:
        self.client_count = clients
        # Rows that were built: an answer must not build more than it shows.
        self.built = 0
        # Snapshots that were made: nobody who listens means none.
        self.looks = 0
        self.is_ready = True
        self.started_at = "2026-05-04T11:00:00.000+00:00"
        self.all_applications = [application_row("checkout", 3)]
        self.queries = 1000
        self.borrows = [0] * (len(LATENCY_BOUNDS) + 1)
        self.all_events: list[EventRow] = [event_row(1), event_row(2)]
        self.all_pins = [
            pin_row(
                "PIN-PG-01",
                "set search_path to $1,$2",
                "Put it into the init query, or into the startup parameters of the client.",
            ),
            pin_row("PIN-PG-06", "listen jobs", "Listen on a connection that bypasses the proxy."),
        ]

        self.all_sessions = [session_row(held=True), session_row(held=False)]

    def proxy(self) -> ProxySummary:
        self.looks += 1
        return {
            "db_proxy_name": "demo",
            "version": "0.1.0",
            "build": "plain",
            "engine_family": "POSTGRESQL",
            "pool_mode": "transaction",
            "started_at": self.started_at,
            "uptime": 4000.0,
            "extensions": [],
            "endpoints": [
                {
                    "db_proxy_endpoint_name": "default",
                    "host": "127.0.0.1",
                    "port": 6432,
                    "target_role": "READ_WRITE",
                    "clients": self.client_count,
                }
            ],
            "clients": self.client_count,
            "clients_waiting": self.client_count // 3,
            "servers": 20,
            "borrowed": 12,
            "in_transaction": 5,
            "pinned": 7,
            "max_connections": 100,
            "pins_total": 24,
        }

    def clients(self) -> Iterable[ClientRow]:
        for number in range(self.client_count):
            self.built += 1
            yield client_row(number)

    def servers(self) -> Iterable[ServerRow]:
        return [
            {
                "id": 529039385,
                "target": "db-a",
                "epoch": 1,
                "pool": "app@shop",
                "process_id": 4711,
                "tls": True,
                "state": "BORROWED",
                "client": 4173595554,
                "application_name": "checkout",
                "in_transaction": True,
                "pin": None,
                "age": 120.0,
                "state_age": 0.002,
            }
        ]

    def pools(self) -> Iterable[PoolRow]:
        return [
            {
                "pool": pool,
                "target": "db-a",
                "user": pool.partition("@")[0],
                "database": "shop",
                "servers": 10,
                "idle": 4,
                "borrowed": 6,
                "pinned": pinned,
                "waiting": waiting,
                "longest_wait": 1.25 * waiting,
            }
            for pool, pinned, waiting in (("app@shop", 7, 2), ("report@shop", 0, 0))
        ]

    def pins(self) -> Iterable[PinRow]:
        return self.all_pins

    def pinned_sessions(self) -> Iterable[PinnedSessionRow]:
        return self.all_sessions

    def waiting(self) -> Iterable[ClientRow]:
        return [row for row in map(client_row, range(9)) if row["state"] == "WAITING"]

    def applications(self) -> Iterable[ApplicationRow]:
        return self.all_applications

    def reading(self) -> Reading:
        return Reading(8, 5, 3, 4, 0, self.queries, tuple(self.borrows))

    def targets(self) -> Iterable[TargetRow]:
        return [
            {
                "id": name,
                "host": "127.0.0.1",
                "port": port,
                "role": role,
                "available": self.is_ready,
                "state": "AVAILABLE" if self.is_ready else "UNAVAILABLE",
                "reason": "" if self.is_ready else "UNREACHABLE",
                "description": "" if self.is_ready else "connection refused",
                "timeline": 1,
                "lag": 0.0,
                "epoch": 1,
                "servers": 10,
                "borrowed": 6,
                "in_transaction": 3,
                "pinned": 7,
                "max_connections": 50,
            }
            for name, port, role in (("db-a", 5432, "READ_WRITE"), ("db-b", 5433, "READ_ONLY"))
        ]

    def events(self) -> Iterable[EventRow]:
        return self.all_events

    def ready(self) -> tuple[bool, str]:
        if self.is_ready:
            return True, "db-a is available"
        return False, "no target is available: db-a refuses connections"


def event_row(number: int) -> EventRow:
    return {
        "id": number,
        "time": "2026-05-04T12:00:00.000Z",
        "event": "RDS-EVENT-0207",
        "category": "configuration change",
        "message": f"RDS modified endpoint my-endpoint-{number} of DB Proxy demo.",
    }
