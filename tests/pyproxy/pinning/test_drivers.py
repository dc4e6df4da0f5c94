"""Drivers are known by what they call themselves, by their startup, and by what they send."""

from __future__ import annotations

import pytest

from pyproxy.pinning.digest import digest
from pyproxy.pinning.drivers import guess

# What each of them sends [behaviour catalogue, 11.1], as it comes over the wire.
STATEMENTS = [
    (
        "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
        "asyncpg",
    ),
    (
        "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
        "asyncpg",
    ),
    ("DEALLOCATE ALL", "psycopg 3"),
    ('DEALLOCATE "_pg3_0"', "psycopg 3"),
    ("deallocate all", "pgx"),
    ("DISCARD ALL", "Npgsql"),
    ("SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *", "Npgsql"),
    ("SET search_path = \"public\"; SET NAMES 'utf8';", "Prisma"),
    ("SET DateStyle = 'ISO';SET extra_float_digits = 2;show transaction_isolation", "psqlODBC"),
    ("SET extra_float_digits = 3", "JDBC"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "JDBC"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "JDBC"),
    ("SET client_min_messages TO warning", "Rails"),
    ("SET standard_conforming_strings = on", "Rails"),
    ("SET intervalstyle = iso_8601", "Rails"),
    ("SET SESSION timezone TO 'UTC'", "Rails"),
    ("SELECT set_config('TimeZone', 'UTC', false)", "Django"),
    ("set names 'utf8'", "Laravel"),
    ("set client_encoding to 'unicode'", "ruby-pg"),
    ("SET work_mem = '8MB'", ""),
    ("SELECT 'DEALLOCATE ALL'", ""),
]


@pytest.mark.parametrize(("sql", "driver"), STATEMENTS)
def test_a_tell_tale_statement_gives_its_driver_away(sql: str, driver: str) -> None:
    assert guess("", {}, digest(sql), sql) == driver


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("psql", "psql"),
        ("PostgreSQL JDBC Driver", "JDBC"),
        ("DBeaver 24.1 - Main", "DBeaver"),
        ("my app", ""),
    ],
)
def test_drivers_are_known_by_their_name(name: str, driver: str) -> None:
    assert guess(name) == driver


def test_a_name_is_believed_before_a_statement() -> None:
    assert guess("psql", {}, "discard all", "DISCARD ALL") == "psql"


@pytest.mark.parametrize(
    ("startup", "driver"),
    [
        ({"client_encoding": "'utf-8'"}, "asyncpg"),
        ({"client_encoding": "UTF8", "DateStyle": "ISO", "TimeZone": "UTC"}, "JDBC"),
        ({"client_encoding": "UTF8"}, ""),
    ],
)
def test_a_startup_message_gives_its_driver_away(startup: dict[str, str], driver: str) -> None:
    assert guess("my app", startup) == driver
