"""A reader that does not follow the new writer: who is sent there, and who is not taken for one."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyproxy.lab.cluster import SUPERUSER, Cluster
from tests.support.messages import Query
from tests.support.postgres import Postgres
from tests.support.proxy import FOLLOW_PATIENCE, Proxy
from tests.support.trio import Readers, Trio, port_of
from tests.support.wire import Wire, errors_of

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]

LEFT_BEHIND = "Target db-c is unavailable. INVALID_REPLICATION_STATE: it does not follow the writer"


def follow(standby: Postgres, *primaries: Postgres) -> None:
    """Have a standby stream from the first of these that there is; no slot is asked for."""
    hosts, ports = (
        ",".join(words)
        for words in zip(*(("127.0.0.1", str(primary.port)) for primary in primaries), strict=True)
    )
    password = primaries[0].password(SUPERUSER)
    conninfo = f"host={hosts} port={ports} user={SUPERUSER} password={password}"
    reconfigure(standby, primary_conninfo=conninfo, primary_slot_name="")


def reconfigure(postgres: Postgres, **settings: str) -> None:
    """Change what can be changed without a restart."""
    with postgres.admin("postgres") as admin:
        for name, value in settings.items():
            admin.query(f"ALTER SYSTEM SET {name} = '{value}'")
        admin.query("SELECT pg_reload_conf()")


def health_of(proxy: Proxy, name: str) -> dict[str, Any]:
    rows = proxy.api("targets")["targets"]
    return next(row for row in rows if row["id"] == name)


def await_all_received(trio: Trio) -> None:
    """Wait until both standbys have all, so that either can follow the other."""
    query = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
    with trio.pair.primary.admin("postgres") as admin:
        deadline = time.monotonic() + 20
        while admin.value(query) != "2":
            assert time.monotonic() < deadline
            time.sleep(0.02)


def replace_the_writer(trio: Trio, proxy: Proxy) -> None:
    """db-b takes over from db-a, and writes."""
    await_all_received(trio)
    trio.pair.primary.cluster.kill()
    proxy.await_writer("db-b")
    with proxy.wire() as writer:
        writer.query("INSERT INTO l_rows VALUES (2)")


def make_table(proxy: Proxy) -> None:
    with proxy.wire() as writer:
        writer.query("CREATE TABLE l_rows (n int); INSERT INTO l_rows VALUES (1)")


def come_to(trio: Trio, readers: Readers) -> Wire:
    """A client whose reader is db-c."""
    while port_of(client := readers.come()) != trio.second.port:
        pass
    return client


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_that_is_left_behind_serves_nobody_until_it_follows(
    trio: Trio, tmp_path: Path, workers: int
) -> None:
    """FO-04, FO-02, TH-02: its sessions move without an error, the pinned get one; C-17 later."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path, loop="hasty", workers=workers))
        readers = Readers(proxy, stack)
        make_table(proxy)
        client, pinned = come_to(trio, readers), come_to(trio, readers)
        pinned.query("SET my.setting = 'kept'")
        replace_the_writer(trio, proxy)
        # For a while it may be on its way to the new writer.
        assert client.value("SELECT count(*) FROM l_rows") == "1"
        proxy.wait_for_log(LEFT_BEHIND, 30)
        assert [code for code, _ in errors_of(pinned.read_to_end())] == ["08006"]
        row = health_of(proxy, "db-c")
        assert (row["available"], row["reason"]) == (False, "INVALID_REPLICATION_STATE")
        assert row["role"] == "READ_ONLY"
        events = [e["message"] for e in proxy.api("events")["events"]]
        assert any(message.startswith(LEFT_BEHIND) for message in events)
        assert proxy.metric("pyproxy_availability_percentage", target_role="READ_ONLY") == 0
        # Readers exist, none is available: who asks waits, and so does who comes.
        client.send(Query("SELECT count(*), inet_server_port() FROM l_rows"))
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(readers.come, 60.0)
            assert client.read_quiet(1.0) == []
            trio.pair.primary.cluster.rejoin(trio.pair.standby.cluster)
            late = coming.result()
        new = [[b"2", str(trio.pair.primary.port).encode()]]
        assert [r.values for r in client.read_ready() if r.tag == "D"] == new
        assert port_of(late) == trio.pair.primary.port
        follow(trio.second, trio.pair.standby)
        proxy.wait_for_log("Target db-c is available, READ_ONLY", 30)
        assert health_of(proxy, "db-c")["available"]
        assert port_of(come_to(trio, readers)) == trio.second.port
        # FO-06: the others stay where they are.
        assert port_of(client) == trio.pair.primary.port


def test_a_reader_of_a_writer_that_is_only_down_goes_on(trio: Trio, tmp_path: Path) -> None:
    """FO-04: nobody has taken over, so nothing newer can be read anywhere."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path, loop="hasty", failover={"promote": False}))
        readers = Readers(proxy, stack)
        make_table(proxy)
        client = come_to(trio, readers)
        await_all_received(trio)
        trio.pair.primary.cluster.kill()
        proxy.wait_for_log("DOWN: db-a is down", 20)
        reads_on(client, "1", FOLLOW_PATIENCE + 2)
        trio.pair.primary.cluster.start()
        proxy.await_writer("db-a")
        reads_on(client, "1", 1.0)
        assert "INVALID_REPLICATION_STATE" not in proxy.log


def reads_on(client: Wire, count: str, seconds: float) -> None:
    """It is answered at once, all the time, with this many rows at least."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.value("SELECT count(*) FROM l_rows")
        assert found is not None and found >= count
        time.sleep(0.1)


@pytest.mark.parametrize("monitored", [True, False], ids=["monitor", "first user"])
def test_a_reader_that_follows_by_itself_is_none_of_those(
    trio: Trio, tmp_path: Path, monitored: bool
) -> None:
    """Who may not see what it receives does not take the late control file for the truth."""
    follow(trio.second, trio.pair.primary, trio.pair.standby)
    monitoring = {} if monitored else {"monitoring": {}}
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path, loop="hasty", **monitoring))
        readers = Readers(proxy, stack)
        make_table(proxy)
        client = come_to(trio, readers)
        await_all_received(trio)
        trio.pair.primary.cluster.kill()
        if not monitored:
            # That user may not promote.
            proxy.wait_for_log("FORBIDDEN", 20)
            trio.pair.standby.cluster.promote()
        proxy.await_writer("db-b")
        with proxy.wire() as writer:
            writer.query("INSERT INTO l_rows VALUES (2)")
        reads_on(client, "1", FOLLOW_PATIENCE + 4)
        assert client.value("SELECT count(*) FROM l_rows") == "2"
        with trio.second.admin("postgres") as admin:
            known = admin.value("SELECT timeline_id FROM pg_control_checkpoint()")
        assert known == "1", "it is not late any more: the test shows nothing"
        # A connection that is lost for a moment is nothing either.
        with trio.pair.standby.admin("postgres") as admin:
            admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        reads_on(client, "2", FOLLOW_PATIENCE / 2)
        assert "INVALID_REPLICATION_STATE: it does not follow" not in proxy.log


def test_a_user_who_may_see_nothing_sees_that_nobody_is_followed(
    trio: Trio, tmp_path: Path
) -> None:
    """That there is no WAL receiver is shown to everybody."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path, loop="hasty", monitoring={}))
        make_table(proxy)
        await_all_received(trio)
        trio.pair.primary.cluster.kill()
        proxy.wait_for_log("FORBIDDEN", 20)
        trio.pair.standby.cluster.promote()
        proxy.wait_for_log(LEFT_BEHIND, 40)


def test_a_reader_that_lives_on_an_archive_is_none_of_those(trio: Trio, tmp_path: Path) -> None:
    """It has no WAL receiver, and its control file learns of the new timeline much later."""
    archive = archive_of(trio)
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(trio.proxy(tmp_path, loop="hasty"))
        readers = Readers(proxy, stack)
        make_table(proxy)
        switch(trio.pair.primary)
        client = come_to(trio, readers)
        await_rows(client, "1")
        trio.pair.primary.cluster.kill()
        proxy.await_writer("db-b")
        with proxy.wire() as writer:
            writer.query("INSERT INTO l_rows VALUES (2)")
        reads_on(client, "1", FOLLOW_PATIENCE + 2)
        switch(trio.pair.standby)
        await_rows(client, "2")
        assert any(path.name.startswith("00000002") for path in archive.iterdir())
        assert "INVALID_REPLICATION_STATE" not in proxy.log


def archive_of(trio: Trio) -> Path:
    """Have both others archive, and db-c restore that and follow nobody."""
    archive = trio.second.cluster.folder.parent / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    clusters: list[Cluster] = [trio.pair.primary.cluster, trio.pair.standby.cluster]
    for cluster in clusters:
        cluster.stop()
        cluster.configure({"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"})
        cluster.start()
    trio.pair.await_streaming()
    reconfigure(
        trio.second,
        primary_conninfo="",
        primary_slot_name="",
        restore_command=f"cp {archive}/%f %p",
    )
    return archive


def switch(postgres: Postgres) -> None:
    """Have what was written archived."""
    with postgres.admin("postgres") as admin:
        admin.query("SELECT pg_switch_wal()")


def await_rows(client: Wire, count: str) -> None:
    """Wait until this client sees so many rows."""
    deadline = time.monotonic() + 30
    exists = "SELECT count(*) FROM pg_class WHERE relname = 'l_rows'"
    while client.value(exists) != "1" or client.value("SELECT count(*) FROM l_rows") != count:
        assert time.monotonic() < deadline, f"not {count} rows"
        time.sleep(0.05)
