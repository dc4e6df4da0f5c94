"""What drivers and frameworks send by themselves, and the setting that stops it.

Applications seldom write the statement that pins them: their driver does. A pin is recognised by
its digest, and by its text where the digest is anybody's. docs/how-to/stop-pinning/ has a page for
most, where the setting can be copied from; the others tell at least whose statement it is.

The sources are those of the catalogue's list of drivers (section 11), and the drivers' own code.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Habit(NamedTuple):
    """A statement that a driver sends without being asked, and the way to stop it."""

    driver: str
    digest: re.Pattern[str]
    """What its digest looks like, from its beginning."""

    when: str
    """When it is sent."""

    remedy: str
    """The setting that stops it, in one sentence."""

    page: str
    """The page in docs/how-to/stop-pinning/, without its ending."""

    statement: re.Pattern[str] = re.compile("")
    """What its text looks like, from its beginning, where the digest is anybody's."""


class Trace(NamedTuple):
    """A statement that gives a driver away, and no more is known of it."""

    driver: str
    digest: re.Pattern[str]
    statement: re.Pattern[str] = re.compile("")


HABITS: Final = (
    Habit(
        "asyncpg",
        re.compile(r"select pg_advisory_unlock_all\(\);\s*close all;"),
        "its pool resets a connection that is given back",
        "create_pool(…, reset=…) with a function that does nothing.",
        "asyncpg",
    ),
    Habit(
        "asyncpg",
        re.compile(r"select current_setting\(\$1\) as cur, set_config\(\$2, \$3, false\) as new"),
        "it looks up a type that it has no codec for",
        "A connection_class that says the server has no JIT.",
        "asyncpg",
    ),
    Habit(
        "psycopg 3",
        re.compile(r"deallocate all;?$"),
        "it forgets its prepared statements after a rollback, a DROP or an ALTER",
        "connect(…, prepare_threshold=None).",
        "psycopg",
        # pgx sends the same in lower case.
        re.compile(r"DEALLOCATE ALL\b"),
    ),
    Habit(
        "psycopg2",
        re.compile(r"set default_transaction_isolation to \$1$"),
        "set_session(isolation_level=…) with autocommit",
        "Without autocommit the level travels with BEGIN.",
        "psycopg2",
    ),
    Habit(
        "Django",
        re.compile(r"select set_config\(\$1, \$2, false\)$"),
        "the connection's time zone is not the one of its settings",
        "ALTER ROLE app SET timezone = 'UTC', or whichever zone its settings have.",
        "django",
        re.compile(r"SELECT set_config\('TimeZone',"),
    ),
    Habit(
        "Django",
        re.compile(r'declare "_django_curs_'),
        "QuerySet.iterator() declares a cursor",
        'DATABASES: "DISABLE_SERVER_SIDE_CURSORS": True.',
        "django",
    ),
    Habit(
        "Django",
        re.compile(r"set constraints all immediate$"),
        "TestCase checks constraints at the end of a test",
        "Allow it in tests, or compatibility.set_local: no_pin.",
        "django",
    ),
    Habit(
        "SQLAlchemy",
        re.compile(r'declare "c_[0-9a-f]+_[0-9a-f]+" '),
        "stream_results declares a cursor",
        "Page by key, or leave stream_results off.",
        "sqlalchemy",
    ),
    Habit(
        "Rails",
        re.compile(r"set client_min_messages to \$1$"),
        "it sets every new connection up",
        "An initializer that takes configure_connection away, and settings by role.",
        "rails",
    ),
    Habit(
        "Sequelize",
        re.compile(r"set client_min_messages to \$1;\s*set time zone "),
        "it sets every new connection up",
        "new Sequelize(url, { keepDefaultTimezone: true, clientMinMessages: false }).",
        "node-orms",
    ),
    Habit(
        "JDBC",
        re.compile(r"set extra_float_digits = \$1$"),
        "it sets every new connection up",
        "assumeMinServerVersion=9.0 in the URL.",
        "jdbc",
    ),
    Habit(
        "JDBC",
        re.compile(r"set session search_path to \$1$"),
        "setSchema()",
        "currentSchema=… in the URL.",
        "jdbc",
    ),
    Habit(
        "psqlODBC",
        re.compile(r"set datestyle ?= ?\$1;\s*set extra_float_digits"),
        "it sets every new connection up",
        "Nothing in its settings stops it; use another driver.",
        "psqlodbc",
    ),
    Habit(
        "pg_dump",
        re.compile(r"select pg_catalog\.set_config\(\$1, \$2, false\);?$"),
        "it empties search_path first",
        "Dump past the proxy.",
        "programs",
    ),
)


_ANY: Final = re.compile("")
_TRACES: Final = (
    Trace("asyncpg", _ANY, re.compile(r".*set_config\(\s*'jit',", re.DOTALL)),
    Trace("psycopg 3", re.compile(r'deallocate "?_pg3_')),
    Trace("pgx", _ANY, re.compile(r"deallocate all\b")),
    Trace("Npgsql", re.compile(r"discard all;?$")),
    Trace("Npgsql", re.compile(r"set session authorization default; ?reset all")),
    Trace("Prisma", re.compile(r"set search_path = \$1; ?set names \$2")),
    Trace("JDBC", re.compile(r"set session characteristics as transaction (isolation|read)")),
    Trace("Rails", re.compile(r"set (standard_conforming_strings|intervalstyle) = ")),
    Trace("Rails", re.compile(r"set session timezone to \$1$")),
    Trace("Laravel", _ANY, re.compile(r"set (names|time zone) '")),
    Trace("ruby-pg", _ANY, re.compile(r"set client_encoding to '")),
)


def recognise(digest: str, statement: str = "") -> Habit | None:
    """Whose habit a statement is; None when it may be anybody's."""
    return next((habit for habit in HABITS if _fits(habit, digest, statement)), None)


def sender(digest: str, statement: str = "") -> str:
    """Whose statement it is, also where nothing stops it; "" when it may be anybody's."""
    traces = (trace for trace in (*HABITS, *_TRACES) if _fits(trace, digest, statement))
    return next((trace.driver for trace in traces), "")


def _fits(trace: Habit | Trace, digest: str, statement: str) -> bool:
    return bool(trace.digest.match(digest) and trace.statement.match(statement))
