"""The HTTP server, on the proxy's own event loop.

    server = HttpServer("127.0.0.1", 8432, view, exposition.render)
    await server.start()
    ...
    await server.stop()

What it answers is decided in `routes`; how a connection goes on is in `connection`.
"""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from typing import Final

from pyproxy.addresses import join
from pyproxy.dashboard.connection import HttpConnection, Limits, Service
from pyproxy.dashboard.feed import Feed, Prepare
from pyproxy.dashboard.origin import OriginGuard
from pyproxy.dashboard.routes import Action, Render, Routes
from pyproxy.dashboard.view import View

__all__ = ["HttpServer", "Limits"]

DEFAULT_LIMITS: Final = Limits()


class HttpServer:
    """Listens on one address; `port` 0 takes a free one, which `port` tells after start()."""

    def __init__(
        self,
        host: str,
        port: int,
        view: View,
        metrics: Render,
        limits: Limits = DEFAULT_LIMITS,
        actions: Mapping[str, Action] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self.host: Final = host
        self.port = port
        self._limits: Final = limits
        feed = Feed(view, limits.stream_interval, prepare)
        self._service: Final = Service(
            Routes(view, metrics, actions), feed, OriginGuard(host), limits, prepare
        )
        self._server: asyncio.Server | None = None
        # Every open connection with its task; the reference keeps the task alive.
        self._open: Final[dict[asyncio.Task[None], HttpConnection]] = {}

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        # The buffer of a reader is bounded at twice this; h11 has its own limit for the head.
        try:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=self._limits.head_bytes
            )
        except OSError as error:
            # Of a name that nobody knows the number is no errno: asyncio's own words for others.
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror or str(error)
            place = join(self.host, self.port)
            raise OSError(error.errno, f"cannot listen on {place}: {why}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, let answers under way finish for `grace` seconds, close the rest."""
        if self._server is None:
            return
        self._server.close()
        for task, connection in self._open.items():
            connection.last = True
            if connection.idle or connection in self._service.streaming:
                task.cancel()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=self._limits.grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    @property
    def url(self) -> str:
        """Where it is to be reached from this machine."""
        return f"http://{join(self.host, self.port)}"

    @property
    def connections(self) -> list[HttpConnection]:
        """The open connections, those being refused included."""
        return list(self._open.values())

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._open) >= 2 * self._limits.connections:
            # Not even a refusal for these: a refusal takes a task for a second.
            writer.transport.abort()
            return
        connection = HttpConnection(reader, writer, self._service)
        crowded = len(self._open) >= self._limits.connections
        work = connection.refuse() if crowded else connection.serve()
        task = asyncio.get_running_loop().create_task(work)
        self._open[task] = connection
        task.add_done_callback(self._open.pop)
