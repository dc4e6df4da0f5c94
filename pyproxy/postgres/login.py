"""A client's login, from the accepted socket to its session: one coroutine, top to bottom.

TLS, startup, authentication, welcome. Nothing that a client sends before it is authenticated
reaches a database (invariant 3); every way out closes the connection with exactly one FATAL and
one logged reason (invariant 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from typing import Any, Final, NamedTuple

from protocol.postgres import backend, startup
from protocol.postgres.conversation import IDLE
from protocol.postgres.errors import ProtocolError
from protocol.postgres.startup import CancelRequest, GSSENCRequest, SSLRequest, StartupMessage
from pyproxy import errors
from pyproxy.auth.certificates import ALPN
from pyproxy.auth.exchange import Accepted, Refusal
from pyproxy.errors import ProxyError
from pyproxy.logs import format_address
from pyproxy.pinning.classifier import Pin
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.client_side import LINGER
from pyproxy.postgres.endpoint import Endpoint
from pyproxy.postgres.gate import Gate
from pyproxy.postgres.parameters import (
    Requested,
    reported_application_name,
    requested,
    settable_application_name,
)
from pyproxy.postgres.server import ServerConnection
from pyproxy.postgres.servers import Servers
from pyproxy.postgres.short_walk import ShortWalk
from pyproxy.postgres.watched import WatchedRelay
from pyproxy.stream import LoginStream, part_with, startup_length

# PostgreSQL's own authentication_timeout, in seconds. Waiting for a database connection comes
# after it, and has a limit of its own: connection_borrow_timeout.
LOGIN_TIMEOUT: Final = 60.0
# How long a login waits for the settings of a database when older ones are known, in seconds.
PATIENCE: Final = 1.0
# SSLRequest and GSSENCRequest, each once; a peer that asks more often wants no answer.
_NEGOTIATIONS: Final = 2
# The type of a TLS record that carries a handshake (RFC 8446, 5.1).
_TLS_HANDSHAKE: Final = b"\x16"
# The same in every welcome.
_AUTHENTICATED: Final = backend.AuthenticationOk().encode()
_READY: Final = backend.ReadyForQuery(IDLE).encode()


class Greeting(NamedTuple):
    """What came out of the first packets."""

    message: StartupMessage
    stream: LoginStream
    tls: bool


class Cancelled(Exception):
    """The connection was a CancelRequest, and is dealt with."""


async def login(sock: socket.socket, gate: Gate, endpoint: Endpoint) -> None:
    """Log a client in and hand its connection to a session; closes the socket otherwise."""
    counters = endpoint.counters
    counters.received += 1
    counters.in_setup += 1
    visit = _Visit(sock, gate, endpoint)
    try:
        await visit.run()
    except ProxyError as error:
        visit.refuse(error)
    except ProtocolError as error:
        visit.refuse(errors.protocol_violation(str(error)))
    except TimeoutError:
        visit.part(f"it had not logged in after {LOGIN_TIMEOUT:g} s")
    except ssl.SSLError as problem:
        counters.setup_failed_auth += 1
        visit.part(f"TLS with the client failed: {problem.reason or problem}")
    except OSError as problem:
        visit.part(str(problem) or type(problem).__name__)
    except Cancelled:
        visit.part("it was a CancelRequest")
    except asyncio.CancelledError:
        visit.refuse(errors.shutting_down())
        raise
    except Exception:
        endpoint.log.failure(visit.id)
        visit.refuse(errors.unknown_error())
    finally:
        counters.in_setup -= 1


class _Visit:
    """One login under way: what is known of the client so far."""

    def __init__(self, sock: socket.socket, gate: Gate, endpoint: Endpoint) -> None:
        self.id = endpoint.random_id()
        self._sock: socket.socket | None = sock
        self._gate = gate
        self._endpoint = endpoint
        self._stream: LoginStream | None = None
        self._tls: bool | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """The whole login."""
        endpoint = self._endpoint
        assert self._sock is not None
        endpoint.log.client_connected(self.id, *format_address(self._sock.getpeername()))
        async with asyncio.timeout(LOGIN_TIMEOUT):
            greeting = await self._greet(self._sock)
            self._gate.admit()
            wanted = self._examine(greeting)
            proof = await self._authenticate(greeting, wanted.user)
        key = PoolKey(wanted.user, wanted.database, wanted.pooled)
        home = endpoint.fleet.home(endpoint.role)
        reported = home.pools.pool(key).parameters
        if reported is None or not home.pools.pool(key).size:
            greeting.stream.write(proof)
            proof = b""
            reported = await self._ask_for_settings(home, key, greeting.stream.gone())
            # The role may have moved meanwhile.
            home = endpoint.fleet.home(endpoint.role)
        if greeting.stream.ended:
            # A session would not be told any more.
            raise ConnectionResetError("the client closed the connection during its login")
        self._welcome(greeting, home, wanted, key, reported, proof)

    # -- TLS and startup -----------------------------------------------------------------------

    async def _greet(self, sock: socket.socket) -> Greeting:
        """Negotiate encryption on the bare socket, then read the startup message."""
        context = self._gate.tls_context(self._endpoint)
        direct = context is not None and "direct_tls" in self._gate.extensions
        if context is not None and direct and await self._peek(sock) == _TLS_HANDSHAKE:
            return await self._greet_through_tls(sock, context, direct=True)
        for _ in range(_NEGOTIATIONS + 1):
            head = await self._read_head(sock)
            packet = startup.parse_first_packet(head[4:]) if head[:4] == b"\0\0\0\x08" else None
            if isinstance(packet, SSLRequest) and context is not None:
                await self._loop.sock_sendall(sock, b"S")
                return await self._greet_through_tls(sock, context)
            if not isinstance(packet, SSLRequest | GSSENCRequest):
                return await self._greet_in_clear(sock, head)
            # GSSAPI encryption is not offered, TLS only with a certificate.
            await self._loop.sock_sendall(sock, b"N")
        raise ProtocolError("a client that only asks for encryption")

    async def _greet_through_tls(
        self, sock: socket.socket, context: ssl.SSLContext, *, direct: bool = False
    ) -> Greeting:
        # Exactly the eight bytes of the request were read: what else came in clear is still in
        # the socket, where only a TLS record is understood (invariant 4).
        stream = await self._open_stream(sock, context)
        self._endpoint.counters.tls += 1
        self._tls = True
        # PostgreSQL manual, "SSL Session Encryption": direct TLS must name its protocol, lest a
        # browser's bytes be taken for ours.
        if direct and _protocol_of(stream) != ALPN:
            raise ProtocolError("direct TLS without the application protocol postgresql (ALPN)")
        return Greeting(await self._read_startup(stream), stream, True)

    async def _greet_in_clear(self, sock: socket.socket, head: bytes) -> Greeting:
        # What has come already needs no turn of the loop. All of it is in clear.
        with contextlib.suppress(BlockingIOError):
            head += sock.recv(startup.MAX_STARTUP)
        stream = await self._open_stream(sock, None, head)
        self._endpoint.counters.no_tls += 1
        self._tls = False
        return Greeting(await self._read_startup(stream), stream, False)

    async def _open_stream(
        self, sock: socket.socket, context: ssl.SSLContext | None, head: bytes = b""
    ) -> LoginStream:
        stream = LoginStream()
        stream.feed(head)
        self._sock = None
        try:
            # With TLS uvloop returns its own protocol object instead of ours.
            await self._loop.connect_accepted_socket(lambda: stream, sock, ssl=context)
            if context is not None:
                _acknowledge(sock)
        except BaseException:
            sock.close()
            raise
        self._stream = stream
        return stream

    async def _read_startup(self, stream: LoginStream) -> StartupMessage:
        packet = startup.parse_first_packet(await stream.read_startup())
        if isinstance(packet, CancelRequest):
            await self._gate.cancel(packet)
            raise Cancelled
        if not isinstance(packet, StartupMessage):
            raise ProtocolError(f"{type(packet).__name__} where a startup message was expected")
        return packet

    async def _peek(self, sock: socket.socket) -> bytes:
        """The first byte, left where it is: the TLS handshake begins with it."""
        return await self._receive(sock, 1, socket.MSG_PEEK)

    async def _read_head(self, sock: socket.socket) -> bytes:
        """Exactly eight bytes: a length, which is looked at as soon as it is there, and a code."""
        data = b""
        while len(data) < 8:
            more = await self._receive(sock, 8 - len(data))
            if not more:
                raise ConnectionResetError("the client closed the connection before its startup")
            data += more
            if len(data) >= 4:
                startup_length(data)
        return data

    async def _receive(self, sock: socket.socket, count: int, flags: int = 0) -> bytes:
        """As `sock_recv` of the loop, but nobody waits for what is there already."""
        while True:
            try:
                return sock.recv(count, flags)
            except BlockingIOError:
                await self._readable(sock)

    async def _readable(self, sock: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(sock, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(sock)

    def _examine(self, greeting: Greeting) -> Requested:
        """Is this a startup that RDS Proxy accepts? (ST-01..ST-06)."""
        message = greeting.message
        if self._gate.require_tls and not greeting.tls:
            self._endpoint.counters.setup_failed_auth += 1
            raise errors.tls_required()
        if message.major != 3:
            raise errors.protocol_version()
        wanted = requested(message.parameters, self._gate.extensions)
        if message.minor > 0 or wanted.unknown_protocol_options:
            greeting.stream.write(
                backend.NegotiateProtocolVersion(
                    0,
                    tuple(
                        name.encode("utf-8", "surrogateescape")
                        for name in wanted.unknown_protocol_options
                    ),
                ).encode()
            )
        return wanted

    # -- authentication ------------------------------------------------------------------------

    async def _authenticate(self, greeting: Greeting, user: str) -> bytes:
        """Ask and answer until the client is let in; whichever method its user has (AU-20).

        Returns the last answer, which goes out with the welcome: one write, and the client wakes up
        once.
        """
        endpoint = self._endpoint
        stream = greeting.stream
        try:
            exchange = self._gate.authenticator.begin(
                user,
                names=self._gate.names(endpoint, _local_address(stream)),
                tls=greeting.tls,
                channel_binding=self._gate.channel_binding(endpoint) if greeting.tls else None,
            )
            stream.write(exchange.challenge())
            while True:
                outcome = exchange.answer(*await stream.read())
                if isinstance(outcome, Accepted):
                    return outcome.message
                stream.write(outcome.message)
        except Refusal as refusal:
            endpoint.counters.setup_failed_auth += 1
            endpoint.log.authentication_failed(
                self.id, user, refusal.method, tls=greeting.tls, reason=refusal.reason
            )
            raise

    # -- welcome -------------------------------------------------------------------------------

    async def _ask_for_settings(
        self, home: Servers, key: PoolKey, gone: asyncio.Future[None]
    ) -> dict[str, str]:
        """What the databases of this pool report at login (C-21); nothing if the client is `gone`.

        The first client of a pool waits for a server, so that a database or role that does not
        exist is reported now, in the database's words (C-20, E-PG-17). If there was one before and
        none comes, what that has reported will do: clients are let in while a primary is being
        replaced (FO-01).
        """
        known = home.pools.pool(key).parameters
        visitor = FirstServer(self._endpoint, home, key)
        patience = PATIENCE if known is not None else None
        either: set[asyncio.Future[Any]] = {visitor.arrived, gone}
        try:
            await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not visitor.arrived.done() and (known is not None or gone.done()):
                return known or {}
            return await visitor.arrived
        finally:
            visitor.arrived.cancel()

    def _welcome(
        self,
        greeting: Greeting,
        home: Servers,
        wanted: Requested,
        key: PoolKey,
        reported: dict[str, str],
        proof: bytes,
    ) -> None:
        """The server's proof, AuthenticationOk, the settings, ReadyForQuery; the session begins."""
        endpoint = self._endpoint
        version = reported.get("server_version", "")
        name = wanted.application_name
        kind = WatchedRelay if "leak_guard" in self._gate.extensions else ShortWalk
        session = kind(
            self.id,
            endpoint,
            home,
            home.pools.pool(key),
            application_name=None if name is None else _one_object(name, version),
            conforming=reported.get("standard_conforming_strings") != "off",
            tls=greeting.tls,
            now=self._loop.time(),
            pin_on_borrow=_startup_pin(wanted),
        )
        settings = dict(reported)
        if name is not None:
            settings["application_name"] = reported_application_name(name, version)
        words = [proof, _AUTHENTICATED, _as_reports(tuple(settings.items()))]
        if "cancel_requests" in self._gate.extensions:
            session.cancel_key = endpoint.cancel_keys.issue(session)
            words.append(backend.BackendKeyData(*session.cancel_key).encode())
        words.append(_READY)
        greeting.stream.write(b"".join(words))
        endpoint.counters.setup_succeeded += 1
        self._stream = None
        session.adopt(*greeting.stream.hand_over())

    # -- the ways out --------------------------------------------------------------------------

    def refuse(self, error: ProxyError) -> None:
        """Tell the client why not, and part."""
        if self._stream is not None:
            self._stream.write(error.response())
        elif self._sock is not None:
            # Before the first packet: a best effort, never a wait.
            with contextlib.suppress(OSError):
                self._sock.send(error.response())
        self.part(error.message)

    def part(self, why: str) -> None:
        """Close the connection and log why."""
        endpoint = self._endpoint
        if self._stream is not None:
            part_with(self._stream.transport, LINGER)
            self._stream = None
        elif self._sock is not None:
            self._sock.close()
        endpoint.counters.closed += 1
        if self._tls is not None:
            if self._tls:
                endpoint.counters.tls -= 1
            else:
                endpoint.counters.no_tls -= 1
        endpoint.log.client_closed_by_proxy(self.id, why)


class FirstServer:
    """Stands in line like a session, only to see that a server of the pool can be had."""

    def __init__(self, endpoint: Endpoint, home: Servers, key: PoolKey) -> None:
        self.waiting_since = 0.0
        # What the server has reported at its login.
        self.arrived: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.home = home
        self._endpoint = endpoint
        self._pool = home.pools.pool(key)
        endpoint.visitors.add(self)
        self.arrived.add_done_callback(self._left)
        home.pools.wait(self._pool, self, at_login=True)

    def move(self, home: Servers) -> None:
        """Wait for a server of another target; the time runs on."""
        if self.arrived.done():
            return
        self.home.pools.leave(self._pool, self)
        self.home, self._pool = home, home.pools.pool(self._pool.key)
        home.pools.stand(self._pool, self)

    def lent(self, server: ServerConnection) -> bool:
        """It is there, for all who stand in line for this; then others may have it."""
        self.arrive(server)
        # At once, not each by handing it on to the next: in a storm that is a deep recursion.
        for other in list(self._pool.waiting):
            if isinstance(other, FirstServer):
                self.home.pools.leave(self._pool, other)
                other.arrive(server)
        server.home.release(server)
        return True

    def arrive(self, server: ServerConnection) -> None:
        """There is one."""
        if not self.arrived.done():
            self.arrived.set_result(server.baseline)

    def refused(self, error: ProxyError) -> None:
        """It cannot be had."""
        if not self.arrived.done():
            self.arrived.set_exception(error)

    def _left(self, arrived: asyncio.Future[dict[str, str]]) -> None:
        self._endpoint.visitors.discard(self)
        if arrived.cancelled():
            self.home.pools.leave(self._pool, self)


def _acknowledge(sock: socket.socket) -> None:
    """Acknowledge the end of the TLS handshake now, where the kernel can be told to.

    We have nothing to say before the startup message, so the kernel would wait 40 ms for it; and a
    client without TCP_NODELAY waits with that message for this acknowledgement.
    """
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)


@functools.lru_cache(maxsize=1024)
def _one_object(application_name: str, server_version: str) -> str:
    """The same object for all clients of that name: the relay compares names by identity.

    Only of those that are logged in: `sys.intern` would keep what anybody sends (Python 3.12).
    """
    return settable_application_name(application_name, server_version)


@functools.lru_cache(maxsize=64)
def _as_reports(settings: tuple[tuple[str, str], ...]) -> bytes:
    """Settings as ParameterStatus messages; most clients of a pool are told the same."""
    return b"".join(
        [
            backend.ParameterStatus(name.encode(), value.encode()).encode()
            for name, value in settings
        ]
    )


def _protocol_of(stream: LoginStream) -> str | None:
    """What TLS was told that it carries."""
    tls = stream.transport.get_extra_info("ssl_object")
    return None if tls is None else tls.selected_alpn_protocol()


def _local_address(stream: LoginStream) -> str:
    """The address that the client has connected to."""
    return format_address(stream.transport.get_extra_info("sockname"))[0]


def _startup_pin(wanted: Requested) -> Pin | None:
    """Startup settings beyond AWS's list make a session of its own kind (extension)."""
    if not wanted.beyond:
        return None
    return Pin.of_startup(", ".join(wanted.beyond))
