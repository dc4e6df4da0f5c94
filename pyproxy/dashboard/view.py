"""What the HTTP side asks of the application, and so the schema of the JSON API.

`View` is implemented by the application. Its methods are called on the event loop, must not
block, and return rows in the order in which they should be shown. They may be generators: a
reader that wants 200 of 10 000 clients takes no more than it needs, and takes them at once,
without giving up the loop in between.

Durations are seconds, times are ISO 8601 in UTC, ids are those of the log lines.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, Protocol, TypedDict, get_args

EventCategory = Literal["configuration change", "failover", "failure", "pinning", "rehearsal"]
"""`configuration change` and `failure` are of RDS' own events (EV); the others are ours."""

CLIENT_STATES: Final = ("IDLE", "WAITING", "ACTIVE")
SERVER_STATES: Final = ("IDLE", "BORROWED", "CANCELLING", "RESETTING", "RETIRED")
TARGET_ROLES: Final = ("READ_WRITE", "READ_ONLY", "UNKNOWN")
EVENT_CATEGORIES: Final[tuple[str, ...]] = get_args(EventCategory)


class EndpointRow(TypedDict):
    """One endpoint, in AWS's words."""

    db_proxy_endpoint_name: str
    host: str
    port: int
    target_role: str
    """READ_WRITE or READ_ONLY."""

    clients: int
    """Open client connections, those in setup included."""


class ProxySummary(TypedDict):
    """The proxy as a whole."""

    db_proxy_name: str
    version: str
    build: str
    """`plain` or `compiled`."""

    engine_family: str
    pool_mode: str
    """`transaction` or `session`."""

    started_at: str
    """When; another time means another process, whose event ids begin anew."""

    uptime: float
    extensions: list[str]
    endpoints: list[EndpointRow]
    clients: int
    clients_waiting: int
    """Clients in line for a server."""

    servers: int
    """Open server connections, of all targets."""

    borrowed: int
    in_transaction: int
    pinned: int
    max_connections: int
    """The budget of all targets together."""

    pins_total: int
    """Sessions pinned since the start."""


class ClientRow(TypedDict):
    """One client connection that has logged in."""

    id: int
    endpoint: str
    pool: str
    """The `pool` of the pool it borrows from."""

    user: str
    database: str
    application_name: str
    address: str
    """`host:port` of the client."""

    tls: bool
    state: str
    """One of CLIENT_STATES."""

    server: int | None
    """The server it has borrowed."""

    in_transaction: bool
    pin: str | None
    """The rule that pinned it."""

    age: float
    state_age: float
    """How long it has waited, run its request, or had none."""


class ServerRow(TypedDict):
    """One server connection."""

    id: int
    target: str
    epoch: int
    """The failover epoch in which it was opened; it is lent in no other."""

    pool: str
    process_id: int
    """The database's process, as in pg_stat_activity."""

    tls: bool
    state: str
    """One of SERVER_STATES."""

    client: int | None
    """The client that has borrowed it."""

    application_name: str
    """What that client calls itself; or ""."""

    in_transaction: bool
    pin: str | None
    age: float
    state_age: float
    """Since it was last given back, or opened: no clock is asked when it is lent."""


class PoolRow(TypedDict):
    """One pool: the connections that a user has to a database of a target."""

    pool: str
    """Its name, for `?pool=`."""

    target: str
    user: str
    database: str
    servers: int
    idle: int
    borrowed: int
    pinned: int
    waiting: int
    longest_wait: float


class PinRow(TypedDict):
    """Pins of one rule, one statement and one application, counted together."""

    rule: str
    reason: str
    """What the log line says, in AWS's words where they are known."""

    digest: str
    """The statement with its literals replaced."""

    application_name: str
    driver: str
    """The driver, as far as its name, its startup or the statement tells; or ""."""

    count: int
    """Sessions pinned since the start."""

    held: int
    """Of those, sessions that hold their server still."""

    held_seconds: float
    """Time that servers have been held altogether."""

    idle_seconds: float
    """Of that, time in which no request and no transaction was under way."""

    waited: int
    """How often clients had to wait meanwhile, there being no server left; once for each pin."""

    remedy: str
    """How to avoid it."""


class PinnedSessionRow(TypedDict):
    """One pin: a session that holds its server, or one of the last that did."""

    client: int
    server: int
    endpoint: str
    user: str
    database: str
    application_name: str
    driver: str
    """As in `PinRow`."""

    rule: str
    reason: str
    statement: str
    """What pinned, as the client sent it; its beginning."""

    digest: str
    number: int
    """Which statement of the session it was, as they ran, counted from 1."""

    since: str
    """When it was pinned."""

    held: bool
    """Whether it holds its server still."""

    held_seconds: float
    idle_seconds: float
    waited: int
    """As in `PinRow`."""

    remedy: str


class ApplicationRow(TypedDict):
    """The clients of one application in one pool; the five states add up to `clients`."""

    application_name: str
    pool: str
    clients: int
    idle: int
    waiting: int
    borrowed: int
    """With a server, in no transaction, not pinned."""

    in_transaction: int
    """In a transaction, not pinned."""

    pinned: int


class TargetRow(TypedDict):
    """One target."""

    id: str
    host: str
    port: int
    role: str
    """One of TARGET_ROLES."""

    available: bool
    state: str
    """REGISTERING, AVAILABLE or UNAVAILABLE (TH-01)."""

    reason: str
    """Why it is not available, in AWS's words (TH-02): UNREACHABLE and so on; empty if it is."""

    description: str
    """The same in a sentence."""

    timeline: int
    """The database's own, as last seen; it counts up with each promotion."""

    lag: float
    """Seconds that a standby's data is old."""

    epoch: int
    """The failover epoch in which it got its role."""

    servers: int
    borrowed: int
    in_transaction: int
    pinned: int
    max_connections: int


class EventRow(TypedDict):
    """Something that happened to the proxy, as RDS events tell it."""

    id: int
    """Ascending; a stream resumes after the last one seen."""

    time: str
    event: str
    """`RDS-EVENT-0204` and so on where AWS has one (`rds_events`); a word of ours otherwise."""

    category: EventCategory
    message: str


class Reading(NamedTuple):
    """The numbers of one moment: server connections by what they do, and what has been counted."""

    idle: int
    borrowed: int
    """With a client, in no transaction, not pinned."""

    in_transaction: int
    """In a transaction, not pinned."""

    pinned: int
    changing: int
    """Being opened, reset, cancelled or closed."""

    queries: int
    """Since the start, by both protocols."""

    borrows: tuple[int, ...]
    """Since the start, by the buckets of `metrics.counters.LATENCY_BOUNDS`."""


class View(Protocol):
    """All that can be seen from outside."""

    def proxy(self) -> ProxySummary:
        """The proxy as a whole."""

    def clients(self) -> Iterable[ClientRow]:
        """Client connections."""

    def servers(self) -> Iterable[ServerRow]:
        """Server connections."""

    def pools(self) -> Iterable[PoolRow]:
        """Pools."""

    def pins(self) -> Iterable[PinRow]:
        """Pins, by rule and digest; those that cost most come first."""

    def pinned_sessions(self) -> Iterable[PinnedSessionRow]:
        """Pins one by one: who holds a server, the longest first, then the latest of the rest."""

    def waiting(self) -> Iterable[ClientRow]:
        """Clients in line for a server, the longest wait first."""

    def applications(self) -> Iterable[ApplicationRow]:
        """Clients by application and pool, the largest group first."""

    def targets(self) -> Iterable[TargetRow]:
        """Targets."""

    def events(self) -> Iterable[EventRow]:
        """The latest events, oldest first."""

    def reading(self) -> Reading:
        """The numbers of this moment."""

    def ready(self) -> tuple[bool, str]:
        """Whether clients can be served, and why (not)."""
