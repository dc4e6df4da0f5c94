"""The texts that clients get, against AWS's table."""

from pathlib import Path

import pytest

from protocol.postgres import backend
from pyproxy import errors

AWS = [
    (errors.iam_needs_tls(), "28000", "IAM authentication is allowed only with SSL connections."),
    (
        errors.no_credentials("app"),
        "28000",
        (
            "This RDS proxy has no credentials for the role app. "
            "Check the credentials for this role and try again."
        ),
    ),
    (
        errors.user_missing(),
        "28000",
        (
            "A user name is missing from the connection startup packet. "
            "Provide a user name for this connection."
        ),
    ),
    (errors.iam_needs_tls_by_default(), "28000", "IAM is allowed only with SSL connections."),
    (errors.tls_required(), "28000", "This RDS Proxy requires TLS connections."),
    (
        errors.wrong_password("app"),
        "28P01",
        "The password that was provided for the role app is wrong.",
    ),
    (
        errors.iam_failed("app"),
        "28P01",
        "IAM authentication failed for user app. Check the IAM token for this user and try again.",
    ),
    (
        errors.iam_token_bad("app"),
        "28P01",
        (
            "The IAM authentication failed for the role app. "
            "Check the IAM token for this role and try again."
        ),
    ),
    (
        errors.protocol_version(),
        "0A000",
        (
            "Feature not supported: RDS Proxy supports only version 3.0 of the PostgreSQL messaging "
            "protocol."
        ),
    ),
    (
        errors.replication_unsupported(),
        "0A000",
        "Feature not supported: RDS Proxy currently doesn't support streaming replication mode.",
    ),
    (
        errors.option_unsupported("geqo"),
        "0A000",
        "Feature not supported: RDS Proxy currently doesn't support the option geqo.",
    ),
    (
        errors.options_unsupported(),
        "0A000",
        "Feature not supported: RDS Proxy currently doesn\u2019t support command-line options.",
    ),
    (
        errors.too_many_clients(7),
        "53300",
        "The maximum number of client connections to the proxy exceeded 7.",
    ),
    (
        errors.iam_rate_exceeded(),
        "53300",
        "The IAM authentication failed because of too many competing requests.",
    ),
    (errors.connection_rate_exceeded(9), "53300", "Rate of connection to proxy exceeded 9."),
    (errors.borrow_timeout(), "08000", "Timed-out waiting to acquire database connection."),
    (
        errors.request_error('database "x" does not exist'),
        "XX000",
        'Request returned an error: database "x" does not exist',
    ),
    (errors.unknown_error(), "XX000", "Unknown error."),
    (
        errors.iam_required(),
        "28000",
        "Enable IAM authentication for the client connection to the proxy and try again.",
    ),
    (
        errors.iam_not_configured(),
        "28000",
        "Configure IAM authentication as the DefaultAuthScheme in your proxy and try again.",
    ),
    (
        errors.no_writer(),
        "08000",
        "The target group doesn't have any associated read/write instances",
    ),
]


@pytest.mark.parametrize(("error", "sqlstate", "text"), AWS, ids=lambda value: str(value)[:40])
def test_clients_read_the_words_of_rds_proxy(
    error: errors.ProxyError, sqlstate: str, text: str
) -> None:
    """E-PG-01 to E-PG-22, character by character."""
    assert (error.severity, error.sqlstate, str(error)) == ("FATAL", sqlstate, text)


def test_a_user_name_cannot_reach_into_the_template() -> None:
    """Braces in what a client says are text."""
    assert "the role {user} is" in str(errors.wrong_password("{user}"))


def test_the_response_is_an_error_response() -> None:
    tag, body = errors.wrong_password("app").response()[0], errors.wrong_password("app").response()
    decoded = backend.ErrorResponse.decode(body[5:])
    assert tag == backend.ERROR_RESPONSE
    assert (decoded.severity, decoded.sqlstate) == ("FATAL", "28P01")


def test_a_borrow_timeout_after_login_is_an_error() -> None:
    """Q-05: FATAL is for the start of a connection."""
    error = errors.borrow_timeout().in_session()
    assert (error.severity, error.sqlstate) == ("ERROR", "08000")


def test_ids_are_unique() -> None:
    ids = [text.id for text in errors.TEXTS]
    assert len(ids) == len(set(ids))


def test_the_reference_page_is_written_from_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
    assert page.read_text() == errors.reference(), "python -m pyproxy.errors > " + str(page)
