"""A proxy as a program: signals end it and have it read its configuration again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable

from pyproxy.app import App
from pyproxy.config import Config

_ENDING = (signal.SIGTERM, signal.SIGINT)


def _nothing() -> None:
    """Nobody waits for it to listen."""


async def serve(
    app: App,
    reload: Callable[[], Config] | None = None,
    *,
    ready: Callable[[], None] = _nothing,
) -> None:
    """Start it, and stop it after SIGTERM or SIGINT: drained, or at once after a second one.

    `reload` reads the configuration again, at SIGHUP. `ready` is called once it listens. Raises
    what `start` raises.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    # From the first moment on: a signal that nobody heeds ends Python in the middle of it.
    for number in _ENDING:
        loop.add_signal_handler(number, told.set)
    starting = loop.create_task(app.start())
    if reload is not None:
        # What is starting has read the file already; when it has started it reads it again.
        again = functools.partial(_reload, app, reload)
        loop.add_signal_handler(signal.SIGHUP, starting.add_done_callback, again)
    if await _done_before(told, starting):
        try:
            ready()
            await told.wait()
            told.clear()
            await _done_before(told, loop.create_task(app.drain()))
        finally:
            await app.stop()


async def _done_before(told: asyncio.Event, doing: asyncio.Task[None]) -> bool:
    """Wait for either, and end what is being done then; raises what it has raised."""
    telling = asyncio.get_running_loop().create_task(told.wait())
    await asyncio.wait({doing, telling}, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if doing.done():
        await doing
        return True
    # To end takes a moment, or the time of a thread: who is in more of a hurry kills.
    for number in _ENDING:
        asyncio.get_running_loop().remove_signal_handler(number)
    doing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await doing
    return False


def _reload(app: App, read: Callable[[], Config], _: asyncio.Task[None]) -> None:
    # Who failed to start or drains has no use for it.
    if app.listening:
        app.reload(read)
