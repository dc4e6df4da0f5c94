"""A database that is away for a while, and nobody but clients who would notice that it is back."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from protocol.postgres.sqlstate import INVALID_PASSWORD
from tests.support.fake_server import FakeServer, Peer, error
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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_proxy_whose_only_password_is_refused_is_not_ready(tmp_path: Path, workers: int) -> None:
    """TH-02: AUTH_FAILURE. Ready again without a client, when the database takes it."""
    with (
        FakeServer() as database,
        start_proxy(
            tmp_path, database, workers=workers, proxy={"auth": [{"secret_arn": "app"}]}
        ) as proxy,
    ):
        usual, database.welcome = database.welcome, refuse
        with pytest.raises(psycopg.OperationalError, match="Request returned an error: no entry"):
            psycopg.connect(proxy.dsn(sslmode="disable"))
        status, why = proxy.get("/readyz")
        assert (status, "no entry" in why) == (503, True)
        (target,) = proxy.api("targets")["targets"]
        assert (target["state"], target["reason"]) == ("UNAVAILABLE", "AUTH_FAILURE")
        database.welcome = usual
        proxy.wait_for_log("Target db-a answers again")
        assert proxy.get("/readyz")[0] == 200


def test_a_password_that_is_refused_is_not_everybodys(tmp_path: Path) -> None:
    """Of several users the others may be served."""
    with FakeServer() as database, start_proxy(tmp_path, database) as proxy:
        database.welcome = refuse
        with pytest.raises(psycopg.OperationalError, match="Request returned an error: no entry"):
            psycopg.connect(proxy.dsn(sslmode="disable"))
        assert proxy.get("/readyz")[0] == 200


def refuse(peer: Peer) -> None:
    peer.say(error("FATAL", INVALID_PASSWORD, "no entry"))
    peer.hang_up()
