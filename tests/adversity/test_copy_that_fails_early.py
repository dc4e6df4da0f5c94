"""A COPY that fails before it reads any data, with a Sync sent ahead of the data, as libpq does.

PostgreSQL has then not read past that Sync, as it does in the middle of a COPY: it is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.messages import Bind, CopyData, CopyDone, Describe, Execute, Parse, Query, Sync
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.wire import Wire, tags_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]

DATA = (CopyData(b"1\n"), CopyDone(), Sync())
# Which COPY, what comes right behind it, what after CopyInResponse, and the answers to it all.
CASES = {
    "no such table": ("COPY nowhere FROM STDIN", (Sync(),), (), "12nEZ"),
    "no such table, sent blindly": ("COPY nowhere FROM STDIN", (Sync(), *DATA), (), "12nEZZ"),
    "a view": ("COPY v_early FROM STDIN", (Sync(),), (), "12nGEZ"),
    "a trigger": ("COPY t_early FROM STDIN", (Sync(),), (), "12nGEZ"),
    "a trigger, the Sync comes later": ("COPY t_early FROM STDIN", DATA, (), "12nGEZ"),
    "a trigger, sent blindly": ("COPY t_early FROM STDIN", (Sync(), *DATA), (), "12nGEZZ"),
    "a bad row": ("COPY t_rows FROM STDIN", (Sync(),), (CopyData(b"x\n"), *DATA[1:]), "12nGEZ"),
    "a good row": ("COPY t_rows FROM STDIN", (Sync(),), DATA, "12nGCZ"),
}


@pytest.fixture(scope="module")
def tables(postgres: Postgres) -> Iterator[None]:
    with postgres.admin() as admin:
        admin.query(
            "CREATE TABLE t_rows (n int); CREATE TABLE t_early (n int);"
            " CREATE VIEW v_early AS SELECT 1 AS n; GRANT ALL ON t_rows, t_early, v_early TO app;"
            " CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no'; END$$;"
            " CREATE TRIGGER early BEFORE INSERT ON t_early EXECUTE FUNCTION refuse()"
        )
        yield
        admin.query("DROP VIEW v_early; DROP TABLE t_rows, t_early; DROP FUNCTION refuse")


def hear(wire: Wire, name: str, cut: int) -> str:
    """The answers to a case that is sent in two pieces."""
    sql, behind, later, expected = CASES[name]
    series = (Parse("", sql), Bind(), Describe("P"), Execute(), *behind)
    data = b"".join(message.encode() for message in series)
    wire.send(data[:cut])
    time.sleep(0.005)
    wire.send(data[cut:])
    heard = []
    if later:
        heard += wire.read_until("GE")
        wire.send(*later)
    heard += wire.read_ready(expected.count("Z"))
    return tags_of(heard)


@pytest.mark.parametrize("name", CASES)
def test_it_is_answered_as_on_a_connection_of_ones_own(
    postgres: Postgres, proxy: Proxy, tables: None, name: str
) -> None:
    """Lessons 12, 13; at every split, with another client beside it."""
    del tables
    with postgres.wire() as direct:
        assert hear(direct, name, 1) == CASES[name][-1]
    log = len(proxy.log)
    with proxy.wire() as other:
        for cut in range(1, 95, 3):
            with proxy.wire() as client:
                assert hear(client, name, cut) == CASES[name][-1], cut
                assert client.value("SELECT 'still'") == "still"
                assert tags_of(other.ask(Query("SELECT 1"))) == "TDCZ"
                assert [str(r) for r in client.read_quiet(0)] == []
    assert "out of step" not in proxy.log[log:]
    proxy.await_rest()


def test_a_query_that_copies_and_fails_early_harms_nobody_else(
    postgres: Postgres, proxy: Proxy, tables: None
) -> None:
    """Lesson 29: with a Sync where its data would be it is answered once more."""
    del tables
    asked = (Query("COPY t_early FROM STDIN"), Sync())
    with postgres.wire() as direct:
        direct.send(*asked)
        assert tags_of(direct.read_ready(2)) == "GEZZ"
    with proxy.wire() as other:
        for _ in range(20):
            with proxy.wire() as client:
                client.send(*asked)
                assert tags_of(client.read_ready(2)) == "GEZZ"
                for wire in (other, client, other):
                    assert wire.value("SELECT 'mine'") == "mine"
    proxy.await_rest()
