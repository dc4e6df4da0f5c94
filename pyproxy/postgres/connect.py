"""A new database connection, from the address to a server that can be lent.

One coroutine: connect, TLS, startup, authentication with whatever the database asks for, the
settings it reports, and the first questions (init query, limits). What the database refuses is
raised in its own words; the pool decides whether anybody can be helped by trying again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple

from protocol.postgres import backend, frontend, sqlstate
from protocol.postgres.errors import ProtocolError
from protocol.postgres.md5 import md5_password
from protocol.postgres.scram import ClientExchange, Salter, salted_password
from protocol.postgres.startup import StartupMessage
from pyproxy.metrics.counters import TargetCounters
from pyproxy.pinning.audit import Row
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.server import remember
from pyproxy.stream import LoginStream, dial
from pyproxy.targets.target import LIMITS_QUERY, Limits, Target

# Answers to the first questions are a row or two. More than this, in bytes, is dropped: the init
# query may be anything, and the database may not be one.
_MAX_ANSWER: Final = 1 << 20


class Refused(Exception):
    """The database said no, in an ErrorResponse."""

    def __init__(self, response: backend.ErrorResponse) -> None:
        super().__init__(response.message)
        # What was asked, where the words alone do not tell; for the log.
        self.about = ""
        self.sqlstate = response.sqlstate
        self.message = response.message

    @classmethod
    def with_message(cls, message: str) -> Refused:
        """A refusal before the database was asked."""
        return cls(backend.ErrorResponse.of("FATAL", sqlstate.INVALID_AUTHORIZATION, message))


def in_words(problem: OSError | ProtocolError) -> str:
    """What went wrong with a connection; empty for a time that is over."""
    if isinstance(problem, ssl.SSLError):
        # OpenSSL's words without its source lines.
        why = problem.reason or str(problem)
        if isinstance(problem, ssl.SSLCertVerificationError):
            why = f"the database's certificate is refused: {problem.verify_message}"
        return f"TLS failed: {why}"
    return str(problem)


class Proof(NamedTuple):
    """What a user of the database proves itself with."""

    text: str
    """The password, or an IAM token."""

    salted: Salter = salted_password
    """SCRAM's PBKDF2; one that remembers saves milliseconds a connection."""

    is_token: bool = False
    """A token is shown only to a database that asks for it in clear over TLS (AU-50)."""

    def __repr__(self) -> str:
        return "<Proof>"


class Connected(NamedTuple):
    """A logged-in connection, not yet anybody's."""

    stream: LoginStream
    tls: bool
    parameters: dict[str, str]
    key: tuple[int, bytes] | None
    limits: Limits
    """What this very connection has been told: the target's are those of the latest one."""
    known: Row | None = None
    """The answer to `look`."""


async def connect(
    target: Target,
    key: PoolKey,
    proof: Proof,
    *,
    context: ssl.SSLContext | None,
    init_query: str,
    look: str = "",
    counters: TargetCounters | None = None,
) -> Connected:
    """Open and log in a connection to `target` for the pool of `key`; run the init query (IQ-01).

    `look` is a query whose one row shows what a session has that nobody has used yet. `counters`
    are those of a connection to be lent; one that only asks, as a probe does, counts nowhere.

    Updates the target's limits. Raises Refused, OSError or ProtocolError; nothing stays open then.
    """
    config = target.config
    stream, tls = await dial(config.host, config.port, config.tls, context)
    if counters is not None:
        counters.requests_with_tls += tls
    try:
        if proof.is_token and not tls:
            raise Refused.with_message(
                "The database has no TLS, and an IAM token is not sent in clear"
            )
        parameters = {"user": key.user, "database": key.database, **dict(key.startup)}
        stream.write(StartupMessage(3, 0, parameters).encode())
        await authenticate(stream, key.user, proof)
        reported, cancel_key = await welcome(stream)
        limits = target.limits = _limits(await ask(stream, LIMITS_QUERY, reported))
        if init_query:
            await _begin(stream, init_query, reported)
        known = _only_row(await ask(stream, look, reported)) if look else None
    except asyncio.CancelledError:
        stream.transport.abort()
        raise
    except Exception:
        stream.transport.close()
        raise
    return Connected(stream, tls, reported, cancel_key, limits, known)


async def _begin(stream: LoginStream, init_query: str, reported: dict[str, str]) -> None:
    """Run the init query; one that fails is a connection that could not be set up (IQ-04)."""
    try:
        await ask(stream, init_query, reported)
    except Refused as refused:
        refused.about = "the init query fails: "
        raise


async def ask(
    stream: LoginStream, sql: str, parameters: dict[str, str]
) -> list[tuple[bytes | None, ...]]:
    """Run a simple query; returns the rows of all its statements.

    Settings that it changes are entered in `parameters`. Rows beyond a megabyte are dropped.
    Raises Refused when a statement fails.
    """
    if stream.transport.is_closing():
        raise ConnectionResetError("the connection is closed")
    stream.write(frontend.Query(sql.encode()).encode())
    rows: list[tuple[bytes | None, ...]] = []
    failure: backend.ErrorResponse | None = None
    space = _MAX_ANSWER
    while True:
        tag, body = await stream.read(_MAX_ANSWER)
        if tag == backend.DATA_ROW:
            space -= len(body)
            if space >= 0:
                rows.append(backend.DataRow.decode(body).values)
        elif tag == backend.ERROR_RESPONSE:
            failure = backend.ErrorResponse.decode(body)
            if failure.severity in ("FATAL", "PANIC"):
                raise Refused(failure)
        elif tag == backend.PARAMETER_STATUS:
            _report(body, parameters)
        elif tag == backend.READY_FOR_QUERY:
            if failure is not None:
                raise Refused(failure)
            return rows


def _report(body: bytes, parameters: dict[str, str]) -> None:
    """Enter a ParameterStatus."""
    name, value = backend.ParameterStatus.decode(body)
    remember(parameters, name.decode(errors="replace"), value.decode(errors="replace"))


def _only_row(rows: list[tuple[bytes | None, ...]]) -> Row:
    if len(rows) != 1:
        raise ProtocolError("the database gave no sensible answer to a look at the connection")
    return rows[0]


def _limits(rows: list[tuple[bytes | None, ...]]) -> Limits:
    try:
        return Limits.of_row(rows[0])
    except (IndexError, ValueError):
        raise ProtocolError("the database gave no sensible answer about its limits") from None


async def authenticate(stream: LoginStream, user: str, proof: Proof) -> None:
    """Answer whatever the database asks for: trust, cleartext, MD5 or SCRAM (AU-20)."""
    password = proof.text
    while True:
        message = await _authentication(stream)
        if isinstance(message, backend.AuthenticationOk):
            return
        if isinstance(message, backend.AuthenticationCleartextPassword):
            stream.write(frontend.PasswordMessage(password.encode()).encode())
        elif proof.is_token:
            raise Refused.with_message(
                f'The database does not ask for an IAM token of the user "{user}": has it'
                " been granted rds_iam?"
            )
        elif isinstance(message, backend.AuthenticationMD5Password):
            answer = md5_password(user.encode(), password.encode(), message.salt)
            stream.write(frontend.PasswordMessage(answer).encode())
        elif isinstance(message, backend.AuthenticationSASL):
            await _authenticate_scram(stream, proof, message.mechanisms)
        else:
            raise ProtocolError(f"the database asks for an authentication we don't know: {message}")


async def _authenticate_scram(
    stream: LoginStream, proof: Proof, mechanisms: tuple[str, ...]
) -> None:
    exchange = ClientExchange(proof.text, mechanisms, salted=proof.salted)
    stream.write(frontend.SASLInitialResponse(exchange.mechanism, exchange.first()).encode())
    message = await _authentication(stream)
    if not isinstance(message, backend.AuthenticationSASLContinue):
        raise ProtocolError(f"expected AuthenticationSASLContinue, not {message}")
    # PBKDF2 takes milliseconds, more if the database wishes: not in the loop that serves others.
    response = await asyncio.to_thread(exchange.respond, message.data)
    stream.write(frontend.SASLResponse(response).encode())
    message = await _authentication(stream)
    if not isinstance(message, backend.AuthenticationSASLFinal):
        raise ProtocolError(f"expected AuthenticationSASLFinal, not {message}")
    exchange.verify(message.data)


async def _authentication(stream: LoginStream) -> backend.Authentication:
    """The next authentication message; notices and protocol negotiation are passed over."""
    while True:
        tag, body = await stream.read()
        if tag == backend.ERROR_RESPONSE:
            raise Refused(backend.ErrorResponse.decode(body))
        if tag == backend.AUTHENTICATION:
            return backend.decode_authentication(body)
        if tag not in (backend.NOTICE_RESPONSE, backend.NEGOTIATE_PROTOCOL_VERSION):
            raise ProtocolError(f"message {chr(tag)!r} before the end of the authentication")


async def welcome(stream: LoginStream) -> tuple[dict[str, str], tuple[int, bytes] | None]:
    """What the database reports before its first ReadyForQuery: settings and the cancel key."""
    parameters: dict[str, str] = {}
    key: tuple[int, bytes] | None = None
    while True:
        tag, body = await stream.read()
        if tag == backend.READY_FOR_QUERY:
            return parameters, key
        if tag == backend.ERROR_RESPONSE:
            raise Refused(backend.ErrorResponse.decode(body))
        if tag == backend.PARAMETER_STATUS:
            _report(body, parameters)
        elif tag == backend.BACKEND_KEY_DATA:
            data = backend.BackendKeyData.decode(body)
            key = data.process_id, data.secret_key
        elif tag != backend.NOTICE_RESPONSE:
            raise ProtocolError(f"message {chr(tag)!r} in the database's welcome")
