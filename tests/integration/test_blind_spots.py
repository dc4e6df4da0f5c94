"""The second observer against a database that answers what no rule has announced."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from protocol.postgres import backend
from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import Proxy, proxy_of, start_proxy
from tests.support.wire import Wire, errors_of

pytestmark = pytest.mark.integration


class Liar:
    """A database that gives any command the tag that stands in its text behind `--`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        ready = backend.ReadyForQuery(0x49).encode()
        with connection, connection.makefile("rb") as stream:
            while (length := int.from_bytes(stream.read(4))) == 8:
                stream.read(length - 4)
                connection.sendall(b"N")
            stream.read(length - 4)
            connection.sendall(backend.AuthenticationOk().encode() + ready)
            while tag := stream.read(1):
                text = stream.read(int.from_bytes(stream.read(4)) - 4).rstrip(b"\0")
                if tag != b"Q":
                    return
                row = backend.DataRow((b"100", b"3", b"0", b"f", b"f")).encode()
                rows = row if b"max_connections" in text else b""
                said = text.partition(b"--")[2] or b"SELECT 1"
                done = backend.CommandComplete(said).encode()
                connection.sendall(rows + done + ready)


@pytest.fixture
def lied_to() -> Iterator[Proxy]:
    liar = Liar()
    with (
        temporary_folder() as folder,
        start_proxy(folder, cast(Postgres, SimpleNamespace(port=liar.port))) as proxy,
    ):
        yield proxy
    liar.close()


@pytest.mark.parametrize(
    ("said", "count"),
    [("LISTEN", 1), ("SET", 1), ("DECLARE CURSOR", 1), ("DELETE 3", 0), ("LOCK TABLE", 0)],
)
def test_a_tag_that_no_rule_has_announced_is_told(lied_to: Proxy, said: str, count: int) -> None:
    with lied_to.wire() as client:
        client.ask(Query(f"SELECT 1 --{said}"))
    assert lied_to.metric("pyproxy_pinning_blind_spots_total", kind="command_tag") == count
    if count:
        line = lied_to.wait_for_log("no pinning rule saw")
        assert f"a statement that the database calls {said}." in line
        assert 'Statement: "select $1".' in line


def test_the_proxys_own_settings_and_those_of_a_transaction_are_no_findings(
    postgres: Postgres,
) -> None:
    """ST-05: application_name is set by the proxy; SET LOCAL does not pin here and is undone."""
    with (
        proxy_of(
            1, postgres, compatibility={"set_local": "no_pin", "set_config_local": "no_pin"}
        ) as proxy,
        proxy.wire(application_name="one") as one,
        proxy.wire(application_name="other") as other,
    ):
        for client in (one, other, one):
            client.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SELECT 1")
            client.query("COMMIT")
            client.query("BEGIN; SELECT set_config('DateStyle', 'German', true)")
            client.query("ROLLBACK")
            assert not errors_of(
                client.ask(
                    Parse("", "SELECT 1"), Bind(), Execute(), Sync(), Query("SELECT 1"), ready=2
                )
            )
        assert proxy.metric("pyproxy_pinning_blind_spots_total") == 0
        assert not proxy.api("pins")["pins"]


def test_a_setting_changed_by_an_extended_query_names_it(postgres: Postgres) -> None:
    def leave(client: Wire, name: str) -> None:
        sql = "SELECT pg_catalog.set_config(n, v, false) FROM (VALUES ($1, $2)) AS a (n, v)"
        client.ask(
            Parse(
                "",
                f"CREATE OR REPLACE FUNCTION leave(n text, v text) RETURNS text"
                f" LANGUAGE sql AS $$ {sql} $$",
            ),
            Bind(),
            Execute(),
            Sync(),
        )
        call = Parse("", "SELECT leave($1, 'Asia/Tokyo')"), Bind("", "", (name.encode(),))
        assert not errors_of(client.ask(*call, Execute(), Sync()))

    with proxy_of(1, postgres) as proxy:
        with proxy.wire(database="app") as client:
            leave(client, "TimeZone")
        line = proxy.wait_for_log("the setting TimeZone")
        assert 'Statement: "select leave($1, $2)".' in line
        with proxy.wire() as client:
            client.query("DROP FUNCTION leave; RESET ALL")
