"""The proxy of a test run: a process of its own, started when it is first asked for.

A process rather than a thread: the tests' event loops, frozen clocks, patched sockets and warning
filters do not reach it, a busy test does not slow it down, and it cannot slow down or crash the
tests. It ends when our end of its standard input closes, so also when the test run is killed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from pyproxy import child
from pyproxy.lab.order import Order, Place, url
from pyproxy.pytest_plugin.pins import Pin

STOP_TIMEOUT: Final = 30.0


class SidecarError(Exception):
    """The proxy did not start; the text says why."""


class Sidecar:
    """A running proxy, the way in, and what has been pinned in it so far."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, place: Place) -> None:
        self._process = process
        self._folder = folder
        self._log = folder / "pyproxy.log"
        self._read = 0
        self._pins: list[Pin] = []
        self._warnings: list[str] = []
        self.place: Final = place

    @classmethod
    def start(cls, database: str, config: str) -> Sidecar:
        """Start one and wait until it listens; raises SidecarError."""
        folder = Path(tempfile.mkdtemp(prefix="pyproxy-pytest-"))
        # PostgreSQL may run as another user than we do.
        folder.chmod(0o711)
        with (folder / "errors").open("w") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own module
                child.command("pyproxy.lab.proxied"),
                env=child.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is the test run's to handle: it will stop us when its fixtures are done.
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        order = Order(str(folder), database, config)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order._asdict()) + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        fields = json.loads(answer) if answer else {"error": ""}
        if "error" in fields:
            _part(process)
            last_words = (folder / "errors").read_text(errors="replace").strip()[-1000:]
            shutil.rmtree(folder, ignore_errors=True)
            raise SidecarError(f"the proxy did not start: {fields['error'] or last_words}")
        return cls(process, folder, Place(**fields))

    def dsn(self, database: str = "") -> str:
        """A URL through the proxy for libpq and most drivers."""
        place = self.place
        return url(place.user, place.password, place.host, place.port, database or place.database)

    def pins(self) -> list[Pin]:
        """All pins so far: the proxy writes one down before it passes the statement on."""
        self._read_log()
        return self._pins

    def warnings(self) -> list[str]:
        """What else it has warned of so far."""
        self._read_log()
        return self._warnings

    def _read_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for text in whole.splitlines():
            line = json.loads(text)
            pin = Pin.of_line(line)
            if pin is not None:
                self._pins.append(pin)
            elif line["level"] != "INFO":
                self._warnings.append(line["message"])

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Is it there?"""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """The end of what it has logged, and of what it has said beside its log."""
        files = (self._log, self._folder / "errors")
        return "\n".join(f.read_text(errors="replace")[-2000:] for f in files if f.exists())

    def stop(self) -> None:
        """Stop it, and the PostgreSQL that it made."""
        _part(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)


def _part(process: subprocess.Popen[str]) -> None:
    """Close its standard input, which ends it, and wait."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
