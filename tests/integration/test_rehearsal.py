"""`pyproxy failover` against a running `pyproxy demo`: killed, mended, switched over."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.support.ports import free_port
from tests.support.proxy import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the HTTP side of a demonstration."""
    port, http_port = free_port(), free_port()
    log = tmp_path_factory.mktemp("demo") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pyproxy", "demo"),
                *("--port", str(port), "--http-port", str(http_port)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        await_text(log, "PyProxy is ready", process)
        yield f"http://127.0.0.1:{http_port}"
    finally:
        process.terminate()
        process.wait(60)
    assert "Traceback" not in log.read_text(errors="replace")


def await_text(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while text not in log.read_text(errors="replace"):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def failover(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyproxy", "failover", "--url", url, *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=180,
    )


def test_a_rehearsal_tells_when_it_broke_how_long_writes_stopped_and_who_got_an_error(
    demo: str,
) -> None:
    done = failover(demo)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "db-a is killed, as a power cut does it",
        "PROMOTING: db-b takes over from db-a",
        r"Writes moved to db-b after \d+\.\d+ s without db-a: detected .* first answer",
        r"Writes stopped for \d+\.\d+ s",
        "4 of 4 idle clients noticed nothing",
        "2 of 2 clients in a transaction got 08006: The database connection was lost",
        "2 of 2 pinned clients got 08006: The database connection was lost.*pinned",
        "db-a is back, as the standby of db-b",
    ):
        assert re.search(line, done.stdout), done.stdout
    # And the other way round, as planned: what was broken is whole again.
    back = failover(demo, "--switchover")
    assert back.returncode == 0, back.stdout + back.stderr
    assert "db-b is stopped, as for maintenance" in back.stdout
    assert "db-b is back, as the standby of db-a" in back.stdout


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 405),
        ("POST", {}, 403),
        ("POST", {"X-PyProxy-Deliberate": "yes", "Origin": "http://evil.example"}, 403),
        ("POST", {"X-PyProxy-Deliberate": "yes", "Host": "evil.example"}, 403),
        ("POST", {"X-PyProxy-Deliberate": "yes"}, 400),
    ],
    ids=["a look", "a form of another site", "another site", "a rebound name", "no such way"],
)
def test_nobody_breaks_it_by_accident(
    demo: str, method: str, headers: dict[str, str], status: int
) -> None:
    """A page on the internet may make a browser send a POST to loopback."""
    how = "how=nonsense" if status == 400 else "how=kill"
    request = urllib.request.Request(
        f"{demo}/api/v1/failover?{how}", method=method, headers=headers
    )
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == status


def test_any_other_proxy_says_no(proxy: object) -> None:
    """Only a demonstration owns its databases."""
    done = failover(f"http://127.0.0.1:{proxy.http_port}")  # type: ignore[attr-defined]
    assert done.returncode == 1
    assert "is no demo, whose databases alone may be broken: pyproxy demo" in done.stderr
    assert failover("http://127.0.0.1:1").returncode == 2
