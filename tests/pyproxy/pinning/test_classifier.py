"""The classifier's memory, its names, and texts that are no SQL at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning import sql
from pyproxy.pinning.classifier import CLEAN, SHOWN, Classifier


def classifier(limit_bytes: int = 1 << 20) -> Classifier:
    return Classifier(CompatibilityConfig(), limit_bytes=limit_bytes)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_have_a_verdict(text: bytes, conforming: bool) -> None:
    classifier().judge(text, standard_conforming_strings=conforming)


PIECES = st.lists(
    st.sampled_from(
        [
            "'",
            '"',
            "$$",
            "$a$",
            "/*",
            "*/",
            "--",
            "\n",
            ";",
            "(",
            ")",
            "E'",
            "U&'",
            'U&"',
            "\\",
            "select",
            "set",
            "explain",
            "analyze",
            "create",
            "temp",
            "begin",
            "atomic",
            "end",
            "nextval",
            "set_config",
            "into",
            "as",
            "execute",
            "x",
            "1",
            "$1",
            ",",
            ".",
            " ",
            "::",
        ]
    ),
    max_size=30,
)


@given(PIECES, st.booleans())
def test_any_jumble_of_sql_has_a_verdict(pieces: list[str], conforming: bool) -> None:
    text = " ".join(pieces)
    verdict = classifier().judge(text.encode(), standard_conforming_strings=conforming)
    assert verdict.clean == (verdict.pin is None)


@given(PIECES, st.booleans())
def test_tokens_cover_the_text_in_order(pieces: list[str], conforming: bool) -> None:
    text = "".join(pieces)
    end = 0
    for token in sql.tokens(text, standard_conforming_strings=conforming):
        assert end <= token.start < token.end <= len(text)
        end = token.end


REFERENCES = [
    ("EXECUTE s1", (b"s1",)),
    ("EXECUTE S1", (b"s1",)),
    ('EXECUTE "S1"(1)', (b"S1",)),
    ("DEALLOCATE PREPARE s1", (b"s1",)),
    ("DEALLOCATE prepare", (b"prepare",)),
    ("PREPARE s1 AS SELECT 1", (b"s1",)),
    ("EXECUTE a; EXECUTE b", (b"a", b"b")),
    ("EXPLAIN EXECUTE s1", (b"s1",)),
    ("CREATE TEMP TABLE t AS EXECUTE s1", (b"s1",)),
    ("EXECUTE", ()),
    ("SET x = 1", ()),
]


@pytest.mark.parametrize(("text", "names"), REFERENCES)
def test_names_are_found_as_postgresql_folds_them(text: str, names: tuple[bytes, ...]) -> None:
    assert classifier().judge(text.encode()).references == names


@pytest.mark.parametrize(
    ("text", "forgets"),
    [
        ("DEALLOCATE ALL", True),
        ("DEALLOCATE PREPARE ALL", True),
        ("DISCARD ALL", True),
        ("SELECT 1; DISCARD ALL", True),
        ("DISCARD PLANS", False),
        ("DEALLOCATE s", False),
    ],
)
def test_forgetting_everything_is_noticed(text: str, forgets: bool) -> None:
    assert classifier().judge(text.encode()).deallocates_all is forgets


def test_string_literals_depend_on_the_setting() -> None:
    r"""'\' ends with the setting on, and goes on with it off."""
    text = rb"SELECT '\', nextval('q') --'"
    judge = classifier().judge
    assert judge(text, standard_conforming_strings=True).pin is not None
    assert judge(text, standard_conforming_strings=False).pin is None


@pytest.mark.parametrize(
    "text", ["SELECT nextval('q'", "SELECT 'abc nextval(", "/* nextval(", "$$ set_config("]
)
def test_a_text_that_never_ends_is_judged_by_its_words(text: str) -> None:
    """PostgreSQL refuses it; should our reading be wrong, the server is kept."""
    assert classifier().judge(text.encode()).pin is not None


def test_a_harmless_text_that_never_ends_is_left_alone() -> None:
    """The database's own syntax error reaches the client."""
    assert classifier().judge(b"SELECT 'abc") is CLEAN


@pytest.mark.parametrize(("opens", "closes"), [("(", ")"), ("cast(", " as bool)"), ("", "::bool")])
def test_however_deep_an_argument_is_it_is_read(opens: str, closes: str) -> None:
    value = f"{opens * 900}true{closes * 900}"
    text = f"SELECT set_config('a.b', 'c', {value})"
    assert classifier().judge(text.encode()).pin is None


def test_verdicts_are_remembered() -> None:
    judge = classifier().judge
    assert judge(b"SET x = 1") is judge(b"SET x = 1")


def test_memory_is_bounded() -> None:
    small = classifier(limit_bytes=10_000)
    for number in range(2_000):
        small.judge(b"SELECT %d" % number)
    assert len(small._young) + len(small._old) < 200


def test_what_is_used_survives_what_is_not() -> None:
    small = classifier(limit_bytes=20_000)
    first = small.judge(b"SET x = 1")
    for number in range(2_000):
        small.judge(b"SELECT %d" % number)
        assert small.judge(b"SET x = 1") is first


def test_long_texts_are_not_kept() -> None:
    kept = classifier()
    kept.judge(b"SELECT '" + b"x" * 40_000 + b"'")
    assert not kept._young


def test_a_long_statement_is_shown_shortened() -> None:
    pin = classifier().judge(b"SET x = '" + b"y" * 500 + b"'").pin
    assert pin is not None
    assert len(pin.statement) == SHOWN


UNICODE = [
    (r'U&"\006eextval"', "nextval"),
    (r'U&"\+00006eextval"', "nextval"),
    (r'U&"a\\b"', "a\\b"),
]


@pytest.mark.parametrize(("text", "name"), UNICODE)
def test_unicode_names_are_resolved(text: str, name: str) -> None:
    (token,) = sql.tokens(text)
    assert (token.kind, token.text) == (sql.NAME, name)


def test_words_beyond_ascii_are_folded_as_postgresql_does() -> None:
    (token,) = sql.tokens("ÄBC")
    assert token.text == "Äbc"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("SELECT 1; SELECT 2;", 2),
        (";;", 0),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", 2),
        ("CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1; END; SELECT 2", 2),
        ("BEGIN; SELECT 1; END; SELECT 2", 4),
        ("SELECT ')'; SELECT 1", 2),
    ],
)
def test_texts_are_split_where_postgresql_does(text: str, count: int) -> None:
    assert len(list(sql.split(text))) == count


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SET app.token = 'tell nobody'", "set app.token = $1"),
        (
            "SELECT set_config('my.Password', 'tell nobody', false)",
            "select set_config($1, $2, false)",
        ),
        ("SET search_path TO app", "SET search_path TO app"),
        ("SET app.token = \u79d8\u5bc6", "set app.token = $1"),
    ],
)
def test_a_statement_that_speaks_of_a_secret_is_shown_as_its_digest(text: str, shown: str) -> None:
    """Invariant 9: the ledger, the page and the API show statements."""
    pin = Classifier(CompatibilityConfig()).judge(text.encode()).pin
    assert pin is not None
    assert pin.statement == shown
