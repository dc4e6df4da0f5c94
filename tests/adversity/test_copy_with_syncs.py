"""Syncs among the data of a COPY, which PostgreSQL reads past; when the data fail, up to there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.messages import (
    Bind,
    CopyData,
    CopyDone,
    CopyFail,
    Execute,
    Flush,
    Parse,
    Query,
    Sendable,
    Sync,
)
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.wire import Wire

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]

COPIES = {
    "simple": (Query("COPY t_synced FROM STDIN"),),
    "extended": (Parse("", "COPY t_synced FROM STDIN"), Bind(), Execute(), Flush()),
}
GOOD, BAD = CopyData(b"1\n"), CopyData(b"x\n")
DATA: dict[str, tuple[Sendable, ...]] = {
    "all good": (GOOD, Sync(), CopyDone()),
    "bad behind": (GOOD, Sync(), BAD, CopyDone()),
    "bad behind several": (GOOD, Sync(), Flush(), Sync(), GOOD, Sync(), BAD, CopyDone()),
    "bad ahead": (BAD, Sync(), GOOD, CopyDone()),
    "bad in between": (GOOD, Sync(), BAD, Sync(), GOOD, CopyDone()),
    "the same twice": (GOOD, Sync(), GOOD, CopyDone()),
    "given up": (GOOD, Sync(), GOOD, CopyFail("no")),
}


@pytest.fixture(scope="module")
def table(postgres: Postgres) -> Iterator[None]:
    with postgres.admin() as admin:
        admin.query("CREATE TABLE t_synced (n int PRIMARY KEY); GRANT ALL ON t_synced TO app")
        yield
        admin.query("DROP TABLE t_synced")


def hear(wire: Wire, copy: str, data: str) -> list[str]:
    """All the answers, of which only the last one is waited for."""
    wire.send(*COPIES[copy])
    heard = wire.read_until("G")
    wire.send(*DATA[data], Sync(), Query("DELETE FROM t_synced"), Query("SELECT 'end'"))
    while "end" not in str(heard):
        heard += wire.read_ready()
    return [str(reply) for reply in heard]


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("data", DATA)
def test_no_database_connection_waits_for_what_is_read_past(
    postgres: Postgres, proxy: Proxy, table: None, copy: str, data: str
) -> None:
    """It was lent for ever, also when its client had gone (lessons 12, 13)."""
    del table
    with postgres.wire() as direct:
        expected = hear(direct, copy, data)
    with proxy.wire() as other:
        client = proxy.wire()
        assert hear(client, copy, data) == expected
        assert other.value("SELECT 'mine'") == "mine"
        client.terminate()
    proxy.await_rest()


def test_a_copy_that_fails_behind_the_sync_of_its_driver_costs_no_connection(
    postgres: Postgres, proxy: Proxy, table: None
) -> None:
    """Whether that Sync was read past is asked, and the same connection goes on."""
    del postgres, table
    with proxy.wire() as client, proxy.wire() as other:
        before = client.value("SELECT pg_backend_pid()")
        for end in (CopyDone(), CopyFail("no")):
            client.send(*COPIES["extended"][:-1], Sync())
            client.read_until("G")
            assert "E" in {reply.tag for reply in client.ask(BAD, end, Sync())}
            assert other.value("SELECT 'mine'") == "mine"
        assert before in {wire.value("SELECT pg_backend_pid()") for wire in (client, other)}
    proxy.await_rest()
