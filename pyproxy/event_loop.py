"""The event loop that everything runs on, with as many connections as the machine allows."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Coroutine


def run_in_loop(coroutine: Coroutine[None, None, int]) -> int:
    """Run on uvloop where there is one, on asyncio elsewhere."""
    allow_many_files()
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
