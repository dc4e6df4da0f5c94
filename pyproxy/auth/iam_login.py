"""IAM: the token as a password in clear, over TLS (AU-22, AU-32)."""

from __future__ import annotations

from typing import Final

from protocol.postgres import backend, frontend
from protocol.postgres.errors import ProtocolError
from pyproxy import errors
from pyproxy.auth import iam, token
from pyproxy.auth.exchange import Accepted, Login, Outcome, Refusal
from pyproxy.auth.password import not_asked_for, require_password_message

# L-13's words.
NAME: Final = "IAM authentication"
_PREFIX: Final = "The proxy couldn't authenticate using IAM."


class TokenExchange:
    """One round: the client shows its token."""

    name = NAME

    def __init__(self, login: Login) -> None:
        self._login = login

    def challenge(self) -> bytes:
        """A request for the password in clear; the connection is encrypted."""
        return backend.AuthenticationCleartextPassword().encode()

    def answer(self, tag: int, body: bytes) -> Outcome:
        """Judge the token."""
        require_password_message(tag, self.name)
        try:
            text = frontend.PasswordMessage.decode(body).password.decode()
        except ProtocolError as error:
            raise not_asked_for(body, self.name) from error
        except UnicodeDecodeError:
            text = ""
        login = self._login
        if not body.rstrip(b"\0"):
            raise self._refusal("The authentication token is empty", readable=False)
        decision = iam.verify(text, login.expected, login.keys, login.clock())
        if decision.allowed:
            return Accepted(b"")
        if login.default_scheme_iam and login.secret is None and not token.looks_like_token(text):
            # AU-51: a password where the default scheme is IAM.
            reason = f"{_PREFIX} {decision.cause}."
            raise Refusal(errors.iam_required(), self.name, reason)
        raise self._refusal(decision.cause, readable=decision.readable)

    def _refusal(self, cause: str, *, readable: bool) -> Refusal:
        """E-PG-08 for a token that is not good, E-PG-09 for what is no token (AU-42)."""
        user = self._login.user
        error = errors.iam_failed(user) if readable else errors.iam_token_bad(user)
        return Refusal(error, self.name, f"{_PREFIX} {cause}.")
