"""Passwords by MD5, quoting, first packets."""

from __future__ import annotations

import pytest

from protocol.postgres import quoting, sqlstate, startup
from protocol.postgres.errors import ProtocolError
from protocol.postgres.md5 import md5_password
from tests.support.scram_client import md5_response


def test_md5_is_what_libpq_sends() -> None:
    assert md5_password(b"app", b"secret", b"salt").decode() == md5_response(
        "app", "secret", b"salt"
    )


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("plain", "'plain'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("c:\\temp", " E'c:\\\\temp'"),
        ("\\'; DROP TABLE x; --", " E'\\\\''; DROP TABLE x; --'"),
        ("ünïcode", "'ünïcode'"),
    ],
)
def test_literals_are_safe_in_both_readings(text: str, sql: str) -> None:
    """Lesson 41: whatever standard_conforming_strings says."""
    assert quoting.literal(text) == sql


@pytest.mark.parametrize(("text", "sql"), [("a", '"a"'), ('a"b', '"a""b"'), ("A b", '"A b"')])
def test_identifiers_are_taken_literally(text: str, sql: str) -> None:
    assert quoting.identifier(text) == sql


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
def test_what_cannot_be_quoted_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be part"):
        quoting.literal(text)


def test_a_name_cannot_be_empty() -> None:
    with pytest.raises(ValueError, match="empty"):
        quoting.identifier("")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x03\x00\x00user\x00",
        b"\x00\x03\x00\x00user\x00a\x00",
        b"\x00\x03\x00\x00\x00x",
        b"x" * 10001,
        b"\x04\xd2\x16/more",
        b"\x04\xd2\x16.\x00\x00\x00\x01abc",
    ],
)
def test_a_malformed_first_packet_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        startup.parse_first_packet(body)


def test_codes_are_five_characters() -> None:
    values = [value for name, value in vars(sqlstate).items() if name.isupper()]
    codes = {value for value in values if isinstance(value, str)}
    assert codes
    assert all(len(code) == 5 and code.isalnum() for code in codes)
    groups = [value for value in values if not isinstance(value, str)]
    assert groups
    assert all(codes.issuperset(group) for group in groups)
