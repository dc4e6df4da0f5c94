"""A database that is away for a while, and nobody but clients who would notice that it is back."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from tests.support.fake_server import FakeServer
from tests.support.proxy import start_proxy

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_proxy_is_ready_again_without_a_client(tmp_path: Path, workers: int) -> None:
    """An orchestrator sends none to one that is not ready."""
    with (
        FakeServer() as database,
        start_proxy(tmp_path, database, workers=workers, connection_borrow_timeout=1) as proxy,
    ):
        assert proxy.get("/readyz")[0] == 200
        usual, database.welcome = database.welcome, lambda peer: peer.hang_up()
        with pytest.raises(psycopg.OperationalError, match="Timed-out waiting"):
            psycopg.connect(proxy.dsn(sslmode="disable"))
        assert proxy.get("/readyz")[0] == 503
        time.sleep(2.5)
        assert proxy.get("/readyz")[0] == 503
        database.welcome = usual
        deadline = time.monotonic() + 10
        while proxy.get("/readyz")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        proxy.wait_for_log("Target db-a answers again")
        tried = database.connections
        time.sleep(3)
        assert database.connections == tried
        with proxy.wire() as client:
            assert client.value("SELECT 1") == "SELECT 1"
