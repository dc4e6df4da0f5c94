"""The socket between the supervisor and one worker: messages, each after its length."""

from __future__ import annotations

import asyncio
import pickle
import socket
from typing import Final, cast

from pyproxy.workers.messages import Message

# Far above what one message holds: a slice of rows, a configuration.
_LONGEST: Final = 1 << 26
_LENGTH: Final = 4


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """The end that this socket is."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message) -> None:
        """Send it in order; to somebody who has gone it is lost."""
        if self._writer.is_closing():
            return
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._writer.write(len(data).to_bytes(_LENGTH, "big") + data)

    async def drain(self) -> None:
        """Wait while the other end does not keep up."""
        await self._writer.drain()

    async def receive(self) -> Message | None:
        """The next message; None when the other end has gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            if length > _LONGEST:
                return None
            data = await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            return None
        # Our own process at the other end of a socket without a name.
        return cast("Message", pickle.loads(data))  # noqa: S301

    def close(self) -> None:
        """Say no more."""
        self._writer.close()
