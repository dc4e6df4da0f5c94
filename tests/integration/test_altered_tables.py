"""A table is altered under a prepared statement that goes on elsewhere, as on one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.messages import Bind, Close, Describe, Execute, Parse, Query, Sync
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy, proxy_of
from tests.support.transparency import normal
from tests.support.wire import Reply, errors_of

pytestmark = pytest.mark.integration

CHANGED = ("0A000", "cached plan must not change result type")


@pytest.fixture(scope="module")
def two(postgres: Postgres) -> Iterator[Proxy]:
    """Two database connections for everybody."""
    with proxy_of(2, postgres) as proxy:
        yield proxy


@pytest.fixture(params=["direct", "proxied"])
def place(request: pytest.FixtureRequest, postgres: Postgres, two: Proxy) -> Postgres | Proxy:
    return two if request.param == "proxied" else postgres


@contextlib.contextmanager
def elsewhere(place: Postgres | Proxy) -> Iterator[None]:
    """The database connection that was used last is another client's for a while."""
    if not isinstance(place, Proxy):
        yield
        return
    with place.wire() as other:
        other.query("BEGIN; SELECT 1")
        yield
        other.query("ROLLBACK")


def executed(name: str, *values: bytes, binary: bool = True) -> tuple[Bind, Execute, Sync]:
    return Bind("", name, values, (), (1,) if binary else ()), Execute(), Sync()


def prepared(name: str, sql: str) -> tuple[Parse, Describe, Sync]:
    return Parse(name, sql), Describe("S", name), Sync()


def alter(postgres: Postgres, ddl: str) -> None:
    with postgres.admin() as admin:
        admin.query(ddl)


NEW = (
    "DROP TABLE IF EXISTS altered; CREATE TABLE altered (a int, b text); "
    "INSERT INTO altered VALUES (258, 'x'); GRANT ALL ON altered TO app"
)
# What is prepared, its parameters, what happens to the table.
CASES = {
    "another type": ("SELECT a FROM altered", (), "ALTER TABLE altered ALTER a TYPE int8"),
    "another typmod": ("SELECT b FROM altered", (), "ALTER TABLE altered ALTER b TYPE varchar(9)"),
    "another name": ("SELECT * FROM altered", (), "ALTER TABLE altered RENAME a TO c"),
    "another column": ("SELECT * FROM altered", (), "ALTER TABLE altered ADD c int"),
    "no such column": ("SELECT a FROM altered", (), "ALTER TABLE altered DROP a"),
    "another table": ("SELECT * FROM altered", (), NEW),
    "a parameter": (
        "INSERT INTO altered (a) VALUES ($1)",
        (b"\0\0\0\7",),
        "ALTER TABLE altered ALTER a TYPE int8",
    ),
    "a parameter that does not fit": (
        "SELECT a FROM altered WHERE a = $1",
        (b"\0\0\1\2",),
        "ALTER TABLE altered ALTER a TYPE text",
    ),
    "a returning": (
        "UPDATE altered SET b = b || 'x' RETURNING a, b",
        (),
        "ALTER TABLE altered ALTER a TYPE int8",
    ),
}


@pytest.mark.parametrize("sql", ["FETCH 1 FROM later", "SHOW work_mem"])
def test_a_utility_command_has_the_columns_that_it_finds(place: Postgres | Proxy, sql: str) -> None:
    """A cursor that is not there yet has none, and it is no error that it has some later."""
    with place.wire() as client:
        assert not errors_of(client.ask(*prepared("s", sql)))
        with elsewhere(place):
            client.query("BEGIN; DECLARE later CURSOR FOR SELECT 258")
            replies = client.ask(*executed("s", binary=False))
            assert [r.body[6:] for r in replies if r.tag == "D"] in ([b"258"], [b"4MB"])
            client.query("ROLLBACK")


def play(place: Postgres | Proxy, postgres: Postgres, case: str, name: str) -> list[list[str]]:
    """A client's replies: it executes, elsewhere and at home, and so again when it has reparsed."""
    sql, values, ddl = CASES[case]
    binary = Bind("", name, values, (1,) if values else (), (1,)), Execute(), Sync()
    alter(postgres, NEW)
    heard: list[list[Reply]] = []
    with place.wire() as client:
        heard.append(client.ask(*prepared(name, sql)))
        alter(postgres, ddl)
        with elsewhere(place):
            heard.append(client.ask(*binary))
            heard += [
                client.ask(Query("BEGIN")),
                client.ask(*binary),
                client.ask(Query("ROLLBACK")),
            ]
        heard.append(client.ask(*binary))
        heard.append(client.ask(Close("S", name), *prepared(name, sql)))
        with elsewhere(place):
            heard.append(client.ask(*binary))
        heard.append(client.ask(*binary))
        heard.append(client.ask(Query("SELECT * FROM altered")))
    oids: dict[int, int] = {}
    return [[said(reply, oids) for reply in replies] for replies in heard]


def said(reply: Reply, oids: dict[int, int]) -> str:
    return str(errors_of([reply])) if reply.tag == "E" else normal(reply, oids)


@pytest.mark.parametrize("name", ["s", ""])
@pytest.mark.parametrize("case", CASES)
def test_all_is_heard_as_on_one_connection(
    postgres: Postgres, two: Proxy, case: str, name: str
) -> None:
    """PS-03: never a value in another format than the client was told."""
    direct = play(postgres, postgres, case, name)
    assert play(two, postgres, case, name) == direct
    assert play(two, postgres, case, name) == direct, "with what the first has left behind"


def test_a_describe_is_refused_too(place: Postgres | Proxy, postgres: Postgres) -> None:
    alter(postgres, NEW)
    with place.wire() as client:
        client.ask(*prepared("s", "SELECT a FROM altered WHERE b = $1"))
        alter(postgres, "ALTER TABLE altered ALTER a TYPE int8")
        with elsewhere(place):
            replies = client.ask(Describe("S", "s"), Sync())
        assert [r.tag for r in replies] == ["t", "E", "Z"]
        assert errors_of(replies) == [CHANGED]
        assert replies[1].fields["R"] == "RevalidateCachedQuery"


def test_a_change_that_is_taken_back(place: Postgres | Proxy, postgres: Postgres) -> None:
    alter(postgres, NEW)
    with place.wire() as client:
        client.ask(*prepared("s", "SELECT a FROM altered"))
        for kind, errors in (("int8", [CHANGED]), ("int4", [])):
            alter(postgres, f"ALTER TABLE altered ALTER a TYPE {kind}")
            with elsewhere(place):
                assert errors_of(client.ask(*executed("s"))) == errors
            assert errors_of(client.ask(*executed("s"))) == errors


def test_old_and_new_clients_share_no_statement(
    place: Postgres | Proxy, postgres: Postgres
) -> None:
    """Of one text, with two meanings: neither gets the other's, wherever it is executed."""
    alter(postgres, NEW)
    insert = "INSERT INTO altered (a) VALUES ($1)"
    with place.wire() as old, place.wire() as new:
        old.ask(*prepared("s", insert))
        old.ask(*prepared("q", "SELECT a FROM altered"))
        alter(postgres, "ALTER TABLE altered ALTER a TYPE int8")
        new.ask(*prepared("s", insert))
        new.ask(*prepared("q", "SELECT a FROM altered"))
        for _ in range(3):
            for again in (contextlib.nullcontext, lambda: elsewhere(place)):
                with again():
                    for client, size in ((old, 4), (new, 8)):
                        value = (7).to_bytes(size, "big")
                        sent = Bind("", "s", (value,), (1,)), Execute(), Sync()
                        assert not errors_of(client.ask(*sent))
                    assert errors_of(old.ask(*executed("q"))) == [CHANGED]
                    replies = new.ask(*executed("q"))
                    rows = [r.values for r in replies if r.tag == "D"]
                    assert rows.count([(7).to_bytes(8, "big")]) == len(rows) - 1


def test_nothing_is_executed_before_it_is_known(
    place: Postgres | Proxy, postgres: Postgres
) -> None:
    """The refused statement has changed nothing, and what is behind it has not run."""
    alter(postgres, NEW)
    with place.wire() as client, place.wire() as onlooker:
        client.ask(*prepared("s", "UPDATE altered SET b = 'changed' RETURNING a"))
        alter(postgres, "ALTER TABLE altered ALTER a TYPE int8")
        with elsewhere(place):
            replies = client.ask(
                *executed("s")[:2],
                *(Parse("", "UPDATE altered SET b = 'behind'"), Bind(), Execute(), Sync()),
                *(Query("SELECT 1"), Query("SELECT 2")),
                ready=3,
            )
        assert errors_of(replies) == [CHANGED]
        assert [r.values for r in replies if r.tag == "D"] == [[b"1"], [b"2"]]
        assert onlooker.value("SELECT b FROM altered") == "x"


def test_a_search_path_that_leads_elsewhere(postgres: Postgres, two: Proxy) -> None:
    """A session that has set it is pinned, and PostgreSQL decides for itself."""
    alter(postgres, f"{NEW}; DROP SCHEMA IF EXISTS aside CASCADE; CREATE SCHEMA aside")
    alter(postgres, "CREATE TABLE aside.altered (a int8); GRANT ALL ON SCHEMA aside TO app")
    alter(postgres, "GRANT ALL ON aside.altered TO app")
    for place in (postgres, two):
        with place.wire() as client:
            client.ask(*prepared("s", "SELECT a FROM altered"))
            with elsewhere(place):
                client.query("SET search_path TO aside")
                assert errors_of(client.ask(*executed("s"))) == [CHANGED]
                client.query("SET search_path TO public")
                assert not errors_of(client.ask(*executed("s")))


async def test_a_driver_prepares_anew_by_itself(postgres: Postgres, two: Proxy) -> None:
    """As asyncpg and pgjdbc do when they hear this error outside of a transaction."""
    alter(postgres, NEW)
    clients = [await asyncpg.connect(two.dsn()) for _ in range(3)]
    for kind in ("int4", "int8", "text", "int4"):
        alter(postgres, f"ALTER TABLE altered ALTER a TYPE {kind} USING a::{kind}")
        for client in clients * 3:
            # Some at once, so that they change places.
            values = await asyncio.gather(*(c.fetchval("SELECT a FROM altered") for c in clients))
            assert values == ["258" if kind == "text" else 258] * 3
            await client.fetchval("SELECT 1")
    for client in clients:
        await client.close()


def test_two_databases_of_one_proxy_describe_one_text_otherwise(
    postgres: Postgres, two: Proxy
) -> None:
    """A type of one's own has another number in each."""
    postgres.make_database("elsewhere")
    for database in ("app", "elsewhere"):
        with postgres.admin(database) as admin:
            admin.query("DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('well')")
    with two.wire() as one, two.wire(database="elsewhere") as other:
        for _ in range(3):
            for client in (one, other):
                client.ask(Close("S", "s"), *prepared("s", "SELECT 'well'::mood"))
        for _ in range(3):
            for client in (one, other):
                assert not errors_of(client.ask(*executed("s")))
