"""leak_guard under a crowd that leaks all the time, and against what could trip its look."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import Postgres, start_postgres, temporary_folder
from tests.support.proxy import Proxy, configuration, proxy_of
from tests.support.wire import Wire, errors_of

pytestmark = pytest.mark.adversity

_FUNCTIONS = """
CREATE FUNCTION setit(n text, v text) RETURNS text LANGUAGE sql
    AS 'SELECT pg_catalog.set_config(n, v, false)';
CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; END'
"""
# What a client leaves behind, and what it has seen there must be nothing of.
LEAKS = (
    "SELECT public.setit('work_mem', '9MB')",
    "SELECT public.setit('app.tenant', '7')",
    "SELECT public.setit('search_path', 'nowhere')",
    "SELECT public.setit('client_encoding', 'LATIN1')",
    "SELECT public.run('CREATE TEMP TABLE mine (a int)')",
    "SELECT public.run('LISTEN c')",
    "SELECT public.run('PREPARE s AS SELECT 1')",
    "SELECT public.run('SELECT pg_catalog.pg_advisory_lock_shared(9)')",
)
CLEAN = (
    "SELECT pg_catalog.concat_ws(',', current_setting('work_mem'),"
    " current_setting('app.tenant', true), current_setting('search_path'),"
    " current_setting('client_encoding'), to_regclass('pg_temp.mine'),"
    " (SELECT count(*) FROM pg_catalog.pg_listening_channels()),"
    " (SELECT count(*) FROM pg_catalog.pg_prepared_statements WHERE from_sql),"
    " (SELECT count(*) FROM pg_catalog.pg_locks"
    "   WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()))"
)
# A placeholder that was set once reads as '' instead of NULL.
SEEN = {'4MB,"$user", public,UTF8,0,0,0', '4MB,,"$user", public,UTF8,0,0,0'}


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with temporary_folder() as folder:
        database = start_postgres(folder)
        with contextlib.closing(database.admin()) as admin:
            admin.query(_FUNCTIONS)
        yield database
        database.cluster.kill()


@pytest.fixture
def guarded(database: Postgres) -> Iterator[Proxy]:
    """Three database connections for everybody."""
    with proxy_of(
        3,
        database,
        extensions=["leak_guard"],
        connection_borrow_timeout=60,
        init_query="SET lock_timeout = '61s'",
    ) as proxy:
        yield proxy


def leak_along(proxy: Proxy, seed: int, seen: set[str | None]) -> None:
    """Borrow, look around, leave something behind; again and again, in all ways."""
    chance = random.Random(seed)
    client = proxy.wire()
    for _ in range(15):
        leak = chance.choice(LEAKS)
        way = chance.randrange(4)
        if way == 0:
            client.query("BEGIN")
            seen.add(client.value(CLEAN))
            client.query(leak)
            client.query("COMMIT")
        elif way == 1:
            replies = client.ask(
                Parse("", CLEAN), Bind(), Execute(), Parse("", leak), Bind(), Execute(), Sync()
            )
            row = next(reply for reply in replies if reply.tag == "D").values[0]
            assert row is not None
            seen.add(row.decode())
        elif way == 2:
            replies = client.ask(Query(f"{CLEAN}; {leak}"))
            row = next(reply for reply in replies if reply.tag == "D").values[0]
            assert row is not None
            seen.add(row.decode())
        else:
            client.query("BEGIN")
            client.query(leak)
            client.vanish()
            client = proxy.wire()
    client.terminate()


def test_nobody_in_a_leaking_crowd_ever_sees_anothers_state(guarded: Proxy) -> None:
    seen: set[str | None] = set()
    failures: list[BaseException] = []

    def take_part(seed: int) -> None:
        try:
            leak_along(guarded, seed, seen)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=take_part, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures
    assert seen <= SEEN
    guarded.await_rest(30)
    assert guarded.metric("pyproxy_pinning_blind_spots_total") > 20
    # The init query's setting is the connection's own.
    with guarded.wire() as client:
        assert client.value("SHOW lock_timeout") == "61s"


@pytest.mark.parametrize(
    "leak",
    [
        "SELECT setit('statement_timeout', '1')",
        "SELECT setit('client_encoding', 'SJIS'), run('CREATE TEMP TABLE \"mine\u8868\" (a int)')",
        (
            "SELECT setit('default_transaction_isolation', 'serializable'),"
            " setit('default_transaction_read_only', 'on'),"
            " setit('default_transaction_deferrable', 'on')"
        ),
        "SELECT setit('search_path', ''), setit('row_security', 'off')",
        (
            "SELECT run('CREATE TEMP VIEW pg_settings AS SELECT 1 AS name'),"
            " run('CREATE TEMP TABLE pg_locks (a int)')"
        ),
    ],
    ids=["timeout", "encoding", "isolation", "path", "shadows"],
)
def test_what_could_trip_the_look_ends_clean_or_closed(guarded: Proxy, leak: str) -> None:
    with guarded.wire() as client, guarded.wire() as other:
        assert not errors_of(client.ask(Query(leak)))
        for _ in range(4):
            assert other.value(CLEAN) in SEEN
            assert other.value("SHOW statement_timeout") == "0"
            assert other.value("SHOW default_transaction_read_only") == "off"
    guarded.await_rest(30)
    assert not [w for w in guarded.log.splitlines() if "ERROR" in w]


def test_a_reload_turns_it_on_and_off_for_clients_that_are_there(database: Postgres) -> None:
    def reload(proxy: Proxy, times: int, **changes: object) -> None:
        config = configuration(database, max_connections_percent=1, **changes)
        proxy.config_file.write_text(yaml.safe_dump(config))
        proxy.signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while proxy.log.count("was reloaded: changed: extensions") < times:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    with (
        proxy_of(1, database) as proxy,
        proxy.wire() as client,
    ):
        for times, extensions, left in ((1, ["leak_guard"], "4MB"), (2, [], "9MB")):
            reload(proxy, times, extensions=extensions)
            with proxy.wire() as other:
                for one in (client, other):
                    one.query(LEAKS[0])
                    assert one.value("SHOW work_mem") == left


def test_a_session_in_the_middle_of_a_look_can_end(guarded: Proxy) -> None:
    """The connection is nobody's then; its place in the budget comes back."""
    for number in range(20):
        client = guarded.wire()
        client.send(Query(LEAKS[number % len(LEAKS)]))
        if number % 2:
            client.read_ready()
        client.vanish()
    deadline = time.monotonic() + 30
    while guarded.metric("pyproxy_database_connections") > 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with Wire(guarded.host, guarded.port).login("app", "secret", "app") as client:
        assert client.value(CLEAN) in SEEN
    guarded.await_rest(30)
