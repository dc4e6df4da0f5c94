"""What other poolers got wrong, each as a test: the rows of the catalogue of lessons."""

from __future__ import annotations

import itertools
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.messages import (
    Bind,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Parse,
    Query,
    Sync,
    cancel_request,
)
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, proxy_of, start_proxy
from tests.support.waiting import wait_until
from tests.support.wire import Wire, errors_of, tags_of

pytestmark = pytest.mark.integration

CANCELS = int(os.environ.get("PYPROXY_CANCELS", "150"))


@pytest.fixture(scope="module")
def narrow(postgres: Postgres) -> Iterator[Proxy]:
    """One database connection for everybody, and cancel requests."""
    with proxy_of(1, postgres, extensions=["cancel_requests"]) as proxy:
        yield proxy


@pytest.fixture
def pair(narrow: Proxy) -> Iterator[tuple[Wire, Wire]]:
    """Two clients that share a server."""
    with narrow.wire() as one, narrow.wire() as other:
        yield one, other


def run(name: str, sql: str, *values: bytes) -> tuple[Parse | Bind | Execute | Sync, ...]:
    return Parse(name, sql), Bind("", name, values), Execute(), Sync()


def test_lesson_07_a_cancel_reaches_only_its_owners_query(narrow: Proxy) -> None:
    """Lesson 7: sent while the server goes from hand to hand, it never hits another's query.

    PYPROXY_CANCELS=10000 tries longer.
    """
    with narrow.wire() as victim, narrow.wire() as owner:
        assert owner.key is not None
        process, secret = owner.key
        cancel = struct.pack("!IIi", 12 + len(secret), 80877102, process) + secret
        for _ in range(CANCELS):
            owner.send(Query("SELECT 1"))
            victim.send(Query("SELECT pg_sleep(0.002)"))
            with Wire(narrow.host, narrow.port) as messenger:
                messenger.send(cancel)
            assert not errors_of(victim.read_ready())
            assert set(errors_of(owner.read_ready())) <= {
                ("57014", "canceling statement due to user request")
            }


def test_a_cancel_stops_a_long_query(narrow: Proxy, postgres: Postgres) -> None:
    """The extension does what it is for."""
    with narrow.wire() as client, postgres.admin() as admin:
        assert client.key is not None
        process, secret = client.key
        client.send(Query("SELECT pg_sleep(30)"))
        # PostgreSQL itself ignores a cancel request that comes before the query runs.
        sleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: bool(admin.query(sleeping)))
        with Wire(narrow.host, narrow.port) as messenger:
            messenger.send(struct.pack("!IIi", 12 + len(secret), 80877102, process) + secret)
        assert errors_of(client.read_ready())[0][0] == "57014"
        assert client.value("SELECT 1") == "1"


def test_a_cancel_with_a_wrong_key_is_ignored(narrow: Proxy) -> None:
    with narrow.wire() as client:
        assert client.key is not None
        process, _secret = client.key
        client.send(Query("SELECT pg_sleep(0.3)"))
        with Wire(narrow.host, narrow.port) as messenger:
            messenger.send(struct.pack("!IIi", 16, 80877102, process) + bytes(4))
        assert not errors_of(client.read_ready())


def test_lesson_08_a_cancel_of_an_idle_session_changes_nothing(narrow: Proxy) -> None:
    """Lesson 8."""
    with narrow.wire() as client:
        assert client.key is not None
        process, secret = client.key
        for number in range(20):
            with Wire(narrow.host, narrow.port) as messenger:
                messenger.send(struct.pack("!IIi", 12 + len(secret), 80877102, process) + secret)
            assert client.value(f"SELECT {number}") == str(number)


def test_lesson_08_a_cancel_has_arrived_when_its_connection_ends(narrow: Proxy) -> None:
    """Lesson 8: as with PostgreSQL, a driver waits for that before it goes on (asyncpg does)."""
    with narrow.wire() as client:
        assert client.key is not None
        # Only a session that keeps its server can be hit: another is not lent to meanwhile.
        client.query("LISTEN l_pinned")
        for _ in range(40):
            client.send(Query("SELECT pg_sleep(0.001)"))
            with Wire(narrow.host, narrow.port) as messenger:
                messenger.send(cancel_request(*client.key))
                assert not messenger.read_to_end()
            client.read_ready()
            assert not errors_of(client.ask(Query("SELECT pg_sleep(0.003)")))


def test_a_client_knows_its_own_notifications(narrow: Proxy) -> None:
    """By the process id that it was given at login, which is the proxy's."""
    with narrow.wire() as client:
        assert client.key is not None
        replies = client.ask(Query("LISTEN l_own; NOTIFY l_own, 'mine'"))
        (note,) = (r for r in replies if r.tag == "A")
        assert note.body == struct.pack("!I", client.key[0]) + b"l_own\0mine\0"


def test_lesson_09_errors_and_several_syncs_stay_in_step(pair: tuple[Wire, Wire]) -> None:
    """Lesson 9; random pipelines are in the transparency test."""
    client, other = pair
    replies = client.ask(
        Parse("", "SELECT 1/0"), Bind(), Execute(), Parse("", "SELECT 1"), Sync(),
        *run("", "SELECT 2"), Bind("", "missing"), Execute(), Sync(), *run("", "SELECT 3"),
        ready=4,
    )  # fmt: skip
    # PostgreSQL folds 1/0 when it plans: at Bind.
    assert tags_of(replies) == "1EZ12DCZEZ12DCZ"
    assert other.value("SELECT 4") == "4"


def test_lesson_10_deallocate_all_in_a_pipeline(pair: tuple[Wire, Wire]) -> None:
    """Lesson 10: what is prepared behind it stays."""
    client, _ = pair
    client.ask(*run("kept", "SELECT 'old'"))
    replies = client.ask(
        *(Parse("", "DEALLOCATE ALL"), Bind(), Execute()), *run("kept", "SELECT 'new'"),
    )  # fmt: skip
    assert not errors_of(replies)
    again = client.ask(Bind("", "kept"), Execute(), Sync())
    assert [r.values for r in again if r.tag == "D"] == [[b"new"]]


def test_lesson_11_answers_come_in_the_order_of_the_questions(pair: tuple[Wire, Wire]) -> None:
    """Lesson 11: statements that the server has, mixed with ones that it hasn't."""
    client, other = pair
    other.ask(*run("a", "SELECT 'a'"))
    client.ask(*run("b", "SELECT 'b'"))
    replies = client.ask(
        *run("a", "SELECT 'a'")[:3], *(Bind("", "b"), Execute()), *run("c", "SELECT 'c'"),
    )  # fmt: skip
    assert [r.values for r in replies if r.tag == "D"] == [[b"a"], [b"b"], [b"c"]]
    assert tags_of(replies) == "12DC2DC12DCZ"


@pytest.mark.parametrize("end", [CopyDone(), CopyFail("no")], ids=["done", "fail"])
def test_lesson_12_a_late_end_of_copy_harms_nobody(pair: tuple[Wire, Wire], end: CopyDone) -> None:
    """Lesson 12: the server has given up, the client goes on sending."""
    client, other = pair
    with_table = "CREATE TABLE IF NOT EXISTS l_copy (n int)"
    client.query(with_table)
    client.send(Query("COPY l_copy FROM STDIN"), CopyData(b"not a number\n"))
    assert errors_of(client.read_ready())[0][0] == "22P02"
    client.send(*[CopyData(b"more\n")] * 100, end)
    assert other.value("SELECT 'well'") == "well"
    assert client.value("SELECT 'too'") == "too"


def test_lesson_13_copy_by_extended_query_with_syncs_around(pair: tuple[Wire, Wire]) -> None:
    """Lesson 13: the Sync that the server ignores while it reads data leaks nothing."""
    client, other = pair
    client.query("CREATE TABLE IF NOT EXISTS l_copy (n int)")
    replies = client.ask(
        *(Parse("", "COPY l_copy FROM STDIN"), Bind(), Execute(), Sync()),
        *(CopyData(b"1\n"), CopyDone(), Sync()),
    )  # fmt: skip
    assert tags_of(replies) == "12GCZ"
    assert other.value("SELECT 1") == "1"


@pytest.mark.parametrize(("data", "told"), [(b"1\n", "CZ"), (b"no number\n", "EZ")])
def test_lesson_13_a_sync_behind_the_answer_is_ignored_too(
    pair: tuple[Wire, Wire], data: bytes, told: str
) -> None:
    """Lesson 13: the server reads data by then, and whether that is good decides nothing."""
    client, other = pair
    client.query("CREATE TABLE IF NOT EXISTS l_copy (n int)")
    client.send(Parse("", "COPY l_copy FROM STDIN"), Bind(), Execute())
    assert tags_of(client.read_until("G")) == "12G"
    assert tags_of(client.ask(Sync(), CopyData(data), CopyDone(), Sync())) == told
    assert other.value("SELECT 1") == "1"
    assert client.value("SELECT 2") == "2"


def test_lesson_20_a_refused_pipeline_is_not_sent_in_parts(postgres: Postgres) -> None:
    """Lesson 20: after E-PG-16 nothing of the pipeline reaches a server."""
    with (
        proxy_of(1, postgres, connection_borrow_timeout=1) as proxy,
        proxy.wire() as holder,
        proxy.wire() as late,
        postgres.wire() as direct,
    ):
        direct.query("DROP TABLE IF EXISTS l_late; CREATE TABLE l_late (n int)")
        holder.query("BEGIN")
        insert = run("", "INSERT INTO l_late VALUES (1)")
        late.send(*insert, *insert, *insert)
        replies = late.read_to_end()
        assert errors_of(replies) == [
            ("08000", "Timed-out waiting to acquire database connection.")
        ]
        assert [r.fields["S"] for r in replies if r.tag == "E"] == ["ERROR"]
        holder.query("COMMIT")
        assert direct.value("SELECT count(*) FROM l_late") == "0"


def test_lesson_21_every_cut_of_a_pipeline_is_understood(pair: tuple[Wire, Wire]) -> None:
    """Lesson 21, lesson 28: bytes may come in any portions."""
    client, _ = pair
    data = b"".join(
        m.encode()
        for m in (
            *run("s", "SELECT $1::text", b"x" * 20),
            Query("SELECT 'y'"),
            Close("S", "s"),
            Sync(),
        )
    )
    whole = [(r.tag, r.body) for r in client.ask(data, ready=3)]
    for cut in range(1, len(data)):
        client.send_in_pieces(data, [cut])
        assert [(r.tag, r.body) for r in client.read_ready(3)] == whole
    client.send_in_pieces(data, list(range(1, len(data))))
    assert [(r.tag, r.body) for r in client.read_ready(3)] == whole


def test_lesson_22_sql_and_protocol_share_their_names(pair: tuple[Wire, Wire]) -> None:
    """Lesson 22: PREPARE and Parse of one name are one name, as in PostgreSQL."""
    client, other = pair
    client.ask(*run("same", "SELECT 'protocol'"))
    other.query("SELECT 1")
    assert client.query("EXECUTE same") == [("protocol",)]
    replies = client.ask(Query("PREPARE same AS SELECT 'sql'"))
    assert errors_of(replies) == [("42P05", 'prepared statement "same" already exists')]
    client.query("DEALLOCATE same; PREPARE same AS SELECT 'sql'")
    replies = client.ask(Bind("", "same"), Execute(), Sync())
    assert [r.values for r in replies if r.tag == "D"] == [[b"sql"]]


def test_lesson_23_a_failed_parse_leaves_nothing_behind(pair: tuple[Wire, Wire]) -> None:
    """Lesson 23."""
    client, other = pair
    assert errors_of(client.ask(*run("s", "SELEC 1")))[0][0] == "42601"
    assert errors_of(client.ask(Bind("", "s"), Execute(), Sync())) == [
        ("26000", 'prepared statement "s" does not exist')
    ]
    assert not errors_of(client.ask(*run("s", "SELECT 1")))
    assert errors_of(other.ask(*run("s", "SELECT nothing")))[0][0] == "42703"
    assert not errors_of(client.ask(Bind("", "s"), Execute(), Sync()))


def test_lesson_24_one_text_under_two_search_paths(postgres: Postgres, narrow: Proxy) -> None:
    """Lesson 24: a setting that changes what a text means is part of where it is prepared."""
    with postgres.admin() as admin:
        for name in ("l_one", "l_two"):
            admin.query(
                f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name} AUTHORIZATION app;"
                f"CREATE TABLE {name}.place AS SELECT '{name}' AS name;"
                f"GRANT SELECT ON {name}.place TO app"
            )
    with narrow.wire(search_path="l_one") as one, narrow.wire(search_path="l_two") as two:
        for _ in range(5):
            for client, name in ((one, b"l_one"), (two, b"l_two")):
                client.ask(Close("S", "p"), Sync())
                replies = client.ask(*run("p", "SELECT name FROM place"))
                assert [r.values for r in replies if r.tag == "D"] == [[name]]


def test_lesson_29_an_unread_answer_is_nobody_elses(pair: tuple[Wire, Wire], narrow: Proxy) -> None:
    """Lesson 29: a client vanishes in the middle of a big result."""
    _, other = pair
    for _ in range(3):
        with narrow.wire() as reader:
            reader.send(Query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)"))
            reader.read()
            reader.vanish()
        assert other.query("SELECT 'mine'") == [("mine",)]


@pytest.mark.parametrize(
    "bogus", [b"!", b"!\0\0\0\4", b"Q\0\0\0\2", b"Q\xff\xff\xff\xff", b"\0\0\0\0\0"]
)
def test_lesson_30_a_bogus_message_ends_only_its_sender(
    pair: tuple[Wire, Wire], narrow: Proxy, bogus: bytes
) -> None:
    """Lesson 30."""
    _, other = pair
    with narrow.wire() as offender:
        offender.query("BEGIN")
        offender.send(bogus)
        replies = offender.read_to_end()
        assert [r.fields["S"] for r in replies if r.tag == "E"] == ["FATAL"]
        assert errors_of(replies)[0][0] == "08P01"
    assert other.value("SELECT 1") == "1"


def test_lesson_31_parameters_that_change_in_a_pipeline(pair: tuple[Wire, Wire]) -> None:
    """Lesson 31: every ParameterStatus arrives where it belongs."""
    client, other = pair
    zones = [f"Etc/GMT{n:+d}" for n in range(-3, 4) if n]
    messages = [m for zone in zones for m in run("", f"SET timezone = '{zone}'")]
    replies = client.ask(*messages, ready=len(zones))
    assert [r.body.split(b"\0")[1].decode() for r in replies if r.tag == "S"] == zones
    client.terminate()
    assert other.value("SHOW timezone") != zones[-1]


def test_lesson_32_exactly_one_fatal_when_a_server_is_killed(
    postgres: Postgres, pair: tuple[Wire, Wire]
) -> None:
    """Lesson 32, invariant 6: the database's own words, once."""
    client, _ = pair
    client.query("BEGIN")
    process = client.value("SELECT pg_backend_pid()")
    with postgres.admin() as admin:
        admin.query(f"SELECT pg_terminate_backend({process})")
    replies = client.read_to_end()
    assert [r.fields["S"] for r in replies if r.tag == "E"] == ["FATAL"]
    assert errors_of(replies)[0][0] == "57P01"


def test_lesson_32_exactly_one_fatal_at_shutdown(postgres: Postgres) -> None:
    """Lesson 32: idle clients are told once, with PostgreSQL's own SQLSTATE."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        idle = proxy.wire()
        idle.value("SELECT 1")
        proxy.signal(signal.SIGTERM)
        replies = idle.read_to_end()
        assert [r.fields["S"] for r in replies if r.tag == "E"] == ["FATAL"]
        assert errors_of(replies)[0][0] == "57P01"
        idle.close()
        # A second signal while it leaves would be what it dies of.
        proxy.process.wait(20)


def test_lesson_35_unknown_startup_parameters(narrow: Proxy) -> None:
    """Lesson 35, ST-02, ST-06: `_pq_.` is negotiated, the rest refused, nothing reaches a server."""
    with Wire(narrow.host, narrow.port) as client:
        client.login("app", PASSWORD, "app", **{"_pq_.something": "x"})
        assert client.value("SELECT 1") == "1"
    for name, told in (("geqo", "the option geqo"), ("options", "command-line options")):
        with Wire(narrow.host, narrow.port) as client, pytest.raises(Exception, match=told):
            client.login("app", PASSWORD, "app", **{name: "on"})


def test_lesson_39_thousands_of_statements_keep_their_own_results(pair: tuple[Wire, Wire]) -> None:
    """Lesson 39: more statements than a server keeps, under names that look alike."""
    for client, half in itertools.product(pair, (0, 1)):
        names = range(half * 700, half * 700 + 700)
        for number in names:
            client.send(Parse(f"pyproxy_{number}", f"SELECT {number}, $1::int"), Sync())
        client.read_ready(700)
    for client in pair:
        for number in range(0, 1400, 7):
            client.send(Bind("", f"pyproxy_{number}", (b"%d" % number,)), Execute(), Sync())
        rows = [r.values for r in client.read_ready(200) if r.tag == "D"]
        assert rows == [[b"%d" % n, b"%d" % n] for n in range(0, 1400, 7)]


NAMES = ["it's", 'a"b', "back\\slash", "\\'; SELECT 1; --", "ünï", "' || 'x", "$$", "a" * 60]


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize("name", NAMES)
def test_lesson_41_what_the_proxy_quotes_stays_text(
    narrow: Proxy, name: str, conforming: str
) -> None:
    """Lesson 41: the application's name is the one text of a client that the proxy puts into SQL."""
    with narrow.wire(application_name="first") as one:
        assert one.value("SHOW application_name") == "first"
    with narrow.wire(application_name=name) as client:
        reported = client.parameters["application_name"]
        assert client.value("SHOW application_name") == reported
        client.query(f"SET standard_conforming_strings = {conforming}")
        # The proxy puts the startup value back, under whatever setting there is now.
        assert not errors_of(client.ask(Query("RESET application_name")))
        assert client.value("SHOW application_name") == reported
        assert client.value("SHOW standard_conforming_strings") == conforming


def test_describe_of_a_statement_that_another_server_has(pair: tuple[Wire, Wire]) -> None:
    """PS-08."""
    client, other = pair
    client.ask(Parse("d", "SELECT $1::int AS n"), Sync())
    other.ask(*run("x", "SELECT 1"))
    assert tags_of(client.ask(Describe("S", "d"), Sync())) == "tTZ"


def test_a_remark_on_a_parse_is_made_once(pair: tuple[Wire, Wire]) -> None:
    """PS-03: the answer to an injected Parse is hidden with all that the server says about it."""
    client, other = pair
    replies = client.ask(*run("n", f"SELECT 1 AS {'long' * 30}"))
    assert [r.fields["C"] for r in replies if r.tag == "N"] == ["42622"]
    other.query("DISCARD ALL")
    other.terminate()
    replies = client.ask(Bind("", "n"), Execute(), Sync())
    assert "".join(r.tag for r in replies) == "2DCZ"


def test_an_error_of_the_clients_own_is_not_reworded(pair: tuple[Wire, Wire]) -> None:
    """Only one that PostgreSQL has for a statement names it."""
    client, _ = pair
    client.ask(*run("s", "SELECT 1"))
    names = ", ".join(
        f'"{name}"' for (name,) in client.query("SELECT name FROM pg_prepared_statements")
    )
    assert "pyproxy_" in names
    replies = client.ask(Query(f"DO $$BEGIN RAISE EXCEPTION '{names}'; END$$"))
    assert errors_of(replies) == [("P0001", names)]


def test_no_line_of_the_log_is_a_traceback(narrow: Proxy) -> None:
    """Invariant 10: after all of the above."""
    assert "Traceback" not in Path(narrow.log_file).read_text()
