"""The event loop that everything runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


def run_in_loop(coroutine: Coroutine[None, None, int]) -> int:
    """Run on uvloop where there is one, on asyncio elsewhere."""
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)
