"""Passwords: SCRAM-SHA-256 and MD5, against the password of the user's secret (AU-20).

What a wrong password looks like to the client doesn't depend on what was wrong with it: the same
messages, and comparisons that take the same time.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from protocol.postgres import backend, frontend
from protocol.postgres.errors import ProtocolError
from protocol.postgres.md5 import md5_password
from protocol.postgres.scram import AuthenticationFailed, ServerExchange
from pyproxy import errors
from pyproxy.auth import token
from pyproxy.auth.exchange import Accepted, Challenge, Login, Outcome, Refusal

# L-12's words; they stand for MD5 and SCRAM alike.
NAME: Final = "PostgreSQL native password authentication"


class ScramExchange:
    """SCRAM-SHA-256, two rounds; with channel binding also SCRAM-SHA-256-PLUS."""

    name = NAME

    def __init__(self, login: Login) -> None:
        assert login.secret is not None, "a password needs a secret"
        self._login = login
        self._scram = ServerExchange(login.secret.verifier, channel_binding=login.channel_binding)
        self._begun = False

    def challenge(self) -> bytes:
        """The mechanisms to choose from."""
        return backend.AuthenticationSASL(self._scram.mechanisms).encode()

    def answer(self, tag: int, body: bytes) -> Outcome:
        """First the client's nonce, then its proof."""
        require_password_message(tag, self.name)
        try:
            if not self._begun:
                self._begun = True
                return self._first(body)
            final = self._scram.final(frontend.SASLResponse.decode(body).data)
        except AuthenticationFailed:
            raise wrong_password(self._login, self.name) from None
        except ProtocolError as error:
            raise self._malformed(error) from error
        return Accepted(backend.AuthenticationSASLFinal(final).encode())

    def _first(self, body: bytes) -> Challenge:
        try:
            message = frontend.SASLInitialResponse.decode(body)
        except ProtocolError as error:
            raise not_asked_for(body, self.name) from error
        if message.mechanism not in self._scram.mechanisms or message.response is None:
            raise not_asked_for(body, self.name)
        first = self._scram.first(message.mechanism, message.response)
        return Challenge(backend.AuthenticationSASLContinue(first).encode())

    def _malformed(self, error: ProtocolError) -> Refusal:
        return Refusal(
            errors.protocol_violation("malformed SCRAM message"),
            self.name,
            f"A SCRAM message is malformed: {error}.",
        )


class Md5Exchange:
    """MD5 over a salt of four bytes, one round."""

    name = NAME

    def __init__(self, login: Login) -> None:
        assert login.secret is not None, "a password needs a secret"
        self._login = login
        self._salt = os.urandom(4)
        user = login.user.encode("utf-8", "surrogateescape")
        password = login.secret.password.encode()
        self._expected = md5_password(user, password, self._salt)

    def challenge(self) -> bytes:
        """The salt."""
        return backend.AuthenticationMD5Password(self._salt).encode()

    def answer(self, tag: int, body: bytes) -> Outcome:
        """The hash of hash and salt."""
        require_password_message(tag, self.name)
        try:
            password = frontend.PasswordMessage.decode(body).password
        except ProtocolError as error:
            raise not_asked_for(body, self.name) from error
        if not hmac.compare_digest(password, self._expected):
            if token.looks_like_token(password.decode(errors="replace")):
                raise not_asked_for(body, self.name)
            raise wrong_password(self._login, self.name)
        return Accepted(b"")


def require_password_message(tag: int, method: str) -> None:
    """Refuse anything but an answer to the question."""
    if tag != frontend.PASSWORD:
        # PostgreSQL's own words for it, in auth.c.
        text = f"expected password response, got message type {tag}"
        raise Refusal(errors.protocol_violation(text), method, f"{text}.")


def wrong_password(login: Login, method: str) -> Refusal:
    """E-PG-07 (AU-24)."""
    reason = "The password that was provided is not that of the secret."
    return Refusal(errors.wrong_password(login.user), method, reason)


def not_asked_for(body: bytes, method: str) -> Refusal:
    """An answer to another question: E-PG-21 for an IAM token, else E-PG-03 (AU-21)."""
    if token.looks_like_token(body.decode(errors="replace")):
        reason = (
            "The client sent an IAM token, and its user logs in by password"
            " (iam_auth is DISABLED for the user's secret)."
        )
        return Refusal(errors.iam_not_configured(), method, reason)
    reason = "The client answered with another authentication method than it was asked for."
    return Refusal(errors.authentication_unsupported(), method, reason)
