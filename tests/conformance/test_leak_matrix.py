"""The leak matrix: whatever a client leaves in its session stays its own.

Every kind of state, by the simple and by the extended protocol, with one database connection for
everybody: who has set it keeps it while another one waits, and the other one, who gets the same
connection next, finds nothing of it, whether the first has said goodbye or was killed (lessons 16,
18, 19; C-09, END-01, END-02).

Below it the blind spots: the same state set inside a function, which RDS Proxy's text rules do not
see (NOPIN-PG-02). There it leaks, as on AWS, unless `leak_guard` is on.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.messages import Bind, Execute, Parse, Query, Sync, message
from tests.support.postgres import Postgres, start_postgres, temporary_folder
from tests.support.proxy import Proxy, proxy_of
from tests.support.wire import Reply, Wire, errors_of

pytestmark = pytest.mark.integration

# `trusted` is a superuser here: LOAD and SET SESSION AUTHORIZATION are not for others.
_OBJECTS = """
ALTER ROLE trusted SUPERUSER; CREATE ROLE other; GRANT other TO app, trusted; CREATE SEQUENCE q;
GRANT ALL ON SEQUENCE q TO PUBLIC;
CREATE FUNCTION setit(n text, v text) RETURNS text LANGUAGE sql
    AS 'SELECT pg_catalog.set_config(n, v, false)';
CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END';
CREATE FUNCTION locked() RETURNS int LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_catalog.pg_advisory_lock(7); RETURN 1; END';
CREATE PROCEDURE doit(n text, v text) LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_catalog.set_config(n, v, false); END';
CREATE VIEW innocent AS SELECT public.locked();
CREATE TABLE watched (a int);
CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_catalog.set_config(''work_mem'', ''9MB'', false); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_insert();
GRANT ALL ON watched, innocent TO PUBLIC
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """A cluster of its own: one of its users becomes a superuser."""
    with temporary_folder() as folder:
        database = start_postgres(folder)
        with contextlib.closing(database.admin()) as admin:
            admin.query(_OBJECTS)
        yield database
        database.cluster.kill()


@pytest.fixture(scope="module")
def narrow(database: Postgres) -> Iterator[Proxy]:
    """One database connection for everybody."""
    with proxy_of(1, database) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def guarded(database: Postgres) -> Iterator[Proxy]:
    """The same with leak_guard."""
    with proxy_of(1, database, extensions=["leak_guard"]) as proxy:
        yield proxy


class State(NamedTuple):
    """A kind of session state."""

    rule: str
    sets: str
    """SQL that makes it; FUNCTION_CALL for the message."""

    probe: str
    """SQL whose answer shows it."""

    own: str | None
    """What the client that made it sees."""

    clean: tuple[str | None, ...]
    """What everybody else may see: a value, or the SQLSTATE of an error."""

    user: str = "app"


FUNCTION_CALL = "FunctionCall"


def setting(name: str) -> str:
    return f"SELECT current_setting('{name}', true)"


LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
SPOTS = "pyproxy_pinning_blind_spots_total"
STATES = {
    "search_path": State(
        "PIN-PG-01", "SET search_path TO pg_catalog", setting("search_path"),
        "pg_catalog", ('"$user", public',),
    ),
    "statement_timeout": State(
        "PIN-PG-01", "SET statement_timeout = '77s'", setting("statement_timeout"), "77s", ("0",)
    ),
    "work_mem": State("PIN-PG-01", "SET work_mem = '9MB'", setting("work_mem"), "9MB", ("4MB",)),
    "set_config": State(
        "PIN-PG-10", "SELECT set_config('work_mem', '9MB', false)", setting("work_mem"),
        "9MB", ("4MB",),
    ),
    "custom setting": State(
        # A placeholder cannot be removed from a session; that is PostgreSQL's.
        "PIN-PG-01", "SET app.tenant = '7'", setting("app.tenant"), "7", (None, ""),
    ),
    "SET ROLE": State("PIN-PG-15", "SET ROLE other", "SELECT current_user", "other", ("app",)),
    "SET SESSION AUTHORIZATION": State(
        "PIN-PG-15", "SET SESSION AUTHORIZATION other", "SELECT session_user",
        "other", ("trusted",), "trusted",
    ),
    "temporary table": State(
        "PIN-PG-03", "CREATE TEMP TABLE mine (a int)", "SELECT to_regclass('mine')",
        "mine", (None,),
    ),
    "temporary view": State(
        "PIN-PG-03", "CREATE TEMP VIEW mine AS SELECT 1", "SELECT to_regclass('mine')",
        "mine", (None,),
    ),
    "SELECT INTO TEMP": State(
        "PIN-PG-21", "SELECT 1 AS a INTO TEMP mine", "SELECT to_regclass('mine')", "mine", (None,)
    ),
    "temporary function": State(
        "PIN-PG-28",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 8'",
        "SELECT pg_temp.f()", "8", ("42883", "3F000"),
    ),
    "SQL PREPARE": State(
        "PIN-PG-02", "PREPARE s AS SELECT 8",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql", "1", ("0",),
    ),
    "advisory lock": State("PIN-PG-09", "SELECT pg_advisory_lock(5)", LOCKS, "1", ("0",)),
    "LISTEN": State(
        "PIN-PG-06", "LISTEN c", "SELECT count(*) FROM pg_listening_channels()", "1", ("0",)
    ),
    "cursor WITH HOLD": State(
        "PIN-PG-04b", "DECLARE c CURSOR WITH HOLD FOR SELECT 8",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable", "1", ("0",),
    ),
    "TimeZone": State(
        "PIN-PG-16", "SET TIME ZONE 'Asia/Tokyo'", setting("TimeZone"), "Asia/Tokyo", ("Etc/UTC",)
    ),
    "application_name": State(
        "PIN-PG-01", "SET application_name = 'mine'", setting("application_name"), "mine", ("",)
    ),
    "SET SESSION CHARACTERISTICS": State(
        "PIN-PG-13", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        setting("transaction_isolation"), "serializable", ("read committed",),
    ),
    "default_transaction_read_only": State(
        "PIN-PG-01", "SET default_transaction_read_only = on", setting("transaction_read_only"),
        "on", ("off",),
    ),
    "DateStyle": State(
        "PIN-PG-01", "SET DateStyle = 'German'", "SELECT '2026-01-31'::date",
        "31.01.2026", ("2026-01-31",),
    ),
    "client_encoding": State(
        "PIN-PG-16", "SET NAMES 'latin1'", setting("client_encoding"), "LATIN1", ("UTF8",)
    ),
    "standard_conforming_strings": State(
        "PIN-PG-01", "SET standard_conforming_strings = off",
        setting("standard_conforming_strings"), "off", ("on",),
    ),
    "LOAD": State(
        "PIN-PG-07", "LOAD 'auto_explain'",
        "SELECT count(*) > 0 FROM pg_settings WHERE name LIKE 'auto_explain.%'",
        "t", ("f",), "trusted",
    ),
    "sequence": State("PIN-PG-08", "SELECT setval('q', 8)", "SELECT currval('q')", "8", ("55000",)),
    "FunctionCall": State("PIN-PG-33", FUNCTION_CALL, LOCKS, "1", ("0",)),
}  # fmt: skip


def say(client: Wire, sql: str, *, extended: bool) -> None:
    """Send a statement by one of the protocols."""
    if sql == FUNCTION_CALL:
        # pg_advisory_lock(bigint) is 2880 in pg_proc: one argument in text, a result in text.
        body = struct.pack("!IHHHi", 2880, 1, 0, 1, 1) + b"5" + struct.pack("!H", 0)
        client.send(message(b"F", body))
    elif extended:
        client.send(Parse("", sql), Bind(), Execute(), Sync())
    else:
        client.send(Query(sql))


def seen(replies: list[Reply]) -> str | None:
    """The first column of the first row, or the SQLSTATE of an error."""
    failed = errors_of(replies)
    if failed:
        return failed[0][0]
    value = next(reply.values[0] for reply in replies if reply.tag == "D")
    return None if value is None else value.decode()


def ask(client: Wire, sql: str, *, extended: bool) -> str | None:
    say(client, sql, extended=extended)
    return seen(client.read_ready())


def kill(client: Wire) -> None:
    """Give the connection to a process and kill -9 that: the kernel closes the socket."""
    owner = subprocess.Popen(["sleep", "60"], pass_fds=[client.fileno()])
    client.close()
    owner.kill()
    owner.wait()


@pytest.mark.parametrize("goes", ["politely", "by kill -9"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("kind", STATES)
def test_what_a_client_has_set_stays_its_own(
    narrow: Proxy, kind: str, protocol: str, goes: str
) -> None:
    state, extended = STATES[kind], protocol == "extended"
    with narrow.wire(state.user) as other, narrow.wire(state.user) as client:
        assert ask(other, state.probe, extended=extended) in state.clean
        say(client, state.sets, extended=extended)
        assert not errors_of(client.read_ready())
        assert ask(client, state.probe, extended=extended) == state.own
        # The other one has to wait: there is no second connection.
        say(other, state.probe, extended=extended)
        assert ask(client, state.probe, extended=extended) == state.own
        (row,) = [row for row in narrow.api("pins")["sessions"] if row["held"]]
        assert row["rule"] == state.rule
        if goes == "politely":
            client.terminate()
        else:
            kill(client)
        assert seen(other.read_ready()) in state.clean
    narrow.await_rest()


# -- lessons ---------------------------------------------------------------------------------------


def test_lesson_17_a_set_that_is_rolled_back_is_nobodys(narrow: Proxy) -> None:
    """Lesson 17: BEGIN, SET, ROLLBACK, also to a savepoint, also by a COMMIT that fails."""
    probe = setting("work_mem")
    with narrow.wire() as client:
        client.query("BEGIN; SET work_mem = '9MB'; ROLLBACK")
        assert client.value(probe) == "4MB"
        client.query("BEGIN; SAVEPOINT s; SET work_mem = '9MB'; ROLLBACK TO s; COMMIT")
        assert client.value(probe) == "4MB"
        client.query("BEGIN; SET work_mem = '9MB'")
        assert errors_of(client.ask(Query("SELECT 1/0")))
        client.ask(Query("COMMIT"))
        assert client.value(probe) == "4MB"
    with narrow.wire() as other:
        assert other.value(probe) == "4MB"


def test_lesson_34_nested_savepoints_leave_what_postgresql_says(narrow: Proxy) -> None:
    """Lesson 34."""
    probe = setting("work_mem")
    with narrow.wire() as client:
        client.query("BEGIN; SET work_mem = '5MB'; SAVEPOINT a; SET work_mem = '6MB'; SAVEPOINT b")
        client.query("SET work_mem = '7MB'; ROLLBACK TO b")
        assert client.value(probe) == "6MB"
        client.query("RELEASE b; ROLLBACK TO a; COMMIT")
        assert client.value(probe) == "5MB"
    with narrow.wire() as other:
        assert other.value(probe) == "4MB"


def test_lesson_25_a_lock_that_was_not_got_and_one_whose_client_was_killed(
    narrow: Proxy, database: Postgres
) -> None:
    """Lesson 25: both pin, by the text (PIN-PG-09), and neither lasts longer than its client."""
    with database.wire() as owner:
        owner.query("SELECT pg_advisory_lock(25)")
        with narrow.wire() as client:
            assert client.value("SELECT pg_try_advisory_lock(25)") == "f"
    narrow.await_rest()
    client = narrow.wire()
    client.query("SELECT pg_advisory_lock(25)")
    kill(client)
    with database.wire() as other:
        deadline = time.monotonic() + 10
        while other.value("SELECT pg_try_advisory_lock(25)") != "t":
            assert time.monotonic() < deadline, "the lock outlives its client"
            time.sleep(0.05)
    narrow.await_rest()


# -- what AWS does not see -------------------------------------------------------------------------


class Blind(NamedTuple):
    """State that the text does not show."""

    sets: str
    probe: str
    own: str
    clean: tuple[str | None, ...]
    kind: str
    """The label that leak_guard counts it under; empty for what can only be undone unseen."""

    shown: bool = False
    """Whether it is seen without leak_guard too."""


BLIND = {
    "reported setting": Blind(
        "SELECT setit('TimeZone', 'Asia/Tokyo')", setting("TimeZone"), "Asia/Tokyo",
        ("Etc/UTC",), "setting", shown=True,
    ),
    "default_transaction_read_only": Blind(
        "SELECT setit('default_transaction_read_only', 'on')", setting("transaction_read_only"),
        "on", ("off",), "setting", shown=True,
    ),
    "setting": Blind(
        "SELECT setit('work_mem', '9MB')", setting("work_mem"), "9MB", ("4MB",), "setting"
    ),
    "search_path": Blind(
        "SELECT setit('search_path', 'nowhere, pg_catalog')", setting("search_path"),
        "nowhere, pg_catalog", ('"$user", public',), "setting",
    ),
    "custom setting": Blind(
        "SELECT setit('app.tenant', '7')", setting("app.tenant"), "7", (None, ""), ""
    ),
    "role": Blind("SELECT setit('role', 'other')", "SELECT current_user", "other", ("app",), "role"),
    "temporary table": Blind(
        "SELECT run('CREATE TEMP TABLE mine (a int)')", "SELECT to_regclass('pg_temp.mine')",
        "mine", (None,), "temporary_object",
    ),
    "SQL PREPARE": Blind(
        "SELECT run('PREPARE s AS SELECT 8')",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql", "1", ("0",),
        "prepared_statement",
    ),
    "advisory lock": Blind("SELECT locked()", LOCKS, "1", ("0",), "advisory_lock"),
    "LISTEN": Blind(
        "SELECT run('LISTEN c')", "SELECT count(*) FROM pg_listening_channels()", "1", ("0",),
        "listen",
    ),
    "cursor WITH HOLD": Blind(
        "SELECT run('DECLARE c CURSOR WITH HOLD FOR SELECT 8')",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable", "1", ("0",), "cursor",
    ),
    "sequence": Blind(
        "SELECT run('SELECT setval(''q'', 8)')", "SELECT currval('q')", "8", ("55000",), ""
    ),
    "procedure": Blind(
        "CALL doit('work_mem', '9MB')", setting("work_mem"), "9MB", ("4MB",), "setting"
    ),
    "DO": Blind(
        "DO $$ BEGIN PERFORM set_config('work_mem', '9MB', false); END $$",
        setting("work_mem"), "9MB", ("4MB",), "setting",
    ),
    "view": Blind("SELECT * FROM innocent", LOCKS, "1", ("0",), "advisory_lock"),
    "trigger": Blind(
        "INSERT INTO watched VALUES (1)", setting("work_mem"), "9MB", ("4MB",), "setting"
    ),
    "in a transaction": Blind(
        "BEGIN; SELECT setit('work_mem', '9MB'); SELECT 1; COMMIT",
        setting("work_mem"), "9MB", ("4MB",), "setting",
    ),
}  # fmt: skip


def spots(proxy: Proxy, kind: str) -> float:
    return proxy.metric(SPOTS, kind=kind)


@pytest.mark.parametrize("kind", BLIND)
def test_a_blind_spot_leaks_as_on_aws_and_is_shown_where_it_can_be(
    narrow: Proxy, kind: str
) -> None:
    """NOPIN-PG-02; the database's own report gives a setting away, without any query of ours."""
    blind = BLIND[kind]
    before = spots(narrow, "setting")
    try:
        with narrow.wire() as client, narrow.wire() as other:
            replies = client.ask(Query(blind.sets))
            assert not errors_of(replies)
            assert other.value(blind.probe) == blind.own
            assert not [row for row in narrow.api("pins")["sessions"] if row["held"]]
        narrow.await_metric(SPOTS, before + blind.shown, kind="setting")
    finally:
        with narrow.wire() as cleaner:
            # It pins, and its connection is reset when it goes.
            cleaner.query("RESET ALL")
    narrow.await_rest()


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("kind", BLIND)
def test_leak_guard_lets_no_blind_spot_reach_another_client(
    guarded: Proxy, kind: str, protocol: str
) -> None:
    blind = BLIND[kind]
    extended = protocol == "extended" and "BEGIN;" not in blind.sets
    before = spots(guarded, blind.kind)
    with guarded.wire() as client, guarded.wire() as other:
        say(client, blind.sets, extended=extended)
        say(other, blind.probe, extended=extended)
        assert not errors_of(client.read_ready())
        assert seen(other.read_ready()) in blind.clean
        # The client that did it has no better right to it: it is not pinned.
        assert ask(client, blind.probe, extended=extended) in blind.clean
    if blind.kind:
        guarded.await_metric(SPOTS, before + 1, kind=blind.kind)
    guarded.await_rest()


@pytest.mark.parametrize("kind", ["advisory lock", "setting", "LISTEN", "custom setting"])
def test_leak_guard_holds_when_the_client_is_killed_in_a_transaction(
    guarded: Proxy, kind: str
) -> None:
    """A rollback does not free a session's lock; what it does undo is no finding."""
    blind = BLIND[kind]
    client = guarded.wire()
    client.query("BEGIN")
    client.query(blind.sets)
    with guarded.wire() as other:
        other.send(Query(blind.probe))
        kill(client)
        assert seen(other.read_ready()) in blind.clean
    guarded.await_rest()


def test_leak_guard_names_the_statement_in_log_and_events(guarded: Proxy) -> None:
    with guarded.wire(application_name="tenants") as client:
        client.query("BEGIN; SELECT 1")
        client.query("SELECT setit('maintenance_work_mem', '9MB')")
        client.query("COMMIT")
    line = guarded.wait_for_log("maintenance_work_mem")
    assert "[WARN]" in line
    assert "[pyproxy]" in line
    assert "RDS Proxy would lend this database connection to other clients with it" in line
    assert 'Statement: "select setit($1, $2)".' in line
    event = guarded.api("events")["events"][-1]
    assert event["event"] == "pinning-blind-spot"
    assert "maintenance_work_mem" in event["message"]


def test_leak_guard_leaves_prepared_statements_and_pins_alone(guarded: Proxy) -> None:
    """What is ours is no finding, and a pin keeps its state as without it."""
    with guarded.wire(application_name="one") as client, guarded.wire() as other:
        total = sum(spots(guarded, kind) for kind in ("setting", "prepared_statement"))
        client.ask(Parse("s", "SELECT 8"), Sync())
        for _ in range(3):
            other.query("SELECT 1")
            assert seen(client.ask(Bind("", "s"), Execute(), Sync())) == "8"
            assert client.value(setting("application_name")) == "one"
            assert other.value(setting("application_name")) == ""
        client.query("SET work_mem = '9MB'")
        assert client.value(setting("work_mem")) == "9MB"
        assert sum(spots(guarded, kind) for kind in ("setting", "prepared_statement")) == total
    guarded.await_rest()


def test_leak_guard_runs_nothing_that_a_session_could_have_replaced(guarded: Proxy) -> None:
    """CVE-2025-12819 of PgBouncer: a search_path must not decide what the proxy itself runs."""
    with guarded.wire("trusted") as client:
        client.query("""
            CREATE SCHEMA evil;
            CREATE FUNCTION evil.caught(a oid, b oid) RETURNS bool LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''caught''; END';
            CREATE FUNCTION evil.caught(a text, b text) RETURNS bool LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''caught''; END';
            CREATE FUNCTION evil.caught(a int, b int) RETURNS bool LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''caught''; END';
            CREATE OPERATOR evil.= (FUNCTION = evil.caught, LEFTARG = oid, RIGHTARG = oid);
            CREATE OPERATOR evil.= (FUNCTION = evil.caught, LEFTARG = int, RIGHTARG = int);
            CREATE OPERATOR evil.= (FUNCTION = evil.caught, LEFTARG = text, RIGHTARG = text);
            CREATE OPERATOR evil.<> (FUNCTION = evil.caught, LEFTARG = text, RIGHTARG = text);
            CREATE FUNCTION evil.jsonb_agg(a text) RETURNS jsonb LANGUAGE sql
                AS 'SELECT NULL::jsonb';
            CREATE TYPE evil.text AS (a int);
            GRANT ALL ON SCHEMA evil TO PUBLIC""")
        before = spots(guarded, "setting")
        client.query("SELECT public.setit('search_path', 'evil, pg_catalog')")
        assert client.value(setting("search_path")) == '"$user", public'
        assert spots(guarded, "setting") == before + 1
    assert "caught" not in guarded.log
    guarded.await_rest()
