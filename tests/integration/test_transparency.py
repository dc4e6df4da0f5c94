"""Every client sees what it would see on a connection of its own.

Seeded random scripts of many clients over few servers, compared message by message with dedicated
connections. PYPROXY_SCRIPTS=20000 plays more, PYPROXY_SEED=n begins elsewhere; a difference comes
with the smallest script that still shows it.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.support.messages import (
    Bind,
    Bloated,
    Close,
    CopyDone,
    Describe,
    Execute,
    Flush,
    Parse,
    Query,
    Raw,
    Sync,
    message,
)
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.scripts import Client, Script, Step, make_script
from tests.support.transparency import Route, Theater, connect_to, create_schema

pytestmark = pytest.mark.integration

SCRIPTS = int(os.environ.get("PYPROXY_SCRIPTS", "2000"))
FIRST = int(os.environ.get("PYPROXY_SEED", "0"))
CHUNKS = 16


@contextlib.contextmanager
def open_theater(postgres: Postgres, mode: str, servers: int) -> Iterator[Theater]:
    """Two databases with one schema: one for direct connections, one behind a proxy."""
    names = (f"direct_{mode}", f"proxied_{mode}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        proxy = stack.enter_context(
            start_proxy(folder, postgres, pool_mode=mode, max_connections_percent=servers)
        )
        admins = []
        for name in names:
            postgres.make_database(name)
            admin = stack.enter_context(postgres.admin(name))
            create_schema(admin)
            admin.query("GRANT ALL ON ALL TABLES IN SCHEMA public, other TO app")
            admins.append(admin)
        direct = Route(
            connect_to((postgres.host, postgres.port), "app", PASSWORD, names[0]), keep=True
        )
        proxied = Route(connect_to((proxy.host, proxy.port), "app", PASSWORD, names[1]), keep=False)
        stack.callback(direct.close)
        yield Theater(direct, proxied, (admins[0], admins[1]))


@pytest.fixture(scope="module")
def theater(postgres: Postgres) -> Iterator[Theater]:
    """Up to six clients on four servers."""
    with open_theater(postgres, "transaction", 4) as theater:
        yield theater


@pytest.fixture(scope="module")
def session_theater(postgres: Postgres) -> Iterator[Theater]:
    """`pool_mode: session`, with a server for everybody: there nobody waits for others to leave."""
    with open_theater(postgres, "session", 20) as theater:
        yield theater


# PostgreSQL takes the first 63 bytes of a statement's name.
LONG = "long" * 20

# What went otherwise once, and is not met by chance every day.
FOUND = {
    "the name in an error has another meaning by then": (
        Step((Parse("s1", "SELECT 7"), Sync())),
        Step(
            (
                *(Bind("", "s1", (b"1", b"1")), Sync()),
                *(Close("S", "s1"), Parse("s1", "SELECT 8")),
                *(Parse("s2", "SELECT 7"), Sync()),
            )
        ),
    ),
    "a name of its own that looks like a renamed one": (
        Step((Describe("S", "client_pyproxy_1"), Sync())),
        Step((Query("SET work_mem = '1MB'"),)),
        Step((Parse("client_pyproxy_1", "SELECT 7"), Parse("pyproxy_1", "SELECT 8"), Sync())),
        Step((Bind("", "client_pyproxy_1"), Execute(), Bind("", "pyproxy_1"), Execute(), Sync())),
        Step((Close("S", "client_pyproxy_1"), Bind("", "pyproxy_1"), Execute(), Sync())),
        Step((Bind("", "client_pyproxy_1"), Sync())),
    ),
    "a Sync with a body": (Step((Bloated(Sync(), b"x"), Query("SELECT 7"))),),
    "a Flush with a body": (
        Step((Bloated(Flush(), b"x"), Parse("", "SELECT 7"), Sync())),
        Step((Query("BEGIN"),)),
        Step((Bloated(Flush(), b"x"), Parse("", "SELECT 7"), Sync())),
    ),
    "a Parse that is cut short drops no statement": (
        Step((Parse("", "SELECT 7"), Sync())),
        Step((Raw(message(b"P", b"\0SELECT 8\0\0\1")), Sync())),
        Step((Bind(), Execute(), Sync())),
        Step((Raw(message(b"P", b"\0SELECT 8\0\0\0x")), Bind(), Execute(), Sync())),
        Step((Bind(), Execute(), Sync())),
    ),
    "a Parse that cannot be read drops no statement": (
        Step((Parse("", "SELECT 7"), Sync())),
        Step((Raw(message(b"P", b"\0SELECT '\xff'\0\0\0")), Sync())),
        Step((Bind(), Execute(), Sync())),
        Step((Parse("", "SELECT E'\\xff'"), Sync())),
        Step((Bind(), Execute(), Sync())),
    ),
    "a Query that is none drops no statement": (
        Step((Parse("", "SELECT 7"), Sync())),
        Step((Bloated(Query("SELECT 8"), b"more"), Sync())),
        Step((Bind(), Execute(), Sync())),
    ),
    "a Query that cannot be read drops no statement": (
        Step((Parse("", "SELECT 7"), Sync())),
        Step((Query("SELECT '\udcff'"),)),
        Step((Bind(), Execute(), Sync())),
        Step((Query("SELECT '\udcff'"), Bind(), Execute(), Sync())),
        Step((Query("SELECT 'ü', E'\\xff'"), Sync())),
        Step((Bind(), Execute(), Sync())),
    ),
    "a name with something behind it": (
        Step((Parse("s1", "SELECT 7"), Sync())),
        Step((Bloated(Describe("S", "s1"), b"x"), Sync())),
        Step((Bloated(Describe("S", "s1"), Query("SELECT 8").encode()), Sync())),
        Step((Bloated(Close("S", "s1"), b"x"), Sync())),
        Step((Bind("", "s1"), Execute(), Sync())),
    ),
    "a name longer than PostgreSQL's": (
        Step((Parse(LONG, "SELECT 7"), Sync())),
        Step((Bind("", LONG[:63]), Execute(), Parse(LONG + "er", "SELECT 8"), Sync())),
        Step((Bind("", LONG + "er"), Execute(), Bind("", LONG, (b"1",)), Sync())),
        Step((Close("S", LONG + "er"), Sync(), Bind("", LONG), Sync())),
        Step((Parse(LONG, "SELECT 9"), Sync(), Query(f"EXECUTE {LONG[:63]}"))),
    ),
    "an EXECUTE in the segment of what has failed": (
        Step((Parse("s1", "SELECT 7"), Sync(), Parse("s2", "SELECT 8"), Sync())),
        Step((Execute("nobody"), Query("EXECUTE s1"), Sync())),
        Step((Parse("", "DELETE FROM t0"), Bind(), Execute(), Query("EXECUTE s1; SELECT 1/0"))),
        Step((Query("SELECT count(*) FROM t0; EXECUTE s1"),)),
        Step(
            (Parse("", "SELECT 9"), Bind(), Execute(), Query("EXECUTE s2"), Bind("", "s2"), Sync())
        ),
    ),
    "a CopyDone where there is no COPY": (
        Step((Parse("", "SELECT 7"), Bind(), CopyDone(), Execute(), Sync())),
        Step((Parse("", "SELECT 7"), Bind(), Execute(), CopyDone(), Describe("P"), Sync())),
        Step((Bind(), Execute("", 1), CopyDone(), Describe("P"), CopyDone(), Execute(), Sync())),
    ),
    "a refusal to write ahead of what waits for a name": (
        Step((Query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),)),
        Step(
            (
                *(Parse("s1", "SELECT 7"), Sync()),
                *(Parse("", "DELETE FROM t0"), Bind(), Execute()),
                *(Parse("s2", "SELECT 8"), Sync()),
            )
        ),
    ),
}


def play(theater: Theater, seeds: range) -> None:
    for seed in seeds:
        script = make_script(seed)
        difference = theater.differs(script)
        if difference:
            smallest, again = theater.shrink(script)
            pytest.fail(f"seed {seed}: {difference}\n\nsmallest:\n{smallest}\n{again}")


# A busy machine plays two scripts a second.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_scripts_hear_the_same_through_the_proxy(theater: Theater, chunk: int) -> None:
    """The main promise (DESIGN: invisible)."""
    play(theater, range(FIRST + chunk, FIRST + SCRIPTS, CHUNKS))


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_is_mended(theater: Theater, name: str) -> None:
    """The names of statements as PostgreSQL has them, and a 25006 that was wished for (FO-08)."""
    assert theater.differs(Script(0, (Client(0, {}, FOUND[name], polite=True),))) is None


RESET = (Parse("", "RESET application_name"), Bind(), Execute())
PORTALS = {
    "a finished one": (
        Step((*RESET, Parse("", "SELECT 7"), Bind(), Execute(), Sync())),
        Step((Execute(), Sync())),
    ),
    "a suspended one": (
        Step((*RESET, Parse("", "SELECT generate_series(1, 3)"), Bind(), Execute("", 1), Sync())),
        Step((Describe("P"), Sync())),
        Step((Sync(), Execute("", 1), Sync())),
        Step((Close("P", "other"), Execute(), Close("P"), Sync())),
    ),
}


@pytest.mark.parametrize("name", PORTALS)
def test_an_unnamed_portal_outlives_the_reset_of_a_name(theater: Theater, name: str) -> None:
    """ST-05: the name that belongs there is set by a Query, which would drop it."""
    steps = (Step((Query("BEGIN"),)), *PORTALS[name], Step((Query("SHOW application_name"),)))
    client = Client(0, {"application_name": "mine"}, steps, polite=True)
    assert theater.differs(Script(0, (client,))) is None


@pytest.mark.timeout(900)
def test_scripts_hear_the_same_in_session_mode(session_theater: Theater) -> None:
    """The same where each session keeps the first server it gets."""
    play(session_theater, range(FIRST, FIRST + SCRIPTS // 10))
