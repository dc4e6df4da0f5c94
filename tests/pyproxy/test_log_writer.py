"""A log that nobody reads stops nobody, and one that is read late is whole."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from pyproxy import log_writer, logs
from tests.support.waiting import wait_until

# More than a pipe takes, and less than is kept.
MANY = 2000
NOTICE = "lines of the log were lost: nobody read it."


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    yield
    logs.configure(None)


def read_until(handle: int, text: str) -> list[str]:
    """All lines up to the one with a text."""
    said = b""
    while text.encode() not in said or not said.endswith(b"\n"):
        said += os.read(handle, 1 << 16)
    return said.decode().splitlines()


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[4]) for line in lines if NOTICE not in line]


def write(count: int, start: int = 0) -> None:
    log = logs.EventLog("default")
    for number in range(start, start + count):
        log.note("INFO", f"{number} {'x' * 100}")


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_what_is_read_late_is_whole_and_in_order(kind: str) -> None:
    if kind == "pipe":
        reading, writing = os.pipe()
    elif kind == "socket":
        reading, writing = (sock.detach() for sock in socket.socketpair())
    else:
        reading, writing = pty.openpty()
    with os.fdopen(writing, "w", buffering=1) as stream:
        logs.configure(stream)
        # It returns: that is the test.
        write(MANY)
        logs.EventLog("default").note("INFO", f"{MANY} the end")
        assert numbers(read_until(reading, "the end")) == list(range(MANY + 1))
        logs.configure(None)
    os.close(reading)


def test_what_is_too_much_to_keep_is_counted_and_told_when_it_flows_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MOST", 30_000)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"\n")
    os.set_blocking(writing, True)
    with os.fdopen(writing, "w", buffering=1) as stream:
        logs.configure(stream)
        write(1)
        # The thread has it, and can't write it.
        wait_until(lambda: (writer := logs._OUTPUT.writer) is not None and writer._writing)
        write(MANY - 1, 1)
        lines = [line for line in read_until(reading, NOTICE) if line]
        assert "[WARN] [proxyEndpoint=default] [pyproxy]" in lines[-1]
        kept = numbers(lines)
        assert kept == list(range(len(kept)))
        assert f" {MANY - len(kept)} {NOTICE}" in lines[-1]
        write(10, MANY)
        assert numbers(read_until(reading, f" {MANY + 9} ")) == list(range(MANY, MANY + 10))
        logs.configure(None)
    os.close(reading)


def test_one_line_that_is_larger_than_what_is_kept_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MOST", 10)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        logs.configure(stream)
        write(1)
        assert numbers(read_until(reading, "x\n")) == [0]
        logs.configure(None)
    os.close(reading)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """As one is whose other end somebody has set so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream:
        logs.configure(stream)
        write(MANY)
        assert numbers(read_until(reading, f" {MANY - 1} ")) == list(range(MANY))
        logs.configure(None)
    os.close(reading)


def test_a_pipe_whose_reader_has_gone_is_given_up_line_by_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        logs.configure(stream)
        write(MANY)
        began = time.monotonic()
        logs.configure(None)
        assert time.monotonic() - began < log_writer.PATIENCE


def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    """Whoever has the answer finds what was logged before it."""
    file = tmp_path / "log"
    with file.open("w") as stream:
        logs.configure(stream)
        write(1)
        assert numbers(file.read_text().splitlines()) == [0]


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "memory"])
def test_what_cannot_block_has_no_thread(stream: TextIO | None) -> None:
    assert log_writer.blocking(stream) is None


PROGRAM = f"""
import sys
from pyproxy import logs
logs.configure(sys.stderr)
log = logs.EventLog("default")
for number in range({MANY}):
    log.note("INFO", f"{{number}} {{'x' * 100}}")
"""


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE)


def test_the_last_words_are_said_before_the_end() -> None:
    _, said = start().communicate(timeout=60)
    assert numbers(said.decode().splitlines()) == list(range(MANY))


def test_the_end_does_not_wait_for_who_never_reads() -> None:
    with start() as process:
        assert process.wait(60) == 0
        assert process.stderr is not None
        kept = process.stderr.read()
    # What the pipe has taken, and no word of Python's about a lock.
    assert b"Fatal" not in kept
