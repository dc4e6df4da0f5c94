"""Pools of several users that share the budget: real PostgreSQL."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.support.messages import Query
from tests.support.postgres import Postgres
from tests.support.proxy import proxy_of
from tests.support.workers import asking

pytestmark = pytest.mark.integration


def test_servers_stay_with_pools_that_need_them(postgres: Postgres) -> None:
    """M-10: beside a busy pool another's servers are not spare between two transactions."""
    requests = "pyproxy_database_connection_requests_total"
    with proxy_of(8, postgres) as proxy, contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(proxy.wire(user))
            for user, count in (("app", 7), ("md5", 3))
            for _ in range(count)
        ]
        with asking(wires):
            # Until each pool has what it needs.
            time.sleep(1.5)
            opened = proxy.metric(requests)
            time.sleep(2)
            opened = proxy.metric(requests) - opened
            rows = [row for row in proxy.api("pools")["pools"] if row["servers"]]
        # It was sixty a second.
        assert opened <= 6
        assert sorted(row["servers"] for row in rows) == [3, 5]


def test_a_role_with_all_its_connections_in_use_makes_no_target_unavailable(
    postgres: Postgres,
) -> None:
    """TH-01: it serves everybody, and waits for its own connections like those of a full pool."""
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(postgres.admin())
        admin.query("ALTER ROLE clear CONNECTION LIMIT 1")
        stack.callback(admin.query, "ALTER ROLE clear CONNECTION LIMIT -1")
        proxy = stack.enter_context(proxy_of(4, postgres))
        first, second = (stack.enter_context(proxy.wire("clear")) for _ in range(2))
        first.query("BEGIN")
        second.send(Query("SELECT 1"))
        proxy.wait_for_log("too many connections for role")
        assert proxy.get("/readyz")[0] == 200
        first.query("COMMIT")
        assert second.read_ready()
