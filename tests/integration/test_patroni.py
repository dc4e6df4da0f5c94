"""A real two-node Patroni cluster: its leader is followed, when it dies and when it is changed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.messages import Query
from tests.support.patroni import Node, PatroniCluster, missing, patroni_cluster
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire, errors_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


def test_the_leader_is_followed(tmp_path: Path) -> None:
    """Through one proxy that asks Patroni, and one that needs nothing of it.

    That one sends its clients to whoever is writable, of the newest timeline.
    """
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(patroni_cluster(stack.enter_context(temporary_folder())))
        leader, replica = cluster.await_roles()
        with Wire("127.0.0.1", leader.port).login("postgres", PASSWORD, "postgres") as admin:
            admin.query(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
            admin.query("CREATE DATABASE app OWNER app")
            admin.query(f"CREATE ROLE rdsproxyadmin LOGIN PASSWORD '{PASSWORD}'")
        # One that does not answer is passed over.
        urls = ["http://127.0.0.1:1", *(node.url for node in cluster.nodes)]
        by_rest, by_role = (
            stack.enter_context(proxy_of(cluster, leader, tmp_path / name, failover))
            for name, failover in (("rest", {"patroni": urls}), ("role", {"promote": False}))
        )
        proxies = (by_rest, by_role)
        idle = [stack.enter_context(proxy.wire()) for proxy in proxies]
        writers = [stack.enter_context(proxy.wire()) for proxy in proxies]
        for client in (*idle, *writers):
            client.timeout = 90.0
        writers[0].query("CREATE TABLE p_kept (n int)")
        assert writers[1].value("SELECT count(*) FROM p_kept") == "0"
        cluster.switch_over(leader, replica)
        # Waits while there is no leader, and is never sent to a standby (lessons 26).
        insert(writers)
        assert ports_of(idle) == [replica.port] * 2
        cluster.await_roles()
        cluster.kill_leader(replica)
        insert(idle)
        assert ports_of(idle) == [leader.port] * 2
        assert all("25006" not in proxy.log for proxy in proxies)
        by_rest.wait_for_log(f"Patroni's leader is {replica.name}")


def proxy_of(
    cluster: PatroniCluster, leader: Node, folder: Path, failover: dict[str, Any]
) -> contextlib.AbstractContextManager[Proxy]:
    folder.mkdir()
    group = {
        "connection_pool_config": {"max_connections_percent": 10},
        "targets": [{"id": node.name, "port": node.port} for node in cluster.nodes],
    }
    return start_proxy(
        folder,
        cast(Postgres, SimpleNamespace(port=leader.port)),
        target_group=group,
        monitoring={"secret": "rdsproxyadmin"},
        failover=failover,
    )


def insert(clients: list[Wire]) -> None:
    """All at once: each is there when the leader changes."""
    for client in clients:
        client.send(Query("INSERT INTO p_kept VALUES (1)"))
    for client in clients:
        assert errors_of(client.read_ready()) == []


def ports_of(clients: list[Wire]) -> list[int]:
    return [int(client.value("SELECT inet_server_port()") or 0) for client in clients]
