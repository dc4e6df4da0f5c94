"""A user that the proxy has no credentials for: asked like any other, and then sent away (AU-16).

AWS's text says that the user is unknown (E-PG-02). What comes before it must not say so, nor say
it to somebody who doesn't answer: the same questions, with a salt that stays the same for the user.
PgBouncer's tests (`test_no_user.py`) look for just that.
"""

from __future__ import annotations

from pyproxy import errors
from pyproxy.auth.exchange import Accepted, Exchange, Outcome, Refusal


class StrangerExchange:
    """Another exchange that nobody can pass."""

    def __init__(self, asking: Exchange, user: str, why: str) -> None:
        """`asking` must be for a secret that no client can know; `why` is for the operator."""
        self.name = asking.name
        self._asking = asking
        self._user = user
        self._why = why

    def challenge(self) -> bytes:
        """What others are asked."""
        return self._asking.challenge()

    def answer(self, tag: int, body: bytes) -> Outcome:
        """Go on as with others; what ends with a wrong password there ends with E-PG-02 here."""
        try:
            outcome = self._asking.answer(tag, body)
        except Refusal as refusal:
            if refusal.sqlstate != errors.wrong_password("").sqlstate:
                raise
            raise self._refusal() from None
        if isinstance(outcome, Accepted):
            raise self._refusal()
        return outcome

    def _refusal(self) -> Refusal:
        return Refusal(errors.no_credentials(self._user), self.name, self._why)
