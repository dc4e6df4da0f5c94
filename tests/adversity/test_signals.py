"""SIGTERM drains, SIGHUP reloads, a bad configuration or a taken port is told in one line."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.messages import Query, Terminate
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import (
    ROOT,
    START_TIMEOUT,
    Proxy,
    begin_proxy,
    configuration,
    start_proxy,
)
from tests.support.waiting import wait_until
from tests.support.wire import Silence, Wire

pytestmark = pytest.mark.adversity


def test_a_client_that_left_during_its_login_is_not_told_of_the_end(postgres: Postgres) -> None:
    """To a closed transport asyncio only drops what is written, and uvloop raises."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = listener.getsockname()[1]
    target_group = {"targets": [{"id": "db-a", "port": nowhere}]}
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, target_group=target_group) as proxy,
        contextlib.closing(Wire(proxy.host, proxy.port, timeout=1)) as wire,
        # Its welcome waits for a database.
        pytest.raises(Silence),
    ):
        wire.login("app", PASSWORD, "app")


def test_sigterm_lets_a_transaction_finish(postgres: Postgres) -> None:
    """Nothing is lost that was begun, nothing new begins."""
    with postgres.wire() as direct:
        direct.query("DROP TABLE IF EXISTS s_drain; CREATE TABLE s_drain (n int)")
        with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
            busy = proxy.wire()
            busy.query("BEGIN; INSERT INTO s_drain VALUES (1)")
            proxy.signal(signal.SIGTERM)
            proxy.wait_for_log("Draining")
            wait_until(lambda: not listens(proxy))
            assert proxy.get("/readyz")[0] == 503
            assert proxy.get("/healthz")[0] == 200
            busy.query("INSERT INTO s_drain VALUES (2)")
            busy.query("COMMIT")
            assert proxy.process.wait(10) == 0
            busy.close()
        assert direct.value("SELECT count(*) FROM s_drain") == "2"


def listens(proxy: Proxy) -> bool:
    try:
        socket.create_connection((proxy.host, proxy.port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_sigterm_lets_the_last_requests_of_a_goodbye_finish(postgres: Postgres) -> None:
    """Its client has ended for the proxy, and still waits for its answers."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres) as proxy,
        proxy.wire() as leaving,
    ):
        leaving.send(Query("SELECT pg_sleep(4)"), Query("SELECT 'done'"), Terminate())
        while proxy.api("clients")["clients"]:
            time.sleep(0.01)
        proxy.signal(signal.SIGTERM)
        assert [r.values for r in leaving.read_to_end() if r.tag == "D"] == [[b""], [b"done"]]
        assert proxy.process.wait(10) == 0


def test_sigterm_does_not_wait_for_ever(postgres: Postgres) -> None:
    """`drain_timeout` bounds it, and what is left is rolled back."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, proxy={"drain_timeout": 0.5}) as proxy,
        proxy.wire() as busy,
    ):
        busy.query("BEGIN")
        began = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(10) == 0
        assert 0.4 < time.monotonic() - began < 6
        assert [r.fields["C"] for r in busy.read_to_end() if r.tag == "E"] == ["57P01"]


@contextlib.contextmanager
def starting(folder: Path, postgres: Postgres, workers: int) -> Iterator[Proxy]:
    """A proxy that does not listen yet: it asks a target that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        changes = {
            "workers": workers,
            "monitoring": {"secret": "rdsproxyadmin"},
            "failover": {"probe_timeout": 2, "probe_interval": 2},
            "target_group": {"targets": [{"id": "db-a", "port": mute.getsockname()[1]}]},
        }
        with begin_proxy(folder, postgres, **changes) as proxy:
            proxy.wait_for_log("Secret rdsproxyadmin was read", START_TIMEOUT)
            yield proxy


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_what_has_not_started_yet(postgres: Postgres, workers: int) -> None:
    with temporary_folder() as folder, starting(folder, postgres, workers) as proxy:
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(10) == 0
        assert "PyProxy is ready" not in proxy.log
        assert "PyProxy has stopped." in proxy.log


@pytest.mark.parametrize("workers", [1, 2])
def test_what_starts_reads_its_configuration_again_once_it_has(
    postgres: Postgres, workers: int
) -> None:
    """SIGHUP kills who does not heed it, and what it stands for must not be lost."""
    with temporary_folder() as folder, starting(folder, postgres, workers) as proxy:
        config = yaml.safe_load(proxy.config_file.read_text())
        config["proxy"]["debug_logging"] = True
        proxy.config_file.write_text(yaml.safe_dump(config))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("PyProxy is ready", START_TIMEOUT)
        proxy.wait_for_log("was reloaded: changed: proxy.debug_logging")


def test_sighup_takes_over_what_has_changed(postgres: Postgres) -> None:
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy, proxy.wire() as wire:
        config = configuration(postgres, proxy={"debug_logging": True, "idle_client_timeout": 1})
        proxy.config_file.write_text(yaml.safe_dump(config))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("was reloaded: changed: proxy.idle_client_timeout, proxy.debug_logging")
        began = time.monotonic()
        assert not wire.read_to_end()
        assert time.monotonic() - began < 8
        proxy.wait_for_log("It was idle for longer than idle_client_timeout")


def test_a_bad_file_changes_nothing(postgres: Postgres) -> None:
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy, proxy.wire() as wire:
        proxy.config_file.write_text("proxy: {nonsense: 1}\nworkers: two")
        proxy.signal(signal.SIGHUP)
        line = proxy.wait_for_log("The configuration was not reloaded")
        assert "pyproxy.yaml:1:9: proxy.nonsense: unknown key; " in line
        assert "pyproxy.yaml:2:10: workers: this is not a whole number" in line
        assert wire.value("SELECT 1") == "1"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyproxy", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )


def test_check_contacts_nothing_and_tells_the_place(tmp_path: Path) -> None:
    """DESIGN 6: exit code 2 and the place if wrong."""
    file = tmp_path / "p.yaml"
    file.write_text("proxy: {auth: [{secret_arn: a}]}\ntarget_group: {targets: [{id: a}]}")
    good = run("check", "--config", str(file))
    assert (good.returncode, good.stdout) == (0, f"{file}: valid\n")
    file.write_text("http: {port: x}")
    bad = run("check", "--config", str(file))
    assert bad.returncode == 2
    assert f"{file}:1:14: http.port: this is not a whole number" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_missing_file_is_told_in_one_line() -> None:
    done = run("run", "--config", "/nowhere/p.yaml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_told_in_one_line(postgres: Postgres) -> None:
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        config = configuration(postgres, endpoints=[{"port": proxy.port}])
        file = folder / "second.yaml"
        file.write_text(yaml.safe_dump(config))
        done = run("run", "--config", str(file))
        assert done.returncode == 2
        assert str(proxy.port) in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_second_signal_ends_at_once(postgres: Postgres) -> None:
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        busy = proxy.wire()
        busy.query("BEGIN")
        proxy.signal(signal.SIGINT)
        proxy.wait_for_log("Draining")
        proxy.signal(signal.SIGINT)
        assert proxy.process.wait(8) == 0
        busy.close()


def test_new_clients_wait_for_a_database_that_is_away(postgres: Postgres) -> None:
    """It comes back within the borrow timeout: nobody gets an error."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        with proxy.wire() as wire:
            wire.value("SELECT 1")
            before, port = proxy.server_ids(), postgres.port
            postgres.cluster.kill()
            back = threading.Timer(1.0, postgres.cluster.start, (port,))
            back.start()
            wait_until(lambda: proxy.server_ids().isdisjoint(before))
            assert wire.value("SELECT 'back'") == "back"
            back.join()
        assert proxy.get("/readyz")[0] == 200
