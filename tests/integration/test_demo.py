"""`pyproxy demo` leaves nothing behind, whichever way its terminal goes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.ports import free_port
from tests.support.postgres import temporary_folder
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
def terminal() -> Iterator[None]:
    """As one leaves it to its programs, whatever these tests were started by: nohup, for one."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def demo(folder: Path, terminal: None) -> Iterator[subprocess.Popen[bytes]]:
    with demonstration(folder) as process:
        yield process


@contextlib.contextmanager
def demonstration(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    ports = (f"--port={free_port()}", f"--http-port={free_port()}", *options)
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "pyproxy", "demo", *ports],
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        ) as process,
    ):
        yield process
        process.kill()


def postmasters(folder: Path) -> list[int]:
    files = folder.glob("pyproxy-demo-*/*/data/postmaster.pid")
    return [int(file.read_text().split()[0]) for file in files]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        # A terminal that is closed says so twice: the kernel does, and the shell.
        ("PyProxy is ready", signal.SIGHUP, 0),
        ("PostgreSQL standby", signal.SIGHUP, 130),
        ("PostgreSQL standby", signal.SIGTERM, 130),
    ],
    ids=["hangup", "hangup-at-the-start", "terminated-at-the-start"],
)
def test_whoever_ends_it_ends_its_databases(
    moment: str, number: signal.Signals, code: int, demo: subprocess.Popen[bytes], folder: Path
) -> None:
    wait_until(lambda: moment in (folder / "log").read_text(), 60)
    databases = postmasters(folder)
    assert databases
    demo.send_signal(number)
    if number is signal.SIGHUP:
        demo.send_signal(number)
    assert demo.wait(30) == code
    assert all(map(gone, databases))
    assert not list(folder.glob("pyproxy-demo-*"))


def test_what_a_killed_one_leaves_is_ended_by_the_next(folder: Path, terminal: None) -> None:
    """SIGKILL leaves no time to stop anything."""
    databases: list[int] = []
    for times in (1, 2):
        with demonstration(folder) as demo:
            wait_until(lambda: (folder / "log").read_text().count("PyProxy is ready") == times, 60)  # noqa: B023
            assert all(map(gone, databases))
            databases = postmasters(folder)
            assert len(databases) == 2
            (demo.kill if times == 1 else demo.terminate)()
            demo.wait(30)
        assert any(map(gone, databases)) == (times == 2)
    assert not list(folder.glob("pyproxy-demo-*"))


def test_nohup_keeps_it(folder: Path) -> None:
    """Who starts it so wants it to outlive the terminal."""
    asked = (
        "import signal; from pyproxy.lab.interrupts import as_control_c;"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); as_control_c();"
        "signal.raise_signal(signal.SIGHUP)"
    )
    assert subprocess.run([sys.executable, "-c", asked], cwd=folder).returncode == 0


def test_what_is_kept_goes_on_as_a_pair(folder: Path, terminal: None) -> None:
    """Ports change from one run to the next, and a failover exchanges who is the primary."""
    write_fail_over_and_read(folder, 1)
    write_fail_over_and_read(folder, 2)


def write_fail_over_and_read(folder: Path, run: int) -> None:
    """What this run and those before it have written survives a failover."""
    port = free_port()
    failover = ("pyproxy", "failover", f"--url=http://127.0.0.1:{port}")
    kept = (f"--http-port={port}", f"--data-dir={folder / 'kept'}")
    with demonstration(folder, *kept) as process:
        wait_until(lambda: (folder / "log").read_text().count("Stop ") == run, 60)
        *_, url = re.findall(r"^postgresql://\S+$", (folder / "log").read_text(), re.MULTILINE)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (run int)")
            connection.execute("INSERT INTO kept VALUES (%s)", (run,))
        done = subprocess.run(
            [sys.executable, "-m", *failover], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT run FROM kept ORDER BY run").fetchall()
            assert rows == [(number,) for number in range(1, run + 1)]
        process.send_signal(signal.SIGTERM)
        process.wait(30)
