"""Writes the log where writing can take as long as a reader likes: a thread that waits for it.

A pipe, a socket and a terminal (Ctrl-S) take nothing while nobody reads, and the proxy must not
wait for them. To make them non-blocking is not ours: that is a property of the open file, which
other processes have too. A regular file never blocks, and needs no thread.

What waits is bounded. Beyond that the newest lines are lost, and counted: when the rest has been
written, their number follows it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import stat
import threading
from collections.abc import Callable
from typing import Final, TextIO

# Characters that may wait.
MOST: Final = 4 << 20
# How long an end waits for what is not written yet, in seconds.
PATIENCE: Final = 1.0


def blocking(stream: TextIO | None) -> int | None:
    """The file descriptor of a stream that may block; None for any other."""
    if stream is None:
        return None
    # io.UnsupportedOperation, of a stream in memory, is both; ValueError alone: it is closed.
    with contextlib.suppress(OSError, ValueError):
        handle = stream.fileno()
        mode = os.fstat(handle).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(handle):
            return handle
    return None


class LogWriter:
    """One such stream."""

    def __init__(self, handle: int, encoding: str, lost: Callable[[int], str]) -> None:
        """`lost` is the line about so many lost ones."""
        # Ours: whoever closes theirs must not have our lines in the next file of that number.
        # Past the stream, too: its lock would be held by a thread that hangs when Python ends.
        self._handle: Final = os.dup(handle)
        self._encoding: Final = encoding
        self._lost_line: Final = lost
        # Of all that follows: something has come, was written, or is over.
        self._changed: Final = threading.Condition()
        self._lines: list[str] = []
        self._waiting = 0
        self._lost = 0
        self._writing = False
        self._closed = False
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.close)

    def put(self, text: str) -> None:
        """Have a line written; never blocks."""
        with self._changed:
            # From the first lost one on all are, so that their place is known.
            if self._lost or (self._lines and self._waiting + len(text) > MOST):
                self._lost += 1
                return
            self._lines.append(text)
            self._waiting += len(text)
            self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, within PATIENCE; then no more."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._lines and not self._writing, PATIENCE)

    def _run(self) -> None:
        while text := self._next():
            # Who has closed the other end wants no more of it.
            with contextlib.suppress(OSError):
                self._write(text.encode(self._encoding, "backslashreplace"))
        os.close(self._handle)

    def _next(self) -> str:
        """Wait for lines; "" when there will be none."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._lines or self._closed)
            lines, self._lines = self._lines, []
            if self._lost:
                lines.append(self._lost_line(self._lost))
            self._waiting = self._lost = 0
            self._writing = bool(lines)
            return "".join(lines)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._handle, rest) :]
            except BlockingIOError:
                # Another process has made it so.
                waiting = select.poll()
                waiting.register(self._handle, select.POLLOUT)
                waiting.poll()
