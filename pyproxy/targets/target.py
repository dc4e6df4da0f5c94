"""One target: a database instance, what it allows, and what was learnt of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.config import TargetConfig
from pyproxy.metrics.counters import TargetCounters

# Asked once on a new server connection. Every name is qualified: a client's search_path must
# never decide what the proxy itself runs (CVE-2025-12819 of PgBouncer).
LIMITS_QUERY: Final = (
    "SELECT pg_catalog.current_setting('max_connections'),"
    " pg_catalog.current_setting('superuser_reserved_connections'),"
    " coalesce(pg_catalog.current_setting('reserved_connections', true), '0'),"
    " pg_catalog.pg_is_in_recovery()"
)


class Limits(NamedTuple):
    """What a target said of itself."""

    max_connections: int
    reserved: int
    """Places that only superusers, or roles with pg_use_reserved_connections, may take."""

    in_recovery: bool

    @classmethod
    def of_row(cls, row: tuple[bytes | None, ...]) -> Limits:
        """The answer to LIMITS_QUERY."""
        maximum, superuser, reserved, in_recovery = (value or b"0" for value in row)
        return cls(int(maximum), int(superuser) + int(reserved), in_recovery == b"t")

    def allowed(self, percent: int) -> int:
        """How many connections the proxy may open: at least one (S-02).

        `percent` is of max_connections; what PostgreSQL keeps for superusers is not to be had.
        """
        share = self.max_connections * percent // 100
        return max(1, min(share, self.max_connections - self.reserved))


class Target:
    """A database instance and what the proxy knows of it."""

    def __init__(self, config: TargetConfig) -> None:
        self.config = config
        self.counters: Final = TargetCounters()
        # None until a server connection has told.
        self.limits: Limits | None = None
        # Why the last attempt to connect failed; empty while it answers.
        self.trouble = ""

    @property
    def id(self) -> str:
        """Its name in the configuration and in the metrics."""
        return self.config.id

    @property
    def available(self) -> bool:
        """Has it answered the last time it was asked?"""
        return self.limits is not None and not self.trouble

    @property
    def writable(self) -> bool:
        """Is it, as far as is known, no standby?"""
        return self.limits is None or not self.limits.in_recovery

    def __repr__(self) -> str:
        return f"<Target {self.id} {self.config.host}:{self.config.port}>"
