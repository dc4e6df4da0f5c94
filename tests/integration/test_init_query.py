"""The init query: run on each new database connection, and again after a reset."""

from __future__ import annotations

import pytest

from tests.support.postgres import Postgres
from tests.support.proxy import proxy_of
from tests.support.wire import LoginFailed

pytestmark = pytest.mark.integration

INIT = "SET work_mem = '9MB'; SELECT set_config('app.tenant', 'nobody', false)"


def test_it_is_in_force_for_everybody_and_pins_nobody(postgres: Postgres) -> None:
    """IQ-01, IQ-02, NOPIN-PG-05, S-06: several statements, whatever they are."""
    with proxy_of(1, postgres, init_query=INIT) as proxy, proxy.wire() as client:
        assert client.value("SHOW work_mem") == "9MB"
        assert client.value("SHOW app.tenant") == "nobody"
        assert proxy.api("pins")["pins"] == []


def test_it_is_in_force_again_behind_a_pinned_session(postgres: Postgres) -> None:
    """IQ-05, END-02."""
    with proxy_of(1, postgres, init_query=INIT) as proxy:
        with proxy.wire() as client:
            client.query("SET work_mem = '8MB'")
            client.query("SET app.tenant = 'somebody'")
        with proxy.wire() as client:
            assert client.value("SHOW work_mem") == "9MB"
            assert client.value("SHOW app.tenant") == "nobody"


def test_one_that_fails_is_a_connection_that_could_not_be_set_up(postgres: Postgres) -> None:
    """IQ-04, E-PG-17, M-17: the client reads the database's words, the log says whose they are."""
    with proxy_of(1, postgres, init_query="SET nosuch = 1") as proxy:
        words = 'unrecognized configuration parameter "nosuch"'
        with pytest.raises(LoginFailed, match=f"XX000 Request returned an error: {words}"):
            proxy.wire()
        proxy.wait_for_log(f"no connection to target db-a: the init query fails: {words}")
        assert proxy.metric("pyproxy_database_connections_setup_failed_total") >= 1
        assert proxy.metric("pyproxy_database_connections") == 0
