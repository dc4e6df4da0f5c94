"""The same statement written in other ways has the same verdict, and nothing hidden ever pins."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning import sql
from pyproxy.pinning.classifier import Classifier
from tests.conformance.pinning import oracle
from tests.conformance.pinning.cases import PINS, STAYS

AWS = Classifier(CompatibilityConfig())
# Their size is what they are about.
SIZED = "PIN-ALL-01"
PINNING = [(rule, text) for rule, texts in PINS.items() if rule != SIZED for text in texts]
STAYING = [text for rule, texts in STAYS.items() if rule != SIZED for text in texts]

GAPS = [
    " ",
    "\n",
    "\t ",
    " /* SET x = 1 */ ",
    " -- nextval('q')\n",
    "/* /* ; */ RESET ALL */",
    "\f\r\n",
]


def rule_of(text: str, *, conforming: bool = True) -> str:
    pin = AWS.judge(text.encode(), standard_conforming_strings=conforming).pin
    return "" if pin is None else pin.rule


def other_spelling(text: str, choose: random.Random) -> str:
    """Other case, spaces and comments; what is quoted stays."""
    raw = text.encode().decode("latin-1")
    pieces = [choose.choice(GAPS)]
    end = 0
    for token in sql.tokens(raw):
        if token.start > end:
            pieces.append(choose.choice(GAPS))
        word = raw[token.start : token.end]
        if token.kind == sql.WORD:
            word = "".join(choose.choice((c, c.swapcase())) if c.isascii() else c for c in word)
        pieces.append(word)
        end = token.end
    return "".join(pieces).encode("latin-1").decode()


@pytest.mark.parametrize(("rule", "text"), PINNING, ids=lambda value: value[:50])
def test_odd_spelling_pins_all_the_same(rule: str, text: str) -> None:
    choose = random.Random(text)
    for _ in range(5):
        odd = other_spelling(text, choose)
        assert rule_of(odd) == rule, odd


@pytest.mark.parametrize("text", STAYING, ids=lambda text: text[:50])
def test_odd_spelling_stays_all_the_same(text: str) -> None:
    choose = random.Random(text)
    for _ in range(5):
        odd = other_spelling(text, choose)
        assert not rule_of(odd), odd


AROUND = [("SELECT 1;", ""), ("", "\n; SELECT 2"), ("BEGIN;", "\n;COMMIT;"), (";;/* ; */", "\n;;")]


@pytest.mark.parametrize(("rule", "text"), PINNING, ids=lambda value: value[:50])
def test_each_statement_of_a_text_counts(rule: str, text: str) -> None:
    """PIN-PG-31."""
    assert [rule_of(f"{before} {text}{after}") for before, after in AROUND] == [rule] * 4


@pytest.mark.parametrize("text", STAYING, ids=lambda text: text[:50])
def test_a_harmless_statement_hides_nothing_after_it(text: str) -> None:
    assert not rule_of(f"SELECT 1; {text}\n; SELECT 2")
    assert rule_of(f"{text}\n; LISTEN c") == "PIN-PG-06"


# What pins, as a statement of its own or as an expression.
STATEMENTS = st.sampled_from(
    [
        *("SET x = 1", "RESET ALL", "LISTEN c", "DISCARD ALL", "LOAD 'x'", "SET LOCAL x = 1"),
        *("PREPARE s AS SELECT 1", "CREATE TEMP TABLE t (a int)", "DECLARE c CURSOR FOR SELECT 1"),
    ]
)
EXPRESSIONS = st.sampled_from(
    [
        *("nextval('q')", "setval('q', 1)", "pg_advisory_lock(1)", "pg_try_advisory_lock(1, 2)"),
        *("set_config('a.b', 'c', false)", "pg_advisory_unlock_all()", "pg_catalog.nextval('q')"),
    ]
)
ANY = st.one_of(STATEMENTS, EXPRESSIONS, st.builds("; {}; {} --".format, STATEMENTS, EXPRESSIONS))


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


HIDING = {
    "a literal": literal,
    "a literal with escapes": lambda text: (
        "E'\\\\ \\'' '" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    ).replace("'' '", ""),
    "a national literal": lambda text: "N" + literal(text),
    "a unicode literal": lambda text: "U&" + literal(text),
    "dollars": lambda text: f"$${text}$$",
    "tagged dollars": lambda text: f"$a_1${text} $$ $a$ {text}$a_1$",
    "a cast": lambda text: f"CAST({literal(text)} AS text)",
    "a comment": lambda text: f"1 /* {text} */",
    "nested comments": lambda text: f"1 /* /* {text} */ {text} /**/ */",
    "a line": lambda text: f"1 -- {text}\n",
    "a name": lambda text: '1 AS "' + text.replace('"', '""') + '"',
    "a unicode name": lambda text: '1 AS U&"' + text.replace('"', '""') + '"',
}
FRAMES = st.sampled_from(
    [
        "SELECT {} ",
        "SELECT a, {} FROM t WHERE b IN (SELECT 1) ORDER BY 1",
        "WITH x AS (SELECT {} ) SELECT * FROM x",
        "INSERT INTO t SELECT {} ",
        "SELECT * FROM (SELECT {} ) AS y; SELECT 2",
        "CREATE TABLE u AS SELECT {} ",
        "EXPLAIN ANALYZE SELECT {} ",
    ]
)
SEEDS = st.integers(0, 2**32)


@given(ANY, st.sampled_from(sorted(HIDING)), FRAMES, SEEDS)
def test_what_is_hidden_never_pins(construct: str, hiding: str, frame: str, seed: int) -> None:
    text = other_spelling(frame.format(HIDING[hiding](construct)), random.Random(seed))
    assert not rule_of(text)
    # PostgreSQL's grammar says so too: it is a statement, and nothing in it pins.
    assert not any(oracle.rules(tree) for tree, _, _ in oracle.statements(text))


@given(EXPRESSIONS, ANY, st.sampled_from(sorted(HIDING)), FRAMES, SEEDS)
def test_an_expression_outside_always_pins(
    expression: str, hidden: str, hiding: str, frame: str, seed: int
) -> None:
    inside = f"{expression}, {HIDING[hiding](hidden)}"
    assert rule_of(other_spelling(frame.format(inside), random.Random(seed)))


@given(STATEMENTS, ANY, st.sampled_from(sorted(HIDING)), FRAMES, SEEDS)
def test_a_statement_outside_always_pins(
    statement: str, hidden: str, hiding: str, frame: str, seed: int
) -> None:
    around = frame.format(HIDING[hiding](hidden))
    for text in (f"{around}; {statement}", f"{statement}; {around}"):
        assert rule_of(other_spelling(text, random.Random(seed)))


@given(ANY, SEEDS)
def test_backslashes_hide_where_strings_do_not_conform(construct: str, seed: int) -> None:
    r"""standard_conforming_strings off: '\'' goes on."""
    inside = construct.replace("\\", "\\\\").replace("'", "\\'")
    text = other_spelling("SELECT {}", random.Random(seed)).format(f"'\\' ; {inside}'")
    assert not rule_of(text, conforming=False)
    assert rule_of(f"{text}; LISTEN c", conforming=False)


@given(st.sampled_from([text for _, text in PINNING] + STAYING), SEEDS)
def test_the_quick_look_never_misses(text: str, seed: int) -> None:
    """What it calls clean, the thorough one calls clean."""
    odd = other_spelling(text, random.Random(seed))
    for spelt in (text, odd, odd.strip()):
        if AWS._surely_clean(spelt.encode()):
            assert AWS._judge(spelt.encode().decode("latin-1"), True).clean
