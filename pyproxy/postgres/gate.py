"""Who may come in: limits, encryption, authentication and cancel requests, for all endpoints."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Final

from protocol.postgres.startup import CancelRequest
from pyproxy import errors
from pyproxy.auth.authenticator import Authenticator
from pyproxy.auth.certificates import ClientTls
from pyproxy.config import ProxyConfig
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.rate_limit import RateLimit

if TYPE_CHECKING:
    from pyproxy.postgres.endpoint import Endpoint
    from pyproxy.postgres.session import Session

# How long a storm of clients is one event, in seconds.
TELL_AGAIN: Final = 60.0


class Gate:
    """What every login asks of the proxy as a whole."""

    def __init__(
        self,
        config: ProxyConfig,
        extensions: frozenset[str],
        authenticator: Authenticator,
        cancel_keys: CancelKeys[Session],
        tls: Mapping[str, ClientTls],
        names: Mapping[str, Callable[[str], frozenset[str]]],
        open_clients: Callable[[], int],
        clock: Callable[[], float],
        throttled: Callable[[], None],
    ) -> None:
        self.config = config
        self.extensions = extensions
        self.authenticator: Final = authenticator
        self.cancel_keys: Final = cancel_keys
        # By endpoint name; an endpoint without one answers SSLRequest with N.
        self._tls = tls
        # What clients that came in at an address may call each endpoint in their tokens.
        self._names = names
        self._open_clients = open_clients
        self._clock = clock
        self._rate: Final = RateLimit()
        # Clients come too fast; told again after TELL_AGAIN, however many there are.
        self._throttled = throttled
        self._told = float("-inf")
        # Where requests go whose key is none of ours: to the worker that has issued it.
        self.elsewhere: Callable[[CancelRequest], Coroutine[None, None, None]] | None = None

    @property
    def require_tls(self) -> bool:
        """Are clients in clear refused? (TLS-03, TLS-04)."""
        return self.config.require_tls

    def tls_context(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        """What an endpoint encrypts with."""
        tls = self._tls.get(endpoint.name)
        return None if tls is None else tls.context

    def channel_binding(self, endpoint: Endpoint) -> tuple[str, bytes] | None:
        """What SCRAM over TLS is bound to (extension)."""
        tls = self._tls.get(endpoint.name)
        return tls.channel_binding if tls and "channel_binding" in self.extensions else None

    def names(self, endpoint: Endpoint, address: str) -> frozenset[str]:
        """What a client that has connected to `address` may call an endpoint (AU-35)."""
        return self._names[endpoint.name](address)

    def admit(self) -> None:
        """Let one more in, or raise E-PG-14 or E-PG-15; both limits are off by default."""
        maximum = self.config.max_client_connections
        if maximum and self._open_clients() > maximum:
            raise errors.too_many_clients(maximum)
        rate = self.config.connection_rate_limit
        now = self._clock()
        if rate and not self._rate.admit(rate, now):
            if now - self._told >= TELL_AGAIN:
                self._told = now
                self._throttled()
            raise errors.connection_rate_exceeded(rate)

    async def cancel(self, request: CancelRequest) -> None:
        """Cancel the query of the key's owner; an unknown key is ignored, as in PostgreSQL.

        Returns when the request has arrived. As with PostgreSQL, the end of its connection tells
        the client that no query of a later time can be hit.
        """
        session = self.cancel_keys.owner(request.process_id, request.secret_key)
        if session is None and self.elsewhere is not None:
            await self.elsewhere(request)
            return
        await self.cancel_of(session)

    async def cancel_of(self, session: Session | None) -> None:
        """Cancel what a client of this process has running."""
        under_way = session.cancel() if session is not None else None
        if under_way is not None:
            await asyncio.wait((under_way,))
