"""A real two-node Patroni cluster: its leader is followed, when it dies and when it is changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.messages import Query
from tests.support.patroni import missing, patroni_cluster
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.wire import Wire, errors_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.mark.parametrize("by", ["rest", "role"])
def test_the_leader_is_followed(by: str, tmp_path: Path) -> None:
    """`by: role` needs nothing of Patroni: whoever is writable, of the newest timeline."""
    with temporary_folder() as folder, patroni_cluster(folder) as cluster:
        leader, replica = cluster.await_roles()
        with Wire("127.0.0.1", leader.port).login("postgres", PASSWORD, "postgres") as admin:
            admin.query(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
            admin.query("CREATE DATABASE app OWNER app")
            admin.query(f"CREATE ROLE rdsproxyadmin LOGIN PASSWORD '{PASSWORD}'")
        failover: dict[str, Any] = {"promote": False}
        if by == "rest":
            # One that does not answer is passed over.
            urls = ["http://127.0.0.1:1", *(node.url for node in cluster.nodes)]
            failover = {"patroni": urls}
        group = {
            "connection_pool_config": {"max_connections_percent": 10},
            "targets": [{"id": node.name, "port": node.port} for node in cluster.nodes],
        }
        with (
            start_proxy(
                tmp_path,
                cast(Postgres, SimpleNamespace(port=leader.port)),
                target_group=group,
                monitoring={"secret": "rdsproxyadmin"},
                failover=failover,
            ) as proxy,
            proxy.wire() as idle,
            proxy.wire() as writer,
        ):
            idle.timeout = writer.timeout = 90.0
            writer.query("CREATE TABLE p_kept (n int)")
            cluster.switch_over(leader, replica)
            # Waits while there is no leader, and is never sent to a standby (lessons 26).
            assert errors_of(writer.ask(Query("INSERT INTO p_kept VALUES (1)"))) == []
            assert idle.value("SELECT inet_server_port()") == str(replica.port)
            cluster.await_roles()
            replica.kill()
            assert errors_of(idle.ask(Query("INSERT INTO p_kept VALUES (2)"))) == []
            assert idle.value("SELECT inet_server_port()") == str(leader.port)
            assert "25006" not in proxy.log
            if by == "rest":
                proxy.wait_for_log(f"Patroni's leader is {replica.name}")
