"""What a failover looks like to single clients, one case at a time; the crowd is in test_failover."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.blue import turn_read_only
from tests.support.messages import Bind, Describe, Execute, Parse, Query, Sync
from tests.support.pair import Pair
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.wire import Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]


Clients = Callable[[Proxy], Wire]


@pytest.fixture
def client() -> Iterator[Clients]:
    """Makes clients that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda proxy: stack.enter_context(proxy.wire())


def test_each_client_gets_what_it_deserves_when_the_primary_is_killed(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """FO-01, FO-02, E-PG-24, Q-11: idle ones nothing, those in flight exactly one error."""
    with pair.proxy(tmp_path) as proxy:
        idle, prepared, open_transaction, pinned, busy = (client(proxy) for _ in range(5))
        idle.query("CREATE TABLE f_kept (n int)")
        prepared.ask(Parse("mine", "SELECT $1::int + 1"), Sync())
        open_transaction.query("BEGIN; INSERT INTO f_kept VALUES (666)")
        pinned.query("SET work_mem = '4MB'")
        busy.send(Query("SELECT pg_sleep(60)"))
        proxy.await_borrowed(3)
        pair.primary.cluster.kill()

        for wire in (open_transaction, pinned, busy):
            told = [reply.fields for reply in wire.read_to_end() if reply.tag == "E"]
            assert [(f["S"], f["C"]) for f in told] == [("FATAL", "08006")]
            assert told[0]["M"] == "The database connection was lost in the middle of a request."
            assert ("pinned" in told[0].get("D", "")) == (wire is pinned)
        # A new client is let in, and the old ones go on, without a word.
        new = client(proxy)
        assert new.value("SELECT pg_is_in_recovery()") == "f"
        assert idle.value("SELECT count(*) FROM f_kept") == "0"
        rows = prepared.ask(Bind("", "mine", (b"41",)), Describe("P", ""), Execute(), Sync())
        assert [r.values for r in rows if r.tag == "D"] == [[b"42"]]
        proxy.await_writer("db-b")
        assert proxy.wait_for_log(
            "Writes moved to db-b after .* 3 in flight or pinned got an error"
        )
        assert all(row["epoch"] == 2 for row in proxy.api("servers")["servers"])


def test_one_killed_connection_is_no_dead_primary(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """Lessons 38: 57P01 on one link is not a node failure."""
    with pair.proxy(tmp_path) as proxy:
        victim, witness = client(proxy), client(proxy)
        victim.send(Query("SELECT pg_sleep(60)"))
        proxy.await_borrowed(1)
        before = proxy.server_ids()
        with pair.primary.admin() as admin:
            admin.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
            )
            assert errors_of(victim.read_to_end()) == [
                ("57P01", "terminating connection due to administrator command")
            ]
            # Those of the monitoring user too: it makes new ones.
            admin.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'rdsproxyadmin'"
            )
        # An idle one may have been among them.
        wait_until(lambda: proxy.server_ids().isdisjoint(before))
        assert witness.value("SELECT 1") == "1"
        time.sleep(1.5)
        assert proxy.api("events")["events"] == []
        assert {r["epoch"] for r in proxy.api("targets")["targets"]} == {1}


def test_a_frozen_primary_is_replaced_and_never_used_again(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """It accepts connections and says nothing; when it thaws it still believes to be the writer."""
    with pair.proxy(tmp_path) as proxy:
        idle, busy = client(proxy), client(proxy)
        idle.query("CREATE TABLE f_frozen (n int)")
        busy.send(Query("SELECT pg_sleep(60)"))
        proxy.await_borrowed(1)
        pair.primary.cluster.freeze()
        assert errors_of(busy.read_to_end()) == [
            ("08006", "The database connection was lost in the middle of a request.")
        ]
        proxy.await_writer("db-b")
        assert idle.ask(Query("INSERT INTO f_frozen VALUES (1)"))[-1].tag == "Z"
        pair.primary.cluster.thaw()
        proxy.wait_for_log("SPLIT: db-a can be written to as well")
        idle.query("INSERT INTO f_frozen VALUES (2)")
        with pair.primary.admin() as old, pair.standby.admin() as new:
            assert old.value("SELECT count(*) FROM f_frozen") == "0"
            assert new.value("SELECT count(*) FROM f_frozen") == "2"
        rows = {row["id"]: row for row in proxy.api("targets")["targets"]}
        assert rows["db-a"]["reason"] == "INVALID_REPLICATION_STATE"


def test_a_person_promotes_and_the_proxy_follows(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """`promote: false`: whoever is in charge decides; lessons 26, no 25006."""
    with pair.proxy(tmp_path, failover={"promote": False}) as proxy:
        idle = client(proxy)
        idle.query("CREATE TABLE f_followed (n int)")
        pair.primary.cluster.stop()
        proxy.wait_for_log("DOWN: db-a is down; whoever is in charge promotes")
        idle.send(Query("INSERT INTO f_followed VALUES (1)"))
        pair.standby.cluster.promote()
        assert errors_of(idle.read_ready()) == []
        proxy.await_writer("db-b")


def test_without_a_monitoring_secret_a_known_user_probes_and_promotes_nobody(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """TH-06: other registered users may serve health checks; `app` may not promote."""
    with pair.proxy(tmp_path, monitoring={}) as proxy:
        idle = client(proxy)
        idle.query("CREATE TABLE f_known (n int)")
        pair.primary.cluster.kill()
        proxy.wait_for_log("FORBIDDEN: db-a is down, and the monitoring user may not promote db-b")
        pair.standby.cluster.promote()
        assert idle.value("SELECT count(*) FROM f_known") == "0"


def test_a_database_that_turns_read_only_gets_no_more_writes(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    """FO-08: at a blue/green switchover the old one turns read-only first; whoever writes waits."""
    with pair.proxy(tmp_path, failover={"probe_interval": 30}) as proxy:
        writer, late = client(proxy), client(proxy)
        writer.query("CREATE TABLE f_blue (n int)")
        with pair.primary.admin() as admin:
            turn_read_only(pair.primary, admin)
            # The first to notice is the client; the probe, 30 s away, is sent at once.
            writer.send(Query("INSERT INTO f_blue VALUES (1)"))
            proxy.wait_for_log("DEMOTED: db-a takes no writes any more")
            late.send(Query("INSERT INTO f_blue VALUES (2)"))
            assert late.read_quiet(0.5) == []
        pair.standby.cluster.promote()
        for wire in (writer, late):
            assert errors_of(wire.read_ready()) == []
        assert writer.value("SELECT count(*) FROM f_blue") == "2"
        with pair.primary.admin() as admin:
            assert admin.value("SELECT count(*) FROM f_blue") == "0"


def test_a_read_only_transaction_of_the_clients_own_is_nobodys_trouble(
    pair: Pair, tmp_path: Path, client: Clients
) -> None:
    with pair.proxy(tmp_path) as proxy:
        writer = client(proxy)
        writer.query("BEGIN READ ONLY")
        told = errors_of(writer.ask(Query("CREATE TABLE f_own (n int)")))
        assert [code for code, _ in told] == ["25006"]
        writer.query("ROLLBACK")
        assert writer.value("SELECT 1") == "1"
        assert proxy.api("events")["events"] == []
