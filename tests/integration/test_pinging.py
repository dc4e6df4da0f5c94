"""Idle database connections are asked now and then whether they are there (C-11)."""

from __future__ import annotations

import time

import pytest

from tests.support.postgres import Postgres
from tests.support.proxy import proxy_of

pytestmark = pytest.mark.integration


def test_an_idle_connection_is_not_idle_to_the_database(postgres: Postgres) -> None:
    """C-11: as on RDS Proxy a ping starts the database's own timers anew."""
    with postgres.admin() as admin:
        admin.query("ALTER ROLE app SET idle_session_timeout = '3s'")
    try:
        with proxy_of(4, postgres, loop="pinging") as proxy:
            with proxy.wire() as one, proxy.wire() as other:
                one.query("BEGIN")
                other.query("SELECT 1")
                one.query("COMMIT")
            servers = proxy.server_ids()
            assert len(servers) == 2
            time.sleep(6)
            rows = proxy.api("servers")["servers"]
            # The very same, and who counts them as idle is told so.
            assert {row["id"] for row in rows} == servers
            assert all(row["state_age"] > 5.5 for row in rows)
            assert "idle-session timeout" not in proxy.log
            with proxy.wire() as client:
                client.query("SELECT 1")
            assert proxy.server_ids() == servers
    finally:
        with postgres.admin() as admin:
            admin.query("ALTER ROLE app RESET idle_session_timeout")
