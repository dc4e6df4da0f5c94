"""Which driver or framework a pin comes from, guessed from what it says of itself and does.

RDS Proxy's log names neither the application nor its driver; most give themselves away all the
same: by the application_name that they send when nobody sets one, by the settings in their startup
message, or by a statement that only they are known to send. A guess, and shown as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

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

# Digests that only one driver is known to cause; the sources are those of the catalogue's list of
# drivers (section 11), and the drivers' own code.
_DIGESTS: Final = tuple(
    (re.compile(pattern), driver)
    for pattern, driver in (
        (r"^select pg_advisory_unlock_all\(\);.*\breset all", "asyncpg"),
        (r'^deallocate "?_pg3_', "psycopg 3"),
        (r"^discard all;?$", "Npgsql"),
        (r"^set session authorization default; ?reset all", "Npgsql"),
        (r"^set search_path = \$1; ?set names \$2", "Prisma"),
        (r"^set datestyle ?= ?\$1; ?set extra_float_digits", "psqlODBC"),
        (r"^set extra_float_digits = \$1$", "JDBC"),
        (r"^set session characteristics as transaction (isolation|read)", "JDBC"),
        (
            r"^set (standard_conforming_strings = |intervalstyle = |client_min_messages to )",
            "Rails",
        ),
        (r"^set session timezone to \$1$", "Rails"),
    )
)
# The same, where only the spelling or a value tells them apart.
_STATEMENTS: Final = tuple(
    (re.compile(pattern), driver)
    for pattern, driver in (
        (r"set_config\(\s*'jit',", "asyncpg"),
        (r"^SELECT set_config\('TimeZone', ", "Django"),
        (r"^DEALLOCATE ALL\b", "psycopg 3"),
        (r"^deallocate all\b", "pgx"),
        (r"^set (names|time zone) '", "Laravel"),
        (r"^set client_encoding to '", "ruby-pg"),
    )
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
    for pattern, driver in _DIGESTS:
        if pattern.search(digest):
            return driver
    for pattern, driver in _STATEMENTS:
        if pattern.search(statement):
            return driver
    return _by_startup(startup or {})


def _by_startup(startup: Mapping[str, str]) -> str:
    if startup.get("client_encoding", "").startswith("'"):
        # asyncpg quotes the value, as no one else does.
        return "asyncpg"
    return "JDBC" if startup.keys() >= _JDBC else ""
