"""What happens while a statement is prepared anew, which a lock can make last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.messages import (
    Bind,
    Close,
    Describe,
    Execute,
    Parse,
    Query,
    Sync,
    Terminate,
    cancel_request,
)
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy, proxy_of
from tests.support.waiting import wait_until
from tests.support.wire import Silence, Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.integration]


@pytest.fixture(scope="module")
def two(postgres: Postgres) -> Iterator[Proxy]:
    """Two database connections for everybody, and cancel requests."""
    with proxy_of(2, postgres, extensions=["cancel_requests"]) as proxy:
        yield proxy
        proxy.await_rest()


@contextlib.contextmanager
def held(postgres: Postgres, proxy: Proxy) -> Iterator[tuple[Wire, Wire]]:
    """A client whose Bind waits, since its statement's table is locked; and who has locked it."""
    with postgres.admin() as admin, proxy.wire() as client, proxy.wire() as other:
        admin.query(
            "DROP TABLE IF EXISTS held; CREATE TABLE held (a int); GRANT ALL ON held TO app"
        )
        client.ask(
            Parse("s", "INSERT INTO held VALUES (1) RETURNING a"), Describe("S", "s"), Sync()
        )
        other.query("BEGIN")
        admin.query("BEGIN; LOCK held")
        client.send(Bind("", "s"), Execute(), Sync())
        wait_until(lambda: bool(admin.query("SELECT FROM pg_locks WHERE NOT granted")))
        yield client, admin
        other.query("ROLLBACK")
        with contextlib.suppress(Exception):
            admin.query("ROLLBACK")
    with postgres.admin() as admin:
        admin.query("DROP TABLE held")


def waiting_backend(admin: Wire) -> str:
    return str(admin.value("SELECT pid FROM pg_locks WHERE NOT granted"))


def test_it_goes_on_when_it_can(postgres: Postgres, two: Proxy) -> None:
    with held(postgres, two) as (client, admin):
        client.timeout = 0.2
        with pytest.raises(Silence):
            client.read_ready()
        client.timeout = 15
        admin.query("COMMIT")
        assert not errors_of(client.read_ready())
        assert admin.value("SELECT count(*) FROM held") == "1"


def test_the_table_is_altered_meanwhile(postgres: Postgres, two: Proxy) -> None:
    """PS-03: the very moment in which it can go wrong."""
    with held(postgres, two) as (client, admin):
        admin.query("ALTER TABLE held ALTER a TYPE int8; COMMIT")
        assert errors_of(client.read_ready())[0][0] == "0A000"
        assert admin.value("SELECT count(*) FROM held") == "0"


def test_its_connection_is_lost(postgres: Postgres, two: Proxy) -> None:
    """One error, and nothing has run."""
    with held(postgres, two) as (client, admin):
        admin.query(f"SELECT pg_terminate_backend({waiting_backend(admin)})")
        admin.query("COMMIT")
        replies = client.read_to_end()
        assert len(errors_of(replies)) == 1, replies
        assert admin.value("SELECT count(*) FROM held") == "0"


def test_it_is_cancelled(postgres: Postgres, two: Proxy) -> None:
    with held(postgres, two) as (client, admin):
        assert client.key is not None
        with Wire(two.host, two.port) as messenger:
            messenger.send(cancel_request(*client.key))
            messenger.read_to_end()
        assert errors_of(client.read_ready())[0][0] == "57014"
        admin.query("COMMIT")
        assert not errors_of(client.ask(Bind("", "s"), Execute(), Sync()))


@pytest.mark.parametrize("polite", [True, False])
def test_its_client_leaves(postgres: Postgres, two: Proxy, polite: bool) -> None:
    """Who has said Terminate gets done what was asked before; who vanishes may not."""
    with held(postgres, two) as (client, admin):
        if polite:
            client.send(Terminate())
            client.close()
        else:
            client.vanish()
        if polite:
            admin.query("COMMIT")
            wait_until(lambda: admin.value("SELECT count(*) FROM held") == "1")
        with two.wire() as third:
            assert third.value("SELECT 1") == "1"


def test_a_pipeline_behind_it_keeps_its_order(postgres: Postgres, two: Proxy) -> None:
    """Also one that is longer than what is held back."""
    with held(postgres, two) as (client, admin):
        many = [Query(f"SELECT '{number}{'x' * 1000}'") for number in range(400)]
        client.send(Close("S", "s"), Parse("s", "SELECT 'new'"), Bind("", "s"), Execute(), Sync())
        for query in many[:200]:
            client.send(query)
        admin.query("COMMIT")
        for query in many[200:]:
            client.send(query)
        replies = client.read_ready(402)
        rows = [reply.values[0] for reply in replies if reply.tag == "D"]
        assert rows[:2] == [b"1", b"new"]
        assert [row[:-1000] for row in rows[2:] if row] == [b"%d" % n for n in range(400)]
