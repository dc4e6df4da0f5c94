"""Real drivers: what each does to a database gives the same through the proxy as directly.

Every scenario runs twice, straight and proxied, and returns what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import decimal
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import psycopg2.extras
import pytest
import sqlalchemy
from psycopg import pq

from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import Proxy

pytestmark = pytest.mark.integration

Seen = list[Any]
TABLE = (
    "CREATE TABLE {t} (id int PRIMARY KEY, name text, amount numeric, born date, data jsonb, "
    "raw bytea, tags text[])"
)


@pytest.fixture(params=["direct", "proxied"])
def place(request: pytest.FixtureRequest, postgres: Postgres, proxy: Proxy) -> Postgres | Proxy:
    return postgres if request.param == "direct" else proxy


# What the direct run saw, for the proxied one to compare with.
_SEEN: dict[str, Any] = {}


def compare(name: str, place: Postgres | Proxy, seen: Any) -> None:
    """The direct run comes first and is what is right."""
    assert seen
    if isinstance(place, Postgres):
        _SEEN[name] = seen
    elif name in _SEEN:
        assert seen == _SEEN[name]


def attempt(action: Callable[[], Any]) -> Any:
    """What it returns, or the error's class and SQLSTATE."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - the class is what is compared
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        return type(error).__name__, state


# -- psycopg 3 -------------------------------------------------------------------------------------


def psycopg_types(url: str) -> Seen:
    row = (
        1, "ünï", decimal.Decimal("1.50"), dt.date(2026, 1, 31),
        psycopg.types.json.Jsonb({"a": [1]}), b"\0\xff", ["a", None],
    )  # fmt: skip
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS d_types")
        connection.execute(TABLE.format(t="d_types"))
        connection.execute("INSERT INTO d_types VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
        text = connection.execute("SELECT * FROM d_types").fetchall()
        binary = connection.cursor(binary=True).execute("SELECT * FROM d_types").fetchall()
        missing = attempt(lambda: connection.execute("SELECT * FROM nowhere"))
        connection.rollback()
        gone = attempt(lambda: connection.execute("SELECT * FROM d_types").fetchall())
        connection.rollback()
        return [text, binary, missing, gone]


def psycopg_pipeline(url: str) -> Seen:
    seen: Seen = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        with connection.pipeline() as pipeline, connection.cursor() as cursor:
            for number in range(50):
                cursor.execute("SELECT %s::int * 2", (number,))
                if number % 10 == 0:
                    pipeline.sync()
            while True:
                seen.append(cursor.fetchall())
                if not cursor.nextset():
                    break

        def failing() -> None:
            with connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute("SELECT 1/0")
                connection.execute("SELECT 2")

        seen.append(attempt(failing))
        seen.append(connection.execute("SELECT 'after'").fetchone())
    return seen


def psycopg_prepared(url: str) -> Seen:
    seen: Seen = []
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=0))
            for _ in range(8)
        ]
        for turn in range(30):
            connection = connections[turn % len(connections)]
            for text in ("SELECT %s::int + 1", "SELECT %s::text", "SELECT current_database(), %s"):
                seen.append(
                    attempt(lambda c=connection, t=text, n=turn: c.execute(t, (n,)).fetchall())
                )
    return seen


def psycopg_cursors(url: str) -> Seen:
    with psycopg.connect(url) as connection:
        with connection.cursor("named") as cursor:
            cursor.execute("SELECT generate_series(1, 100)")
            some = cursor.fetchmany(7)
            cursor.scroll(10)
            rest = cursor.fetchall()
        connection.commit()
        with connection.cursor("held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 20)")
            connection.commit()
            held = cursor.fetchall()
    return [some, rest, held]


def psycopg_copy(url: str) -> Seen:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMP TABLE copied (id int, name text)")
        with connection.cursor() as cursor:
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for number in range(5_000):
                    copy.write_row((number, f"row {number}"))
            with cursor.copy("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT") as copy:
                rows = list(copy.rows())

            def failing() -> None:
                with cursor.copy("COPY copied FROM STDIN") as copy:
                    copy.write(b"not a number\n")

            failed = attempt(failing)
        connection.rollback()
    return [len(rows), rows[-1], failed]


def psycopg_notices(url: str) -> Seen:
    heard: Seen = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.add_notice_handler(lambda d: heard.append((d.severity, d.message_primary)))
        connection.execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$")
        connection.execute("LISTEN d_channel")
        connection.execute("NOTIFY d_channel, 'hello'")
        for note in connection.notifies(timeout=5, stop_after=1):
            heard.append((note.channel, note.payload))
    return heard


def psycopg_transactions(url: str) -> Seen:
    seen: Seen = []
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMP TABLE moves (n int)")
        connection.commit()
        for outcome in (None, ValueError, psycopg.Rollback):
            with contextlib.suppress(ValueError), connection.transaction():
                connection.execute("INSERT INTO moves VALUES (1)")
                with contextlib.suppress(ValueError), connection.transaction():
                    connection.execute("INSERT INTO moves VALUES (2)")
                    if outcome is not None:
                        raise outcome
            seen.append(connection.execute("SELECT n FROM moves ORDER BY n").fetchall())
            seen.append(connection.info.transaction_status.name)
            connection.commit()
    return seen


# -- the others ------------------------------------------------------------------------------------


def psycopg2_scenario(url: str) -> Seen:
    seen: Seen = []
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS d_two")
        cursor.execute("CREATE TABLE d_two (id int, name text)")
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO d_two VALUES %s", [(i, f"n{i}") for i in range(500)]
        )
        cursor.execute("SELECT count(*), max(name) FROM d_two WHERE id < %s", (100,))
        seen.append(cursor.fetchall())
    with connection, connection.cursor("named") as named:
        named.execute("SELECT id FROM d_two ORDER BY id")
        seen.append(named.fetchmany(3))
    with connection.cursor() as cursor:
        seen.append(attempt(lambda: cursor.execute("SELECT 1/0")))
        seen.append(attempt(lambda: cursor.execute("SELECT 1")))
        connection.rollback()
        cursor.execute("SHOW server_version")
        seen.append(cursor.fetchone())
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        seen.append(cursor.fetchone())
        seen.append(attempt(lambda: cursor.execute("DELETE FROM d_two")))
    connection.close()
    return seen


def pg8000_scenario(place: Postgres | Proxy) -> Seen:
    seen: Seen = []
    connection = pg8000.dbapi.connect(
        user="app", password=PASSWORD, host=place.host, port=place.port, database="app"
    )
    cursor = connection.cursor()
    for number in range(5):
        cursor.execute("SELECT %s::int, %s::text, now() IS NOT NULL", (number, f"n{number}"))
        seen.append(cursor.fetchall())
    connection.commit()
    seen.append(attempt(lambda: cursor.execute("SELECT * FROM nowhere")))
    connection.rollback()
    cursor.executemany("SELECT %s::int", [(1,), (2,)])
    seen.append(cursor.fetchall())
    connection.close()
    return [
        [list(row) for row in rows] if isinstance(rows, list | tuple) else rows for rows in seen[:5]
    ]


def sqlalchemy_scenario(url: str, driver: str) -> Seen:
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", f"postgresql+{driver}://"), pool_size=3
    )
    table = sqlalchemy.Table(
        f"d_alchemy_{driver}",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("name", sqlalchemy.String),
        sqlalchemy.Column("at", sqlalchemy.DateTime),
    )
    table.metadata.drop_all(engine)
    table.metadata.create_all(engine)
    when = dt.datetime(2026, 1, 31, 12, 0)  # noqa: DTZ001 - a timestamp without time zone
    with engine.begin() as connection:
        made = connection.execute(
            table.insert().returning(table.c.id),
            [{"name": f"n{i}", "at": when} for i in range(20)],
        ).fetchall()
    with engine.connect() as connection:
        rows = connection.execute(table.select().where(table.c.id > 15)).fetchall()
        tables = sqlalchemy.inspect(connection).get_columns(table.name)
    engine.dispose()
    return [len(made), [tuple(row) for row in rows], [column["name"] for column in tables]]


async def asyncpg_scenario(url: str) -> Seen:
    seen: Seen = []
    # Its reset query pins (PIN-PG-10), so a pool has to be smaller than the proxy's.
    pool = await asyncpg.create_pool(url, min_size=2, max_size=3)

    async def worker(number: int) -> Seen:
        own: Seen = []
        for turn in range(10):
            async with pool.acquire() as connection:
                own.append(await connection.fetchval("SELECT $1::int + $2::int", number, turn))
                async with connection.transaction():
                    own.append(await connection.fetchrow("SELECT $1::text, $2::jsonb", "x", "{}"))
        return own

    seen.extend(
        [[tuple(v) if hasattr(v, "keys") else v for v in own] for own in
         await asyncio.gather(*(worker(n) for n in range(6)))]
    )  # fmt: skip
    async with pool.acquire() as connection:
        await connection.execute("DROP TABLE IF EXISTS d_async")
        await connection.execute("CREATE TABLE d_async (id int, name text)")
        rows = [(n, f"n{n}") for n in range(3_000)]
        seen.append(await connection.copy_records_to_table("d_async", records=rows))
        async with connection.transaction():
            seen.append(
                [r["id"] async for r in connection.cursor("SELECT id FROM d_async LIMIT 99")]
            )
        try:
            await connection.fetch("SELECT $1::int", "not a number")
        except asyncpg.DataError as error:
            seen.append(type(error).__name__)
        try:
            await connection.fetch("SELECT 1/0")
        except asyncpg.DivisionByZeroError as error:
            seen.append(error.sqlstate)
    await pool.close()
    return seen


async def psycopg_async_scenario(url: str) -> Seen:
    async def client(number: int) -> Seen:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return [
                await (await connection.execute("SELECT %s::int, %s", (number, turn))).fetchone()
                for turn in range(20)
            ]

    return list(await asyncio.gather(*(client(n) for n in range(10))))


PSYCOPG = [
    psycopg_types,
    psycopg_pipeline,
    psycopg_prepared,
    psycopg_cursors,
    psycopg_copy,
    psycopg_notices,
    psycopg_transactions,
]


@pytest.mark.parametrize("scenario", PSYCOPG, ids=lambda f: f.__name__)
def test_psycopg(place: Postgres | Proxy, scenario: Callable[[str], Seen]) -> None:
    compare(scenario.__name__, place, scenario(place.dsn()))


def test_psycopg2(place: Postgres | Proxy) -> None:
    compare("psycopg2", place, psycopg2_scenario(place.dsn()))


def test_pg8000(place: Postgres | Proxy) -> None:
    compare("pg8000", place, pg8000_scenario(place))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
def test_sqlalchemy(place: Postgres | Proxy, driver: str) -> None:
    compare(f"sqlalchemy {driver}", place, sqlalchemy_scenario(place.dsn(), driver))


ASYNC: list[Callable[[str], Awaitable[Seen]]] = [asyncpg_scenario, psycopg_async_scenario]


@pytest.mark.parametrize("scenario", ASYNC, ids=lambda f: f.__name__)
async def test_asynchronous_drivers(
    place: Postgres | Proxy, scenario: Callable[[str], Awaitable[Seen]]
) -> None:
    compare(scenario.__name__, place, await scenario(place.dsn()))


def test_drivers_see_the_databases_own_parameters(place: Postgres | Proxy) -> None:
    """C-21: ParameterStatus as the database reports them, overlaid with the client's own."""
    names = ["server_version", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes",
             "application_name", "standard_conforming_strings", "is_superuser"]  # fmt: skip
    with psycopg.connect(place.dsn(application_name="d_app", client_encoding="LATIN1")) as c:
        compare("parameters", place, [c.info.parameter_status(name) for name in names])


def test_libpq_is_told_what_kind_of_server_it_is(proxy: Proxy) -> None:
    """No BackendKeyData by default: there is nothing to cancel (E-PG-26)."""
    with psycopg.connect(proxy.dsn()) as connection:
        assert connection.info.backend_pid == 0
        assert connection.info.status == pq.ConnStatus.OK
