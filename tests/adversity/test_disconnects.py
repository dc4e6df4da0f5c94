"""A client goes away in any state: its server is clean or closed, soon, and nobody else notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.messages import (
    Bind,
    CopyData,
    CopyDone,
    Execute,
    Flush,
    Parse,
    Query,
    Sendable,
    Sync,
    Terminate,
)
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy, proxy_of
from tests.support.waiting import wait_until
from tests.support.wire import Wire, tags_of

pytestmark = pytest.mark.adversity


@pytest.fixture(scope="module")
def narrow(postgres: Postgres) -> Iterator[Proxy]:
    """One server for everybody: whatever is left on it is met by the next client."""
    with proxy_of(1, postgres, proxy={"debug_logging": True}) as proxy:
        yield proxy


def idle(wire: Wire) -> None:
    wire.value("SELECT 1")


def in_transaction(wire: Wire) -> None:
    wire.query("BEGIN; INSERT INTO a_left VALUES (1)")


def in_failed_transaction(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.ask(Query("SELECT 1/0"))


def with_a_lock(wire: Wire) -> None:
    wire.query("SELECT pg_advisory_lock(99)")


def with_settings(wire: Wire) -> None:
    wire.query("SET work_mem = '1MB'; SET search_path = nowhere; CREATE TEMP TABLE a_temp (n int)")


def listening(wire: Wire) -> None:
    wire.query("LISTEN a_channel")


def in_copy_in(wire: Wire) -> None:
    wire.send(Query("COPY a_left FROM STDIN"), CopyData(b"5\n"))
    wire.read_until("G")


def in_copy_out(wire: Wire) -> None:
    wire.send(Query("COPY (SELECT repeat('x', 999) FROM generate_series(1, 99999)) TO STDOUT"))
    wire.read_until("H")


def in_a_result(wire: Wire) -> None:
    wire.send(Query("SELECT repeat('x', 999) FROM generate_series(1, 99999)"))
    wire.read_until("D")


def in_a_long_query(wire: Wire) -> None:
    wire.send(Query("INSERT INTO a_left SELECT 2 FROM pg_sleep(60)"))
    time.sleep(0.1)


def in_a_pipeline(wire: Wire) -> None:
    wire.send(Parse("", "INSERT INTO a_left VALUES (3)"), Bind(), Execute(), Flush())
    wire.read_until("C")


def in_a_message(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.send(Query("SELECT 'half a message'").encode()[:12])


def in_a_big_message(wire: Wire) -> None:
    data = Bind("", "", (b"x" * 300_000,)).encode()
    wire.send(Parse("", "SELECT length($1::text)"), data[:150_000])
    time.sleep(0.05)


def after_an_error_without_sync(wire: Wire) -> None:
    wire.send(Parse("", "SELEC"), Query(""))
    wire.read_until("E")


def with_an_open_portal(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.ask(Parse("", "SELECT generate_series(1, 9)"), Bind("p"), Execute("p", 2), Sync())


STATES = [
    idle, in_transaction, in_failed_transaction, with_a_lock, with_settings, listening, in_copy_in,
    in_copy_out, in_a_result, in_a_long_query, in_a_pipeline, in_a_message, in_a_big_message,
    with_an_open_portal, after_an_error_without_sync,
]  # fmt: skip
WAYS: list[Callable[[Wire], None]] = [Wire.close, Wire.vanish, Wire.terminate]


CASES = [
    (state, leave)
    for state in STATES
    for leave in WAYS
    # Terminate is read after what was asked before it: see below.
    if (state, leave) != (in_a_long_query, Wire.terminate)
]


@pytest.mark.parametrize(
    ("state", "leave"), CASES, ids=[f"{s.__name__}-{leave.__name__}" for s, leave in CASES]
)
def test_what_a_client_leaves_is_cleaned_away(
    postgres: Postgres, narrow: Proxy, state: Callable[[Wire], None], leave: Callable[[Wire], None]
) -> None:
    """END-01, END-03, invariants 1 and 2."""
    with postgres.wire() as direct:
        direct.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
        wire = narrow.wire()
        state(wire)
        leave(wire)
        wire.close()
        began = time.monotonic()
        with narrow.wire() as other:
            assert other.query(
                "SELECT current_setting('work_mem'), current_setting('search_path'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
                " (SELECT count(*) FROM pg_listening_channels()),"
                " (SELECT count(*) FROM pg_cursors WHERE name <> ''),"
                " (SELECT count(*) FROM pg_class WHERE relname = 'a_temp')"
            ) == [("4MB", '"$user", public', "0", "0", "0", "0")]
        assert time.monotonic() - began < 8
        assert direct.value("SELECT count(*) FROM a_left") == "0"


def test_what_was_asked_before_terminate_still_runs(postgres: Postgres, narrow: Proxy) -> None:
    """As PostgreSQL does: it reads Terminate when it is done with what came before it."""
    with postgres.wire() as direct:
        direct.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
        wire = narrow.wire()
        wire.send(Query("INSERT INTO a_left SELECT 2 FROM pg_sleep(0.5)"))
        wire.terminate()
        with narrow.wire() as other:
            assert other.value("SELECT count(*) FROM a_left") == "1"


CALL = (Parse("", "SELECT 2"), Bind(), Execute())
BIG = "SELECT repeat('x', 999) FROM generate_series(1, 20000)"
ASKED: dict[str, tuple[Sendable, ...]] = {
    "nothing": (),
    "queries": (Query("SELECT 1"), Query("SELECT 2"), Query("SELECT 1/0")),
    "a query that takes a while": (Query("SELECT 1"), Query("SELECT pg_sleep(0.2)")),
    "a big result": (Query(BIG),),
    "a transaction": (Query("BEGIN"), Query("INSERT INTO a_left VALUES (4)")),
    "a pipeline": (*CALL, Sync(), *CALL, Sync()),
    "a pipeline without its Sync": (*CALL, Sync(), *CALL, *CALL),
    "one whose answers have come": (*CALL, Flush()),
    "one with the end of no copy": (*CALL, CopyDone()),
    "one that has failed": (*CALL, Bind("", "nothing"), *CALL),
    "one that has failed at length": (
        Parse("", "DO $$BEGIN RAISE EXCEPTION '%', repeat('e', 500000); END$$"),
        *CALL[1:],
    ),
    "a name for each": (Parse("a", "SELECT 3"), Bind("", "a"), Execute(), Sync(), *CALL),
    "a COPY": (Query("COPY a_left FROM STDIN"), CopyData(b"5\n")),
}


@pytest.mark.parametrize("pause", [0.0, 0.1])
@pytest.mark.parametrize("asked", ASKED)
def test_what_was_asked_before_a_bogus_message_is_answered(
    postgres: Postgres, narrow: Proxy, asked: str, pause: float
) -> None:
    """Lesson 30, as PostgreSQL does: it reads a message when it is done with what came before."""
    heard = []
    with postgres.wire() as direct:
        direct.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
        for place in (postgres, narrow):
            with place.wire() as offender:
                offender.send(*ASKED[asked])
                time.sleep(pause)
                offender.send(b"!\0\0\0\4")
                replies = offender.read_to_end()
            # Of a COPY it says that it is one, and it is at a loss then.
            ended = [r for r in replies if r.tag == "E"][-1]
            assert (ended.fields["S"], ended.fields["C"]) == ("FATAL", "08P01")
            told = [str(r) for r in replies if r is not ended]
            heard.append([line for line in told if asked != "a COPY" or "08P01" not in line])
        with narrow.wire() as other:
            assert other.value("SELECT 1") == "1"
        assert direct.value("SELECT count(*) FROM a_left") == "0"
    assert heard[1] == heard[0]


@pytest.mark.parametrize("end", [Terminate(), b"!\0\0\0\4"])
def test_a_copy_that_was_complete_stands(
    postgres: Postgres, narrow: Proxy, end: Sendable | bytes
) -> None:
    """L-09: its end was sent together with that of the client, while the database read the data."""
    for place in (postgres, narrow):
        with place.wire() as client:
            client.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
            client.send(Query("COPY a_left FROM STDIN"))
            client.read_until("G")
            client.send(CopyData(b"5\n"), CopyDone(), end)
            replies = client.read_to_end()
            assert [r.tag for r in replies][:2] == ["C", "Z"]
        with place.wire() as other:
            assert other.value("SELECT count(*) FROM a_left") == "1"


def test_what_was_synced_stands_though_more_was_begun_before_terminate(
    postgres: Postgres, narrow: Proxy
) -> None:
    """L-09, as PostgreSQL does: the one is answered, the other undone."""
    insert = (Parse("", "INSERT INTO a_left VALUES (1)"), Bind(), Execute())
    for place in (postgres, narrow):
        with place.wire() as client:
            client.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
            client.send(Query("SELECT pg_sleep(0.2)"), *insert, Sync(), *insert, Terminate())
            assert tags_of(client.read_to_end()) == "TDCZ12CZ"
        with place.wire() as other:
            assert other.value("SELECT count(*) FROM a_left") == "1"


def test_a_client_that_goes_behind_a_goodbye_that_waits_leaves_its_server(narrow: Proxy) -> None:
    """L-09, invariant 1: nobody reads what it does not, and it held its server for ever."""
    with narrow.wire() as client:
        client.ask(Parse("a", "SELECT 1"), Sync())
        # That it is a name of the proxy's is known when the first one is answered.
        client.send(Query(BIG), Query("EXECUTE a"), Terminate())
        time.sleep(0.3)
        client.vanish()
    narrow.await_rest()
    with narrow.wire() as other:
        assert other.value("SELECT 1") == "1"


KILLED = """
import sys, psycopg
c = psycopg.connect(sys.argv[1])
c.execute("INSERT INTO a_left VALUES (7)")
c.execute("SELECT pg_advisory_xact_lock(7)")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_client_killed_in_a_transaction_is_rolled_back(postgres: Postgres, narrow: Proxy) -> None:
    """Kill -9: the kernel closes the connection, nobody says a word."""
    with postgres.wire() as direct:
        direct.query("DROP TABLE IF EXISTS a_left; CREATE TABLE a_left (n int)")
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, narrow.dsn()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        with narrow.wire() as other:
            assert other.value("SELECT pg_try_advisory_xact_lock(7)") == "t"
        assert direct.value("SELECT count(*) FROM a_left") == "0"


def test_a_cut_request_is_logged_in_awss_words(narrow: Proxy) -> None:
    """L-07."""
    before = len(narrow.log)
    with narrow.wire() as wire:
        in_a_long_query(wire)
        # What a reset overtakes is not read any more.
        narrow.await_borrowed(1)
        wire.vanish()
    narrow.wait_for_log("was closed in the middle of a request", since=before)


def test_an_idle_server_that_dies_is_noticed_by_nobody(postgres: Postgres, narrow: Proxy) -> None:
    """S-14: a connection may be ended by the database while it is in the pool."""
    with narrow.wire() as wire, postgres.admin() as admin:
        for number in range(5):
            assert wire.value(f"SELECT {number}") == str(number)
            before = narrow.server_ids()
            admin.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
            )
            # Until then a request may be sent to it, and nobody could tell what became of that.
            wait_until(lambda: narrow.server_ids().isdisjoint(before))  # noqa: B023
        assert wire.value("SELECT 'still'") == "still"
