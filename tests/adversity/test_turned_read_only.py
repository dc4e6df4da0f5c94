"""FO-08: the primary turns read-only under live connections, and nobody is told 25006 by that.

The first to meet it is always a client. Whoever asked to be read-only gets its 25006 as ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.support.blue import PROBE_INTERVAL, Blue
from tests.support.messages import Bind, Describe, Execute, Flush, Parse, Query, Sync
from tests.support.pair import MONITOR, Pair
from tests.support.postgres import PASSWORD, Postgres, start_postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Reply, Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(120)]

INSERT = "INSERT INTO t_blue VALUES ($1) RETURNING n"
LOST = ("08006", "The database connection was lost in the middle of a request.")


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    with temporary_folder() as folder:
        postgres = start_postgres(folder)
        try:
            with postgres.admin() as admin:
                admin.query(f"CREATE ROLE {MONITOR} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
                admin.query("CREATE TABLE t_blue (n int)")
                admin.query("GRANT ALL ON t_blue TO app")
                admin.query(
                    "CREATE FUNCTION put(n int) RETURNS void LANGUAGE plpgsql AS"
                    " 'BEGIN INSERT INTO t_blue VALUES (n); END'"
                )
                admin.query(
                    "CREATE FUNCTION make_read_only() RETURNS void LANGUAGE sql AS $$"
                    " SELECT set_config('default_transaction_read_only', 'on', false) $$"
                )
            yield postgres
        finally:
            postgres.cluster.kill()


@pytest.fixture(autouse=True)
def nothing_kept(primary: Postgres) -> None:
    with primary.admin() as admin:
        admin.query("TRUNCATE t_blue")


def monitored_proxy(folder: Path, primary: Postgres) -> contextlib.AbstractContextManager[Proxy]:
    return start_proxy(
        folder,
        primary,
        monitoring={"secret": MONITOR},
        failover={"probe_interval": PROBE_INTERVAL},
        max_connections_percent=40,
    )


@pytest.fixture(scope="module")
def blue_proxy(primary: Postgres) -> Iterator[Proxy]:
    """Of all tests that leave no read-only connection behind."""
    with temporary_folder() as folder, monitored_proxy(folder, primary) as proxy:
        yield proxy


@pytest.fixture
def blue(primary: Postgres, blue_proxy: Proxy) -> Blue:
    blue_proxy.await_writer("db-a")
    return Blue(primary, blue_proxy, PROBE_INTERVAL)


@pytest.fixture
def untroubled(primary: Postgres, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy that has never seen it: there is nothing to tell."""
    with monitored_proxy(tmp_path, primary) as proxy:
        yield proxy


class Case(NamedTuple):
    name: str
    before: tuple[object, ...]
    """What the client has asked before, while all was well."""

    asked: tuple[object, ...]
    tags: str
    """The replies to that, in the end."""

    after: tuple[object, ...] = ()


CASES = [
    Case("a simple query", (), (Query("INSERT INTO t_blue VALUES (1)"),), "CZ"),
    Case(
        "a quoted semicolon",
        (),
        (Query("INSERT INTO t_blue SELECT 1 WHERE ';' <> '\"';"),),
        "CZ",
    ),
    Case(
        "an unnamed statement",
        (),
        (Parse("", INSERT), Bind("", "", (b"1",)), Describe("P"), Execute(), Sync()),
        "12TDCZ",
    ),
    Case(
        "a statement prepared before",
        (Parse("mine", INSERT), Sync()),
        (Bind("", "mine", (b"1",)), Execute(), Sync()),
        "2DCZ",
    ),
    Case(
        "a statement prepared with it",
        (),
        (
            Parse("mine", INSERT),
            Describe("S", "mine"),
            Bind("", "mine", (b"1",)),
            Execute(),
            Sync(),
        ),
        "1tT2DCZ",
    ),
    Case(
        "a select for update",
        (),
        (Parse("", "SELECT 1 FROM t_blue FOR UPDATE"), Bind(), Describe("P"), Execute(), Sync()),
        "12TCZ",
        (Query("INSERT INTO t_blue VALUES (1)"),),
    ),
    Case(
        "the begin of a transaction",
        (),
        (Query("BEGIN"),),
        "CZ",
        (Query("INSERT INTO t_blue VALUES (1)"), Query("COMMIT")),
    ),
    Case(
        "begin and write in one text",
        (),
        (Query("BEGIN; INSERT INTO t_blue VALUES (1)"),),
        "CCZ",
        (Query("COMMIT"),),
    ),
    Case(
        "begin and write in one series, as pgjdbc does",
        (),
        (
            *(Parse("", "BEGIN"), Bind(), Execute(), Parse("", INSERT), Bind("", "", (b"1",))),
            *(Describe("P"), Execute(), Sync()),
        ),
        "12C12TDCZ",
        (Query("COMMIT"),),
    ),
]


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("named", [False, True], ids=["", "application_name"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_refused_waits_and_is_done_once(
    blue: Blue, case: Case, named: bool, pieces: bool
) -> None:
    """FO-01, FO-08: no 25006, no error, and the write is there once."""
    startup = {"application_name": "blue"} if named else {}
    with blue.proxy.wire(**startup) as client, blue.proxy.wire() as other:
        if case.before:
            client.ask(*case.before)  # type: ignore[arg-type]
        other.query("SELECT 1")
        data = b"".join(m.encode() for m in case.asked)  # type: ignore[attr-defined]
        with blue.read_only():
            if pieces:
                client.send_in_pieces(data, list(range(1, len(data))))
            else:
                client.send(data)
            assert [str(reply) for reply in client.read_quiet(0.3)] == [], blue.log
            blue.await_demoted()
        assert tags(client.read_ready()) == case.tags
        for message in case.after:
            assert errors_of(client.ask(message)) == []  # type: ignore[arg-type]
        assert blue.kept() == [1]
        # Prepared statements and the rest of the session are as they would be.
        assert client.value("SELECT 1") == "1"
        if "mine" in str(case.before + case.asked):
            assert errors_of(client.ask(Bind("", "mine", (b"2",)), Execute(), Sync())) == []
            assert [c for c, _ in errors_of(client.ask(Parse("mine", "SELECT 1"), Sync()))] == [
                "42P05"
            ]


def tags(replies: list[Reply]) -> str:
    return "".join(reply.tag for reply in replies if reply.tag not in "SN")


def test_reads_go_on_until_it_is_known(blue: Blue) -> None:
    """What was answered was answered: a read that meets the change first is not repeated."""
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            assert client.value("SELECT 2") == "2"
            client.send(Query("INSERT INTO t_blue VALUES (1)"))
            assert client.read_quiet(0.3) == []
        assert errors_of(client.read_ready()) == []
        assert blue.kept() == [1]


@pytest.mark.parametrize(
    "asked",
    [
        (Query("SELECT 1; INSERT INTO t_blue VALUES (1)"),),
        (Query("SELECT put(1)"),),
        (
            *(Parse("", "SELECT 1"), Bind(), Execute(), Parse("", INSERT)),
            *(Bind("", "", (b"1",)), Execute(), Sync()),
        ),
        (Query("INSERT INTO t_blue VALUES (1)"), Query("SELECT 1")),
    ],
    ids=["behind a read", "in a function", "behind a read in a series", "ahead of more"],
)
def test_what_may_have_done_something_ends_with_the_one_error(
    blue: Blue, asked: tuple[object, ...]
) -> None:
    """FO-02, invariant 5: who can tell what a function did before? Never 25006 all the same."""
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            client.send(*asked)  # type: ignore[arg-type]
            assert errors_of(client.read_to_end()) == [LOST]
    assert blue.kept() == []


def test_a_pinned_session_ends_with_the_one_error(blue: Blue) -> None:
    """FO-02: it can't move."""
    with blue.proxy.wire() as client:
        client.query("SET work_mem = '4MB'")
        with blue.read_only():
            client.send(Query("INSERT INTO t_blue VALUES (1)"))
            replies = client.read_to_end()
            assert errors_of(replies) == [LOST]
            assert "pinned" in replies[-1].fields["D"]
    assert blue.kept() == []


PINS = "SET work_mem = '4MB'"
# What a session that stays where it is may ask in the meantime.
MEETINGS = {
    "at once": (),
    "a read": (Query("SELECT 1"),),
    "a transaction": (Query("BEGIN"),),
    "a read in a transaction": (Query("BEGIN"), Query("SELECT 1")),
    "a series": (Parse("", "BEGIN"), Bind(), Execute(), Sync()),
}


@pytest.mark.parametrize(
    ("mode", "monitored", "pieces"),
    [
        ("pinned", True, False),
        ("pinned", False, True),
        ("session", True, True),
        ("session", False, False),
    ],
)
def test_a_later_write_of_who_stays_ends_with_the_one_error(
    primary: Postgres, tmp_path: Path, mode: str, monitored: bool, pieces: bool
) -> None:
    """FO-02: whatever has met the change first, and before any probe."""
    monitoring = {"monitoring": {"secret": MONITOR}} if monitored else {}
    pool_mode = {"pool_mode": "session"} if mode == "session" else {}
    with start_proxy(
        tmp_path,
        primary,
        failover={"probe_interval": 30},
        max_connections_percent=40,
        **monitoring,
        **pool_mode,
    ) as proxy:
        blue = Blue(primary, proxy)
        for meeting in MEETINGS.values():
            with proxy.wire() as client:
                client.query(PINS)
                with blue.read_only():
                    if meeting:
                        assert errors_of(client.ask(*meeting, ready=ready_of(meeting))) == []
                    data = Query("INSERT INTO t_blue VALUES (1)").encode()
                    client.send_in_pieces(data, list(range(1, len(data))) if pieces else [])
                    assert errors_of(client.read_to_end()) == [LOST], meeting
        with primary.admin() as admin:
            assert admin.query("SELECT n FROM t_blue") == []


def ready_of(asked: tuple[object, ...]) -> int:
    return sum(isinstance(message, Query | Sync) for message in asked)


def test_a_transaction_that_met_it_ends_with_the_one_error(blue: Blue) -> None:
    """What it has read it has read; so it cannot begin anew elsewhere."""
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            assert errors_of(client.ask(Query("BEGIN; SELECT 1"))) == []
            client.send(Query("INSERT INTO t_blue VALUES (1)"))
            assert errors_of(client.read_to_end()) == [LOST]


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "byte by byte"])
def test_a_series_that_ends_with_flush_waits(blue: Blue, pieces: bool) -> None:
    """Its client waits for the answer before it says Sync, as libpq's does in a pipeline."""
    asked = (Parse("", INSERT), Bind("", "", (b"1",)), Describe("P"), Execute(), Flush())
    data = b"".join(message.encode() for message in asked)
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            client.send_in_pieces(data, list(range(1, len(data))) if pieces else [])
            assert [str(reply) for reply in client.read_quiet(0.3)] == []
            blue.await_demoted()
        assert tags(client.read_until("CE")) == "12TDC"
        assert tags(client.ask(Sync())) == "Z"
    assert blue.kept() == [1]


def test_a_message_that_still_comes(blue: Blue) -> None:
    """A long Bind is half-way behind a refused Execute: one error, no 25006."""
    long = Bind("", "", (b"1" * 600_000,)).encode()
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            client.send(Parse("", INSERT), Bind("", "", (b"1",)), Execute(), long[:300_000])
            assert errors_of(client.read_to_end()) == [LOST]


def test_a_read_that_meets_it_is_no_blind_spot(blue: Blue) -> None:
    """The database has changed the setting, no statement."""
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            # Where it was set back before the proxy could look, it was told as one.
            before = blue.proxy.metric("pyproxy_pinning_blind_spots_total"), blue.log
            client.query("SELECT 2")
            blue.await_demoted()
            # A connection of its own asks the database: later than the monitor where that takes long.
            time.sleep(0.3)
            assert blue.proxy.metric("pyproxy_pinning_blind_spots_total") == before[0]
            assert "blind" not in blue.log.removeprefix(before[1])


def test_a_function_that_does_it_is_one(primary: Postgres, tmp_path: Path) -> None:
    """Lesson 18: and the next client gets what it has left behind, as on RDS Proxy."""
    with monitored_proxy(tmp_path, primary) as proxy, proxy.wire() as client:
        client.query("SELECT make_read_only()")
        proxy.wait_for_log("the setting default_transaction_read_only")
        assert proxy.metric("pyproxy_pinning_blind_spots_total") == 1


def test_a_transaction_begun_before_goes_on(blue: Blue) -> None:
    """PostgreSQL lets it write: the setting is looked at when a transaction begins."""
    with blue.proxy.wire() as client:
        client.query("BEGIN")
        with blue.read_only():
            client.query("INSERT INTO t_blue VALUES (1)")
            client.query("COMMIT")
    assert blue.kept() == [1]


@pytest.mark.parametrize(
    "before",
    [
        "BEGIN READ ONLY",
        "BEGIN; SET TRANSACTION READ ONLY",
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    ],
)
def test_who_wants_to_be_read_only_is_refused_as_ever(
    primary: Postgres, untroubled: Proxy, before: str
) -> None:
    """Transparency: the same error as on a connection of its own, and nobody is suspected."""
    with untroubled.wire() as client, primary.wire() as direct:
        for wire in (client, direct):
            wire.query(before)
        asked = Query("INSERT INTO t_blue VALUES (1)")
        assert [str(r) for r in client.ask(asked)] == [str(r) for r in direct.ask(asked)]
        assert untroubled.api("events")["events"] == []


def test_a_role_that_is_read_only_is_refused_as_ever(primary: Postgres, untroubled: Proxy) -> None:
    with primary.admin() as admin:
        admin.query("ALTER ROLE md5 SET default_transaction_read_only = on")
        try:
            with untroubled.wire("md5") as client:
                told = errors_of(client.ask(Query("CREATE TABLE t_never (n int)")))
                assert [code for code, _ in told] == ["25006"]
                assert client.value("SELECT 1") == "1"
        finally:
            admin.query("ALTER ROLE md5 RESET default_transaction_read_only")


def test_a_read_only_transaction_that_begins_there_is_refused_by_the_next(blue: Blue) -> None:
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            client.send(Query("BEGIN READ ONLY; INSERT INTO t_blue VALUES (1)"))
            assert client.read_quiet(0.3) == []
        assert [code for code, _ in errors_of(client.read_ready())] == ["25006"]
        client.query("ROLLBACK")


def test_a_flush_in_the_middle_of_a_series(blue: Blue) -> None:
    """Half of the answer has gone to the client: one error, and no 25006."""
    with blue.proxy.wire() as client:
        client.query("SELECT 1")
        with blue.read_only():
            client.send(Parse("", INSERT), Describe("S"), Flush())
            client.read_until("T")
            client.send(Bind("", "", (b"1",)), Execute(), Sync())
            assert errors_of(client.read_to_end()) == [LOST]


def test_psycopg_in_its_ordinary_way(blue: Blue) -> None:
    """BEGIN of its own, parameters, prepared on the server from the start."""
    with (
        psycopg.connect(blue.proxy.dsn(), prepare_threshold=0) as connection,
        ThreadPoolExecutor() as threads,
    ):

        def write(n: int) -> None:
            connection.execute("INSERT INTO t_blue VALUES (%s)", (n,))
            connection.commit()

        write(1)
        with blue.read_only():
            written = threads.submit(write, 2)
            blue.await_demoted()
            assert not written.done()
        written.result()
    assert blue.kept() == [1, 2]


def test_the_borrow_timeout_ends_the_wait(primary: Postgres, tmp_path: Path) -> None:
    """E-PG-16; nobody probes: its own connections show what the database is."""
    with start_proxy(tmp_path, primary, connection_borrow_timeout=1) as proxy:
        blue = Blue(primary, proxy)
        with proxy.wire() as client:
            client.query("SELECT 1")
            with blue.read_only():
                client.send(Query("INSERT INTO t_blue VALUES (1)"))
                assert [code for code, _ in errors_of(client.read_to_end())] == ["08000"]
                (row,) = proxy.api("targets")["targets"]
                assert (row["state"], row["reason"]) == ("UNAVAILABLE", "INVALID_REPLICATION_STATE")
                assert row["description"] == "it is set to be read-only"


@pytest.mark.parametrize("monitored", [True, False])
def test_a_standby_alone_gets_no_client_that_wants_to_write(
    pair: Pair, tmp_path: Path, monitored: bool
) -> None:
    """RDS Proxy never sends a READ_WRITE endpoint's client to a reader: it waits for a writer."""
    monitoring = {"monitoring": {"secret": MONITOR}} if monitored else {}
    shown = ("AVAILABLE", "READ_ONLY", "")
    if not monitored:
        shown = ("UNAVAILABLE", "UNKNOWN", "INVALID_REPLICATION_STATE")
    with (
        start_proxy(tmp_path, pair.standby, connection_borrow_timeout=40, **monitoring) as proxy,
        Wire("127.0.0.1", proxy.port, timeout=30) as client,
        ThreadPoolExecutor() as threads,
    ):
        login = threads.submit(client.login, "app", PASSWORD, "app")
        deadline = time.monotonic() + 20
        health = None
        while health != shown:
            assert time.monotonic() < deadline, health
            (row,) = proxy.api("targets")["targets"]
            health = (row["state"], row["role"], row["reason"])
        assert not login.done()
        pair.standby.cluster.promote()
        assert login.result().value("SELECT pg_is_in_recovery()") == "f"
