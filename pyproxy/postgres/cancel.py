"""Cancel keys: ours, which clients get (extension `cancel_requests`), and the databases'.

RDS Proxy knows no CancelRequest and sends no BackendKeyData (LIM-PG-01); with the extension each
client gets a random key of its own. A request with it cancels what that client has running, and
nothing else: the server is not lent to anybody until the request has arrived (invariant 1).
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from protocol.postgres.startup import CancelRequest
from pyproxy.stream import dial
from pyproxy.targets.target import Target

# How long a database may take to accept a cancel request, in seconds.
CANCEL_TIMEOUT: Final = 5.0

# With several workers the seven bits below the sign of a process id are the worker's number.
_WORKER_SHIFT: Final = 24
_WITHOUT_WORKER: Final = (1 << _WORKER_SHIFT) - 1

K = TypeVar("K")


class CancelKeys(Generic[K]):
    """Who may cancel whose queries: our keys and their owners."""

    def __init__(
        self, random: Callable[[int], bytes] = secrets.token_bytes, *, worker: int = 0
    ) -> None:
        self._owners: dict[tuple[int, bytes], K] = {}
        self._random = random
        # Of several workers, the one whose number the process ids begin with.
        self._worker = worker

    def issue(self, owner: K) -> tuple[int, bytes]:
        """A new key: a process id as PostgreSQL's are (positive, 31 bits) and four secret bytes."""
        while True:
            process_id = int.from_bytes(self._random(4), "big") & 0x7FFF_FFFF
            if self._worker:
                process_id = self._worker << _WORKER_SHIFT | process_id & _WITHOUT_WORKER
            key = process_id, self._random(4)
            if key[0] and key not in self._owners:
                self._owners[key] = owner
                return key

    def owner(self, process_id: int, secret_key: bytes) -> K | None:
        """Whose key it is; None for one that was never issued or has been taken back."""
        return self._owners.get((process_id, secret_key))

    def take_back(self, key: tuple[int, bytes]) -> None:
        """The owner has gone."""
        self._owners.pop(key, None)


def worker_of(process_id: int) -> int:
    """The number of the worker that has issued a key; any number for a key of no worker's."""
    return process_id >> _WORKER_SHIFT


async def send_cancel(
    target: Target, key: tuple[int, bytes], context: ssl.SSLContext | None
) -> None:
    """Ask a database to cancel; returns when it has passed the signal on.

    PostgreSQL closes the connection after it has sent the signal, so the end of file says that
    the request can hit nothing that starts later. Raises OSError or TimeoutError.
    """
    async with asyncio.timeout(CANCEL_TIMEOUT):
        stream, _ = await dial(target.config.host, target.config.port, target.config.tls, context)
        try:
            stream.write(CancelRequest(*key).encode())
            await stream.wait_closed()
        finally:
            stream.transport.close()
