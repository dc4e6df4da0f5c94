"""A proxy that is started after its primary has died: what it remembers, and what it does then."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyproxy.lab.cluster import Cluster
from tests.support.pair import Pair
from tests.support.proxy import Proxy
from tests.support.wire import Wire

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]


def memory_of(folder: Path) -> Path:
    return folder / "proxy" / "state" / "failover" / "pyproxy.json"


def remembered(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(memory_of(folder).read_text())
    return row


def events(proxy: Proxy) -> list[str]:
    return [row["event"] for row in proxy.api("events")["events"]]


def late_client(proxy: Proxy, cluster: Cluster) -> Wire:
    """One that is let in only when this cluster has been started."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(proxy.wire)
        time.sleep(1.0)
        assert not coming.done()
        cluster.start()
        return coming.result()


def test_a_proxy_that_knows_the_writer_promotes_though_it_never_saw_it_alive(
    pair: Pair, tmp_path: Path
) -> None:
    with pair.proxy(tmp_path) as proxy, proxy.wire() as client:
        client.query("CREATE TABLE m_kept (n int); INSERT INTO m_kept VALUES (1)")
    row = remembered(tmp_path)
    assert (row["writer"], row["timeline"], row["deposed"]) == ("db-a", 1, [])
    assert memory_of(tmp_path).stat().st_mode & 0o777 == 0o600
    pair.primary.cluster.kill()
    with pair.proxy(tmp_path) as proxy:
        with proxy.wire() as client:
            client.query("INSERT INTO m_kept VALUES (2)")
            assert client.value("SELECT count(*) FROM m_kept") == "2"
        assert proxy.wait_for_log("Remembered from .*: db-a was the writer, timeline 1")
        assert proxy.wait_for_log("PROMOTING: db-b takes over from db-a")
        assert proxy.wait_for_log("Writes moved to db-b after .* nobody got an error")
        row = remembered(tmp_path)
        assert (row["writer"], row["timeline"], row["deposed"]) == ("db-b", 2, ["db-a"])


def test_with_workers_the_supervisor_remembers(pair: Pair, tmp_path: Path) -> None:
    with pair.proxy(tmp_path, workers=2) as proxy, proxy.wire() as client:
        client.query("CREATE TABLE m_workers (n int)")
    pair.primary.cluster.kill()
    with pair.proxy(tmp_path, workers=2) as proxy:
        with proxy.wire() as client:
            client.query("INSERT INTO m_workers VALUES (1)")
        assert events(proxy).count("writer-remembered") == 1
        assert events(proxy).count("writer-promoting") == 1


def test_a_proxy_that_knows_nothing_promotes_nobody_and_says_why(
    pair: Pair, tmp_path: Path
) -> None:
    with pair.proxy(tmp_path):
        pass
    pair.primary.cluster.kill()
    shutil.rmtree(memory_of(tmp_path).parent)
    with pair.proxy(tmp_path) as proxy:
        proxy.wait_for_log("UNPROVEN: db-b is a standby, db-a is not to be reached.*pg_promote")
        assert "writer-unproven" in events(proxy)
        time.sleep(1.0)
        with pair.standby.admin() as admin:
            assert admin.value("SELECT pg_is_in_recovery()") == "t"
        # Whoever promotes it is followed.
        pair.standby.cluster.promote()
        proxy.await_writer("db-b")


@pytest.mark.parametrize("data", ['{"version": 1, "wri', "foreign"])
def test_a_file_that_is_of_no_use_is_told_and_promotes_nobody(
    pair: Pair, tmp_path: Path, data: str
) -> None:
    with pair.proxy(tmp_path):
        pass
    if data == "foreign":
        data = json.dumps(remembered(tmp_path) | {"address": "192.0.2.1:5432"})
    memory_of(tmp_path).write_text(data)
    pair.primary.cluster.kill()
    with pair.proxy(tmp_path) as proxy:
        proxy.wait_for_log(f"in {memory_of(tmp_path)} (can't be read and )?is ignored")
        proxy.wait_for_log("UNPROVEN: db-b is a standby")


def test_the_memory_of_another_cluster_promotes_nobody_and_is_told(
    pair: Pair, tmp_path: Path
) -> None:
    with pair.proxy(tmp_path):
        pass
    row = remembered(tmp_path)
    memory_of(tmp_path).write_text(json.dumps(row | {"system": "42"}))
    pair.primary.cluster.kill()
    with pair.proxy(tmp_path) as proxy:
        line = proxy.wait_for_log("NO_STANDBY: db-a is down")
        assert f"db-b is of another cluster (system {row['system']}, not 42)" in line
        assert f"remembered in {memory_of(tmp_path)}: if that is over, stop the proxy" in line
        # Once all are there they are another cluster as a whole: nothing of the old one counts.
        pair.primary.cluster.start()
        proxy.await_writer("db-a")
        assert proxy.wait_for_log("another cluster .* than those known before .system 42.")


def test_an_old_primary_that_comes_back_after_a_restart_is_never_used(
    pair: Pair, tmp_path: Path
) -> None:
    """It is writable, it is the first one of the configuration, and it lacks what was written."""
    with pair.proxy(tmp_path) as proxy, proxy.wire() as client:
        client.query("CREATE TABLE m_stray (n int)")
        pair.primary.cluster.kill()
        client.query("INSERT INTO m_stray VALUES (1)")
    # The new one is away, too: all that the proxy sees is the stray.
    pair.standby.cluster.stop()
    pair.primary.cluster.start()
    with pair.proxy(tmp_path) as proxy:
        line = proxy.wait_for_log("NO_STANDBY: db-b is down, and no standby of it answers")
        assert "db-a can be written to, but is an old primary (timeline 1, db-b was the" in line
        with late_client(proxy, pair.standby.cluster) as client:
            client.query("INSERT INTO m_stray VALUES (2)")
        proxy.wait_for_log("SPLIT: db-a can be written to as well")
        with pair.primary.admin() as old, pair.standby.admin() as new:
            assert old.value("SELECT count(*) FROM m_stray") == "0"
            assert new.value("SELECT count(*) FROM m_stray") == "2"
        assert remembered(tmp_path)["deposed"] == ["db-a"]
        # As a standby it is welcome again.
        pair.primary.cluster.stop()
        pair.primary.cluster.rejoin(pair.standby.cluster)
        proxy.wait_for_log("Target db-a is available, READ_ONLY", 20)
        deadline = time.monotonic() + 10
        while remembered(tmp_path)["deposed"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_proxy_that_dies_while_it_promotes_does_not_go_back(pair: Pair, tmp_path: Path) -> None:
    """That a promotion was asked for is on the disk before it is asked for."""
    with pair.proxy(tmp_path):
        pass
    row = remembered(tmp_path)
    # As if killed in between: the standby is away, the old primary is back as it was.
    pair.standby.cluster.stop()
    asked = {"deposed": ["db-a"], "promoting": "db-b", "promoting_at": time.time() - 60}
    memory_of(tmp_path).write_text(json.dumps(row | asked))
    with pair.proxy(tmp_path) as proxy:
        proxy.wait_for_log("NO_STANDBY: db-a can be written to, but db-b was asked to take over")
        # It is a standby still: nothing has come of the promotion.
        with late_client(proxy, pair.standby.cluster) as client:
            assert client.value("SELECT inet_server_port()") == str(pair.primary.port)


def test_a_standby_that_somebody_has_promoted_meanwhile_is_the_writer(
    pair: Pair, tmp_path: Path
) -> None:
    with pair.proxy(tmp_path):
        pass
    pair.primary.cluster.stop()
    pair.standby.cluster.promote()
    with pair.proxy(tmp_path) as proxy:
        proxy.await_writer("db-b")
        # What is back as it was is not: it is remembered to have been replaced.
        pair.primary.cluster.start()
        proxy.wait_for_log("SPLIT: db-a can be written to as well")


def test_a_remembered_writer_to_which_the_standby_is_connected_is_not_replaced(
    pair: Pair, tmp_path: Path
) -> None:
    """Frozen here; it could as well be alive, and only our way to it be cut."""
    with pair.proxy(tmp_path):
        pass
    pair.primary.cluster.freeze()
    with pair.proxy(tmp_path) as proxy:
        proxy.wait_for_log("ISOLATED: a standby still hears from db-a", 20)
        pair.primary.cluster.thaw()
        proxy.await_writer("db-a")
