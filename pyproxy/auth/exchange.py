"""How a client proves who it is: a question, an answer, perhaps another.

Every method (`METHODS` in `pyproxy.auth`) is an `Exchange` that the login drives without knowing
which one it is:

    exchange = authenticator.begin(user, ...)
    send(exchange.challenge())
    while True:
        outcome = exchange.answer(*await receive())
        send(outcome.message)
        if isinstance(outcome, Accepted):
            break

An exchange does no I/O and never waits. It ends with `Accepted`, or by raising `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from pyproxy.auth.access_key import KeyDirectory
from pyproxy.auth.iam import Expected
from pyproxy.auth.secret import Secret
from pyproxy.errors import ProxyError


class Refusal(ProxyError):
    """The client is not let in: the error for the client, and for the operator why.

    `method` and `reason` are what the log line names (L-12, L-13). The reason never reaches the
    client, who would learn from it how to do better.
    """

    def __init__(self, error: ProxyError, method: str, reason: str) -> None:
        super().__init__(error.severity, error.sqlstate, error.message)
        self.method = method
        self.reason = reason


class Challenge(NamedTuple):
    """Not done: send this message and read on."""

    message: bytes


class Accepted(NamedTuple):
    """The client is who it says. Send this, which may be nothing, before AuthenticationOk."""

    message: bytes


Outcome: TypeAlias = Challenge | Accepted


class Login(NamedTuple):
    """What is known of a client when it has to prove who it is."""

    user: str
    secret: Secret | None
    """None for a user of the default authentication scheme IAM_AUTH (AU-50)."""

    expected: Expected
    """What an IAM token has to say."""

    keys: KeyDirectory
    clock: Callable[[], datetime]
    """The time in UTC."""

    channel_binding: tuple[str, bytes] | None
    """The type and data of SCRAM's channel binding, where it is offered."""

    default_scheme_iam: bool
    """Whether proxy.default_auth_scheme is IAM_AUTH."""


class Exchange(Protocol):
    """One client's proof."""

    name: str
    """The method as RDS Proxy's log names it."""

    def challenge(self) -> bytes:
        """The message that begins it. Called once."""
        ...

    def answer(self, tag: int, body: bytes) -> Outcome:
        """What the client's next message leads to; raises Refusal."""
        ...
