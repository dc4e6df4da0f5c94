"""The event loop that everything runs on, with as many connections as the machine allows."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
from collections.abc import Coroutine
from typing import Final

# Parameters of glibc's mallopt(3), and the values that they get, in bytes.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MAPPED_FROM: Final = 256 * 1024
_TRIMMED_FROM: Final = 1024 * 1024


def run_in_loop(coroutine: Coroutine[None, None, int]) -> int:
    """Run on uvloop where there is one, on asyncio elsewhere."""
    allow_many_files()
    map_large_buffers()
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: every connection is an open file.

    The soft limit is 1024 by custom, for programs that use select(); this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS calls its hard limit infinite and refuses that: then it stays as it is.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def map_large_buffers() -> None:
    """Have malloc ask the kernel for each TLS connection's buffer, instead of using its heap.

    uvloop gives every TLS connection 256 KiB and uses the first few. In a mapping of its own the
    rest is never there; on the heap, where glibc puts such sizes as soon as it has seen one freed,
    a client costs twice as much. Reads without TLS, of 250 kB at most, stay on the heap, and so
    that it is not given back and asked for again with each of them, more of it is kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # musl and macOS have none, and need none.
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM)
