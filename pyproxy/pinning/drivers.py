"""Which driver or framework a pin comes from, guessed from what it says of itself and does.

RDS Proxy's log names neither the application nor its driver; most give themselves away all the
same: by the application_name that they send when nobody sets one, by the settings in their startup
message, or by a statement that only they are known to send (`habits`). A guess, and shown as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyproxy.pinning.habits import sender

# How drivers introduce themselves by application_name when nobody sets it.
_NAMES: Final = (
    ("psql", "psql"),
    ("postgresql jdbc", "JDBC"),
    ("pgadmin", "pgAdmin"),
    ("pgbench", "pgbench"),
    ("pg_dump", "pg_dump"),
    ("pg_restore", "pg_dump"),
    ("dbeaver", "DBeaver"),
    ("npgsql", "Npgsql"),
    ("node-postgres", "node-postgres"),
    ("postgres.js", "Postgres.js"),
    ("flyway", "Flyway"),
)

# What pgjdbc puts into every startup message (ConnectionFactoryImpl).
_JDBC: Final = frozenset({"client_encoding", "DateStyle", "TimeZone"})


def guess(
    application_name: str,
    startup: Mapping[str, str] | None = None,
    digest: str = "",
    statement: str = "",
) -> str:
    """The driver, or "" when nothing tells.

    `startup` are the settings of the startup message; `digest` and `statement` are of what pinned.
    """
    name = application_name.lower()
    for beginning, driver in _NAMES:
        if name.startswith(beginning):
            return driver
    return sender(digest, statement) or _by_startup(startup or {})


def _by_startup(startup: Mapping[str, str]) -> str:
    if startup.get("client_encoding", "").startswith("'"):
        # asyncpg quotes the value, as no one else does.
        return "asyncpg"
    return "JDBC" if startup.keys() >= _JDBC else ""
