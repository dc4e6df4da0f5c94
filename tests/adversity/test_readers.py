"""READ_ONLY endpoints: which reader a client gets, and what it sees when that one dies."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.support.messages import Query
from tests.support.pair import Pair
from tests.support.trio import ENDPOINTS, Readers, Trio, port_of
from tests.support.wire import ClosedByPeer, Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]


def test_clients_are_spread_by_what_each_reader_allows_and_stay(trio: Trio, tmp_path: Path) -> None:
    """C-17: least outstanding connections, weighted by max_connections; FO-04: the same reader."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path))
        readers = Readers(proxy, stack)
        clients = [readers.come() for _ in range(9)]
        ports = [port_of(client) for client in clients]
        assert ports.count(trio.pair.standby.port) == 3
        assert ports.count(trio.second.port) == 6
        assert [port_of(client) for client in clients] == ports
        # FO-05: it is the database that refuses to write.
        assert errors_of(clients[0].ask(Query("CREATE TABLE r_never (n int)"))) == [
            ("25006", "cannot execute CREATE TABLE in a read-only transaction")
        ]
        # The writer has nothing to do with it.
        with proxy.wire() as writer:
            assert port_of(writer) == trio.pair.primary.port


def test_when_a_reader_dies_its_clients_move_without_an_error(trio: Trio, tmp_path: Path) -> None:
    """FO-04: a multiplexed session is moved to another reader; one in the middle is not."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path))
        readers = Readers(proxy, stack)
        clients = [readers.come() for _ in range(6)]
        victim = next(c for c in clients if port_of(c) == trio.pair.standby.port)
        clients.remove(victim)
        victim.query("BEGIN")
        trio.pair.standby.cluster.kill()
        assert [code for code, _ in errors_of(victim.read_to_end())] == ["08006"]
        assert {port_of(client) for client in clients} == {trio.second.port}
        # Back again: new clients go there (FO-06), the others stay where they are.
        trio.pair.standby.cluster.start()
        proxy.wait_for_log("Target db-b is available, READ_ONLY", 20)
        assert port_of(readers.come()) == trio.pair.standby.port
        assert {port_of(client) for client in clients} == {trio.second.port}


def test_a_session_whose_reader_dies_never_reads_back_in_time(trio: Trio, tmp_path: Path) -> None:
    """FO-04: it is moved to a reader that shows what it may have seen; who comes anew to any."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path))
        readers = Readers(proxy, stack)
        writer = stack.enter_context(proxy.wire())
        writer.query("CREATE TABLE r_time (n int)")
        clients = [readers.come() for _ in range(6)]
        idle, asking = [c for c in clients if port_of(c) == trio.pair.standby.port]
        settled = next(c for c in clients if port_of(c) == trio.second.port)
        await_rows(idle, 0, "r_time")
        await_rows(settled, 0, "r_time")
        # The other reader receives all, and shows nothing new.
        with trio.second.admin("postgres") as admin:
            admin.query("SELECT pg_wal_replay_pause()")
        writer.query("INSERT INTO r_time VALUES (1)")
        await_rows(idle, 1, "r_time")
        trio.pair.standby.cluster.kill()
        asking.send(Query("SELECT count(*), inet_server_port() FROM r_time"))
        proxy.wait_for_log("Target db-b is unavailable")
        assert asking.read_quiet(1.5) == []
        # They have seen nothing newer than that.
        assert settled.value("SELECT count(*) FROM r_time") == "0"
        assert readers.come().value("SELECT count(*) FROM r_time") == "0"
        with trio.second.admin("postgres") as admin:
            admin.query("SELECT pg_wal_replay_resume()")
        port = str(trio.second.port).encode()
        assert [r.values for r in asking.read_ready() if r.tag == "D"] == [[b"1", port]]
        assert idle.value("SELECT count(*) FROM r_time") == "1"


def await_rows(client: Wire, count: int, table: str) -> None:
    """Wait until this client sees so many rows."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        row = client.value(f"SELECT count(*) FROM pg_class WHERE relname = '{table}'")
        if row == "1" and client.value(f"SELECT count(*) FROM {table}") == str(count):
            return
        time.sleep(0.02)
    raise AssertionError(f"not {count} rows in {table}")


def test_while_no_reader_answers_clients_wait_and_new_ones_are_let_in(
    pair: Pair, tmp_path: Path
) -> None:
    """FO-04: readers exist, none is available: wait, up to the borrow timeout."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(pair.proxy(tmp_path, endpoints=ENDPOINTS))
        readers = Readers(proxy, stack)
        client = readers.come()
        assert port_of(client) == pair.standby.port
        pair.standby.cluster.kill()
        client.send(Query("SELECT 1"))
        late = readers.come()
        assert client.read_quiet(0.5) == []
        pair.standby.cluster.start()
        assert errors_of(client.read_ready()) == []
        assert port_of(late) == pair.standby.port


def test_where_there_is_no_reader_at_all_it_says_so_at_once(pair: Pair, tmp_path: Path) -> None:
    """FO-04, E-PG-23, Q-13: the other target is a primary too, and will be no reader."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(pair.proxy(tmp_path, endpoints=ENDPOINTS))
        readers = Readers(proxy, stack)
        client = readers.come()
        pair.standby.cluster.promote()
        proxy.wait_for_log("SPLIT: db-a can be written to as well", 20)
        began = time.monotonic()
        client.send(Query("SELECT 1"))
        text = "The target group doesn't have any associated read-only instances"
        assert errors_of(client.read_to_end()) == [("08000", text)]
        assert time.monotonic() - began < 10


def test_a_promoted_reader_serves_writers_and_its_readers_wait_for_another(
    pair: Pair, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(pair.proxy(tmp_path, endpoints=ENDPOINTS))
        readers = Readers(proxy, stack)
        client, writer = readers.come(), stack.enter_context(proxy.wire())
        pinned = readers.come()
        pinned.query("SET my.setting = 'kept'")
        assert port_of(client) == port_of(pinned) == pair.standby.port
        writer.query("CREATE TABLE r_moved (n int)")
        pair.primary.cluster.kill()
        writer.query("INSERT INTO r_moved VALUES (1)")
        assert port_of(writer) == pair.standby.port
        # FO-04, FO-05: one that keeps its reader must not go on where writers are now.
        with pytest.raises((ClosedByPeer, ConnectionError)):
            pinned.ask(Query("INSERT INTO r_moved VALUES (2)"))
        assert writer.value("SELECT count(*) FROM r_moved") == "1"
        client.send(Query("SELECT inet_server_port(), pg_is_in_recovery()"))
        # The slot was made by the proxy; without it the old primary would not stream.
        proxy.wait_for_log("Slot .* on db-b waits for the old primary", 20)
        pair.primary.cluster.rejoin(pair.standby.cluster)
        rows = [r.values for r in client.read_ready() if r.tag == "D"]
        assert rows == [[str(pair.primary.port).encode(), b"t"]]
        with pair.standby.admin() as admin:
            deadline = time.monotonic() + 20
            while not admin.query("SELECT FROM pg_stat_replication WHERE state = 'streaming'"):
                assert time.monotonic() < deadline, pair.primary.cluster.last_words()
