"""One target: a database instance, what it allows, and what was learnt of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.config import TargetConfig
from pyproxy.metrics.counters import TargetCounters
from pyproxy.targets.probe import AUTH_FAILURE, CONNECTION_FAILED

READ_WRITE: Final = "READ_WRITE"
READ_ONLY: Final = "READ_ONLY"
UNKNOWN: Final = "UNKNOWN"

# Is a primary that makes its transactions read-only set to do so for everybody? What is set for
# the user or database that asks says nothing of the others. Source: pg_settings.source.
REFUSES_WRITES: Final = """\
CASE WHEN pg_catalog.current_setting('default_transaction_read_only') = 'on' THEN
 (SELECT s.source NOT IN ('user', 'database user', 'database', 'client', 'session')
  FROM pg_catalog.pg_settings s WHERE s.name = 'default_transaction_read_only')
 ELSE false END"""

# Asked once on a new server connection. Every name is qualified: a client's search_path must
# never decide what the proxy itself runs (CVE-2025-12819 of PgBouncer).
LIMITS_QUERY: Final = (
    "SELECT pg_catalog.current_setting('max_connections'),"
    " pg_catalog.current_setting('superuser_reserved_connections'),"
    " coalesce(pg_catalog.current_setting('reserved_connections', true), '0'),"
    " pg_catalog.pg_is_in_recovery(), " + REFUSES_WRITES
)


class Limits(NamedTuple):
    """What a target said of itself."""

    max_connections: int
    reserved: int
    """Places that only superusers, or roles with pg_use_reserved_connections, may take."""

    in_recovery: bool
    refuses_writes: bool = False
    """A primary that its configuration makes read-only."""

    @classmethod
    def of_row(cls, row: tuple[bytes | None, ...]) -> Limits:
        """The answer to LIMITS_QUERY."""
        maximum, superuser, reserved, in_recovery, refuses = (value or b"0" for value in row)
        return cls(
            int(maximum), int(superuser) + int(reserved), in_recovery == b"t", refuses == b"t"
        )

    def allowed(self, percent: int) -> int:
        """How many connections the proxy may open: at least one (S-02).

        `percent` is of max_connections; what PostgreSQL keeps for superusers is not to be had.
        """
        share = self.max_connections * percent // 100
        return max(1, min(share, self.max_connections - self.reserved))


class TargetHealth(NamedTuple):
    """How a target is, in AWS's words (TH-01 to TH-03)."""

    state: str
    """REGISTERING, AVAILABLE or UNAVAILABLE."""

    role: str
    """READ_WRITE, READ_ONLY or UNKNOWN."""

    reason: str = ""
    description: str = ""


class Target:
    """A database instance and what the proxy knows of it."""

    def __init__(self, config: TargetConfig) -> None:
        self.config = config
        self.counters: Final = TargetCounters()
        # None until a server connection has told.
        self.limits: Limits | None = None
        # Why the last attempt to connect failed; empty while it answers.
        self.trouble = ""
        # What kind of failure that was (TH-02).
        self.reason = CONNECTION_FAILED
        # Why there is nobody who could log in; empty while there is somebody (TH-04).
        self.nobody = ""
        # What the monitor says; None while it says nothing, or there is none.
        self.health: TargetHealth | None = None
        # As the monitor saw it last: the timeline and position of its WAL in bytes, and how many
        # seconds a standby's data is old.
        self.timeline = 0
        self.position = 0
        self.lag = 0.0
        # Sessions that were ended because their server here was gone.
        self.sessions_lost = 0

    @property
    def id(self) -> str:
        """Its name in the configuration and in the metrics."""
        return self.config.id

    def troubled(self, why: str, reason: str = CONNECTION_FAILED) -> None:
        """Connecting has failed."""
        self.trouble = why
        self.reason = reason

    @property
    def available(self) -> bool:
        """Has it answered the last time it was asked?"""
        return self.in_aws_words.state == "AVAILABLE"

    @property
    def role(self) -> str:
        """READ_WRITE or READ_ONLY, as far as is known."""
        if self.health is not None and self.health.role != UNKNOWN:
            return self.health.role
        return READ_WRITE if self.limits is None or not self.limits.in_recovery else READ_ONLY

    @property
    def in_aws_words(self) -> TargetHealth:
        """How it is: by the monitor, else by what the connections of clients went through.

        To a proxy without credentials it is not available, however well it is.
        """
        if self.nobody:
            return TargetHealth("UNAVAILABLE", UNKNOWN, AUTH_FAILURE, self.nobody)
        if self.health is not None:
            return self.health
        if self.trouble:
            return TargetHealth("UNAVAILABLE", UNKNOWN, self.reason, self.trouble)
        if self.limits is None:
            return TargetHealth("REGISTERING", UNKNOWN)
        return TargetHealth("AVAILABLE", self.role)

    def __repr__(self) -> str:
        return f"<Target {self.id} {self.config.host}:{self.config.port}>"
