"""What we tell clients when we end things: RDS Proxy's texts with their SQLSTATE.

    raise errors.wrong_password("app")          # a ProxyError
    transport.write(error.response())           # the ErrorResponse, ready to send

Every text is in `TEXTS` once, under its id; the functions fill in what varies. A text that AWS
documents nowhere is marked `ours`. docs/reference/errors.md is written from the table.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from protocol.postgres import sqlstate
from protocol.postgres.backend import ErrorResponse

FATAL: Final = "FATAL"
ERROR: Final = "ERROR"


class ProxyError(Exception):
    """An error that a client is told; `str()` is the text alone."""

    def __init__(
        self, severity: str, code: str, message: str, detail: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.severity = severity
        self.sqlstate = code
        self.message = message
        self.detail = detail
        self.hint = hint

    def response(self) -> bytes:
        """The ErrorResponse as bytes on the wire."""
        return ErrorResponse.of(
            self.severity, self.sqlstate, self.message, self.detail, self.hint
        ).encode()

    def in_session(self) -> ProxyError:
        """The same after login, where RDS Proxy says ERROR and closes the connection (Q-05)."""
        return ProxyError(ERROR, self.sqlstate, self.message, self.detail, self.hint)


class Text(NamedTuple):
    """One error: its id in the table of AWS's errors, or OWN-nn for one of ours."""

    id: str
    sqlstate: str
    template: str
    when: str
    ours: bool = False

    def error(self, **values: object) -> ProxyError:
        """The error with its gaps filled; its connection ends with it, so it is FATAL."""
        return ProxyError(FATAL, self.sqlstate, self.template.format(**values))


TEXTS: Final = tuple(
    Text(*row)
    for row in (
        (
            "E-PG-01",
            sqlstate.INVALID_AUTHORIZATION,
            "IAM authentication is allowed only with SSL connections.",
            "a user whose secret demands IAM comes without TLS",
        ),
        (
            "E-PG-02",
            sqlstate.INVALID_AUTHORIZATION,
            ("This RDS proxy has no credentials for the role {user}. "
            "Check the credentials for this role and try again."),
            "no secret has this user",
        ),
        (
            "E-PG-03",
            sqlstate.INVALID_AUTHORIZATION,
            "RDS Proxy supports only IAM, MD5, or SCRAM authentication.",
            "the client wants another mechanism",
        ),
        (
            "E-PG-04",
            sqlstate.INVALID_AUTHORIZATION,
            ("A user name is missing from the connection startup packet. "
            "Provide a user name for this connection."),
            "the startup message has no `user`",
        ),
        (
            "E-PG-05",
            sqlstate.INVALID_AUTHORIZATION,
            "IAM is allowed only with SSL connections.",
            "IAM by `default_auth_scheme`, without TLS",
        ),
        (
            "E-PG-06",
            sqlstate.INVALID_AUTHORIZATION,
            "This RDS Proxy requires TLS connections.",
            "`require_tls`, and the client comes in clear",
        ),
        (
            "E-PG-07",
            sqlstate.INVALID_PASSWORD,
            "The password that was provided for the role {user} is wrong.",
            "the password is not the secret's",
        ),
        (
            "E-PG-08",
            sqlstate.INVALID_PASSWORD,
            ("IAM authentication failed for user {user}. "
            "Check the IAM token for this user and try again."),
            "the token is expired, for another endpoint or user, badly signed, or IAM denies it",
        ),
        (
            "E-PG-09",
            sqlstate.INVALID_PASSWORD,
            ("The IAM authentication failed for the role {user}. "
            "Check the IAM token for this role and try again."),
            "what was given is no token",
        ),
        (
            "E-PG-10",
            sqlstate.FEATURE_NOT_SUPPORTED,
            ("Feature not supported: RDS Proxy supports only version 3.0 of the PostgreSQL "
            "messaging protocol."),
            "another major version of the protocol",
        ),
        (
            "E-PG-11",
            sqlstate.FEATURE_NOT_SUPPORTED,
            ("Feature not supported: RDS Proxy currently doesn't support streaming replication "
            "mode."),
            "`replication` in the startup message",
        ),
        (
            "E-PG-12",
            sqlstate.FEATURE_NOT_SUPPORTED,
            "Feature not supported: RDS Proxy currently doesn't support the option {name}.",
            "a startup parameter that RDS Proxy doesn't know",
        ),
        (
            "E-PG-12a",
            sqlstate.FEATURE_NOT_SUPPORTED,
            # The one text whose captures show U+2019.
            "Feature not supported: RDS Proxy currently doesn’t support command-line options.",  # noqa: RUF001
            "`options` in the startup message",
        ),
        (
            "E-PG-13",
            sqlstate.TOO_MANY_CONNECTIONS,
            "The IAM authentication failed because of too many competing requests.",
            "more than `iam_connection_rate_limit` new IAM logins in a second",
        ),
        (
            "E-PG-14",
            sqlstate.TOO_MANY_CONNECTIONS,
            "The maximum number of client connections to the proxy exceeded {number}.",
            "more than `max_client_connections`",
        ),
        (
            "E-PG-15",
            sqlstate.TOO_MANY_CONNECTIONS,
            "Rate of connection to proxy exceeded {number}.",
            "more than `connection_rate_limit` new connections in a second",
        ),
        (
            "E-PG-16",
            sqlstate.CONNECTION_EXCEPTION,
            "Timed-out waiting to acquire database connection.",
            "no database connection within `connection_borrow_timeout`",
        ),
        (
            "E-PG-17",
            sqlstate.INTERNAL_ERROR,
            "Request returned an error: {message}",
            "the database refuses the connection",
        ),
        ("E-PG-18", sqlstate.INTERNAL_ERROR, "Unknown error.", "an error of the proxy itself"),
        (
            "E-PG-20",
            sqlstate.INVALID_AUTHORIZATION,
            "Enable IAM authentication for the client connection to the proxy and try again.",
            "`default_auth_scheme: IAM_AUTH`, and the client gives a password",
        ),
        (
            "E-PG-21",
            sqlstate.INVALID_AUTHORIZATION,
            "Configure IAM authentication as the DefaultAuthScheme in your proxy and try again.",
            "the client gives a token where IAM is not configured",
        ),
        (
            # AWS tells no SQLSTATE; that of E-PG-16, which it stands in for.
            "E-PG-22",
            sqlstate.CONNECTION_EXCEPTION,
            "The target group doesn't have any associated read/write instances",
            "a `READ_WRITE` endpoint, and all targets are standbys of a writer elsewhere",
        ),
        (
            "E-PG-23",
            sqlstate.CONNECTION_EXCEPTION,
            "The target group doesn't have any associated read-only instances",
            "a `READ_ONLY` endpoint, and no target is or could be a reader",
            True,
        ),
        (
            "E-PG-24",
            sqlstate.CONNECTION_FAILURE,
            "The database connection was lost in the middle of a request.",
            "the database connection of a session breaks",
            True,
        ),
        (
            "OWN-01",
            sqlstate.ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
            "the proxy is shut down; the text is PostgreSQL's own",
            True,
        ),
        (
            "OWN-02",
            sqlstate.PROTOCOL_VIOLATION,
            "{message}",
            "bytes that are not the protocol; the text says which",
            True,
        ),
    )
)  # fmt: skip

_BY_ID: Final = {text.id: text for text in TEXTS}


def iam_needs_tls() -> ProxyError:
    """E-PG-01."""
    return _BY_ID["E-PG-01"].error()


def no_credentials(user: str) -> ProxyError:
    """E-PG-02."""
    return _BY_ID["E-PG-02"].error(user=user)


def authentication_unsupported() -> ProxyError:
    """E-PG-03, as it is seen on the wire."""
    return _BY_ID["E-PG-03"].error()


def user_missing() -> ProxyError:
    """E-PG-04."""
    return _BY_ID["E-PG-04"].error()


def iam_needs_tls_by_default() -> ProxyError:
    """E-PG-05."""
    return _BY_ID["E-PG-05"].error()


def tls_required() -> ProxyError:
    """E-PG-06."""
    return _BY_ID["E-PG-06"].error()


def wrong_password(user: str) -> ProxyError:
    """E-PG-07."""
    return _BY_ID["E-PG-07"].error(user=user)


def iam_failed(user: str) -> ProxyError:
    """E-PG-08."""
    return _BY_ID["E-PG-08"].error(user=user)


def iam_token_bad(user: str) -> ProxyError:
    """E-PG-09."""
    return _BY_ID["E-PG-09"].error(user=user)


def protocol_version() -> ProxyError:
    """E-PG-10."""
    return _BY_ID["E-PG-10"].error()


def replication_unsupported() -> ProxyError:
    """E-PG-11."""
    return _BY_ID["E-PG-11"].error()


def option_unsupported(name: str) -> ProxyError:
    """E-PG-12; `name` is the parameter's."""
    return _BY_ID["E-PG-12"].error(name=name)


def options_unsupported() -> ProxyError:
    """E-PG-12a."""
    return _BY_ID["E-PG-12a"].error()


def iam_rate_exceeded() -> ProxyError:
    """E-PG-13."""
    return _BY_ID["E-PG-13"].error()


def too_many_clients(number: int) -> ProxyError:
    """E-PG-14; `number` is the limit."""
    return _BY_ID["E-PG-14"].error(number=number)


def connection_rate_exceeded(number: int) -> ProxyError:
    """E-PG-15; `number` is the limit, in connections per second."""
    return _BY_ID["E-PG-15"].error(number=number)


def borrow_timeout() -> ProxyError:
    """E-PG-16; after login its severity is ERROR: `in_session`."""
    return _BY_ID["E-PG-16"].error()


def request_error(message: str) -> ProxyError:
    """E-PG-17; `message` is the database's own."""
    return _BY_ID["E-PG-17"].error(message=message)


def unknown_error() -> ProxyError:
    """E-PG-18: never more than that; the log has the rest."""
    return _BY_ID["E-PG-18"].error()


def iam_required() -> ProxyError:
    """E-PG-20."""
    return _BY_ID["E-PG-20"].error()


def iam_not_configured() -> ProxyError:
    """E-PG-21."""
    return _BY_ID["E-PG-21"].error()


def no_writer() -> ProxyError:
    """E-PG-22 (FO-07)."""
    return _BY_ID["E-PG-22"].error()


def no_reader() -> ProxyError:
    """E-PG-23, in E-PG-22's words (Q-13)."""
    return _BY_ID["E-PG-23"].error()


def server_lost(*, pinned_for: str = "") -> ProxyError:
    """E-PG-24: AWS documents no text. `pinned_for` is why the session could not move (FO-02)."""
    error = _BY_ID["E-PG-24"].error()
    if pinned_for:
        error.detail = f"The session was pinned to it and can't move to another: {pinned_for}"
    error.hint = "Connect again and repeat the transaction; it may or may not have been committed."
    return error


def shutting_down() -> ProxyError:
    """OWN-01: what PostgreSQL itself says when it is stopped."""
    return _BY_ID["OWN-01"].error()


def protocol_violation(message: str) -> ProxyError:
    """OWN-02; `message` says what was wrong and where."""
    return _BY_ID["OWN-02"].error(message=message)


def reference() -> str:
    """docs/reference/errors.md: `python -m pyproxy.errors > docs/reference/errors.md`."""
    rows = "".join(
        f"| {text.id} | `{text.sqlstate}` | `{text.template}` | {text.when}"
        f"{' (ours)' if text.ours else ''} |\n"
        for text in TEXTS
    )
    return f"""\
# Errors

<!-- Written by `python -m pyproxy.errors`; change the table in `pyproxy/errors.py`. -->

What PyProxy itself says to a client. Everything else that a client sees comes from its database,
unchanged. Before the end of login the severity is `FATAL`; E-PG-16 after login is an `ERROR`, and
the connection is closed behind it. Rows marked *ours* are conditions for which AWS documents no
text.

| Id | SQLSTATE | Text | When |
| --- | --- | --- | --- |
{rows}"""


if __name__ == "__main__":
    sys.stdout.write(reference())
