"""IAM's wildcards."""

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth import wildcard

ARN = "arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-0a1b/app"


def resource_matches(pattern: str, text: str) -> bool:
    compiled = wildcard.compile_resource(pattern, variables=True)
    return compiled is not None and wildcard.matches(compiled, text)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        ARN,
        "arn:aws:rds-db:*:*:dbuser:*/*",
        "arn:aws:rds-db:us-east-?:*:dbuser:prx-*/app",
        "arn:aws:rds-db:us-east-1:123456789012:dbuser:*/a?p",
        "arn:aws:rds-db:us-*",
        "arn:aws:rds-db:*",
        "arn:aws:rds-db:*:dbuser:prx-0a1b/app",
        "arn:**:rds-db:***",
    ],
)
def test_a_resource_matches(pattern: str) -> None:
    """AU-37; a star at a segment's end goes on beyond the colon."""
    assert resource_matches(pattern, ARN)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("", id="nothing"),
        pytest.param(ARN[:-1], id="a prefix"),
        pytest.param(ARN.upper(), id="case"),
        pytest.param("arn:aws:rds-db:*-1/app", id="a star inside a segment stops at the colon"),
        pytest.param("arn:aws:rds-db?us-east-1:*", id="a question mark is no colon"),
        pytest.param("arn:aws:rds-db:us-east-2:*", id="another region"),
        pytest.param(f"{ARN}?", id="one more"),
        pytest.param("arn:aws:rds-db:us-east-1:*:dbuser:*/${aws:username}", id="a variable"),
        pytest.param("${aws:username}", id="nothing but a variable"),
        pytest.param("arn:${", id="a broken variable"),
    ],
)
def test_a_resource_does_not_match(pattern: str) -> None:
    assert not resource_matches(pattern, ARN)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"), [("${*}", "*", "a"), ("${?}", "?", "a"), ("${$}", "$", "a")]
)
def test_an_escaped_wildcard_is_a_character(pattern: str, matching: str, other: str) -> None:
    """IAM User Guide, "Policy variables"."""
    assert resource_matches(pattern, matching)
    assert not resource_matches(pattern, other)


def test_before_2012_a_variable_is_plain_text() -> None:
    """IAM User Guide, "Version"."""
    compiled = wildcard.compile_resource("${aws:username}", variables=False)
    assert compiled is not None
    assert wildcard.matches(compiled, "${aws:username}")


@given(
    st.text("ab*?[]!.\\^-", max_size=12),
    st.text("ab[]!.\\^-", max_size=20),
)
def test_without_colons_it_is_the_shells_glob(pattern: str, text: str) -> None:
    shell = pattern.replace("[", "[[]")
    assert resource_matches(pattern, text) == bool(re.match(fnmatch.translate(shell), text))


@given(st.text("a:*?", max_size=10), st.text("a:", max_size=12))
def test_with_colons_it_is_the_regular_expression(pattern: str, text: str) -> None:
    parts = {"*": "[^:]*", "?": "[^:]", "*:": ".*:", "*$": ".*"}
    tokens = re.findall(r"\*(?=:|$)|.", re.sub(r"\*+", "*", pattern))
    regular = ""
    position = 0
    reduced = re.sub(r"\*+", "*", pattern)
    for piece in tokens:
        position += len(piece)
        at_end = reduced[position : position + 1] in ("", ":")
        regular += ".*" if piece == "*" and at_end else parts.get(piece, re.escape(piece))
    assert resource_matches(pattern, text) == bool(re.fullmatch(regular, text))


def test_no_pattern_is_slow() -> None:
    pattern = "arn:aws:rds-db:" + "a*" * 40 + "b"
    begin = time.process_time()
    assert not resource_matches(pattern, "arn:aws:rds-db:" + "a" * 2000)
    assert time.process_time() - begin < 1.0
