"""Statements spliced from the words of others: what PostgreSQL's grammar finds, ours never misses."""

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
from tests.conformance.pinning.command_cases import COMMANDS

pytestmark = pytest.mark.fuzz

AWS = Classifier(CompatibilityConfig())
# Words where a scanner goes wrong: quotes, comments, bodies, and names that are keywords.
EDGES = [
    *("$$", "'", '"', "E'\\''", "--\n", "/*", "*/", "U&\"n\\0065xtval\"('q')", "uescape '!'", "::"),
    *("(", ")", ";", ",", ".", "1", "$1", "1into", "case", "end", "as case", "as end", "begin"),
    *("atomic", "function", "into", "temp", "pg_temp", "local", "session", "role", "explain"),
    *("analyze", "as", "execute", "with", "hold", "for", "set", "nextval('q')", "listen c"),
]
# Splices for each example: most are no SQL, and cost next to nothing.
SPLICES = 50


def words(text: str) -> list[str]:
    raw = text.encode().decode("latin-1")
    return [raw[token.start : token.end] for token in sql.tokens(raw)]


STATEMENTS = [
    words(text)
    for texts in [*PINS.values(), *STAYS.values(), *(of.values() for of in COMMANDS.values())]
    for text in texts
    if len(text) < 1_000
]


def splice(choose: random.Random) -> str:
    """A statement with words of others in it, or without some of its own."""
    parts = list(choose.choice(STATEMENTS))
    for _ in range(choose.randint(1, 4)):
        at = choose.randint(0, len(parts))
        way = choose.random()
        if way < 0.5:
            parts.insert(at, choose.choice(EDGES))
        elif way < 0.7:
            del parts[at : at + 1]
        else:
            other = choose.choice(STATEMENTS)
            start = choose.randint(0, len(other))
            parts[at:at] = other[start : start + choose.randint(1, 6)]
    between = choose.choice([" ", "\n", " /* ' */ "])
    return between.join(parts).encode("latin-1").decode(errors="replace")


@given(st.integers(0, 2**63))
def test_nothing_that_pins_is_missed(seed: int) -> None:
    """The other way round is allowed: f(x) 'y' is a call to us, and a type that is not there."""
    choose = random.Random(seed)
    for _ in range(SPLICES):
        text = splice(choose)
        try:
            trees = oracle.statements(text)
        except (oracle.Refused, RecursionError):
            continue
        if any(oracle.rules(tree) for tree, _, _ in trees):
            assert AWS.judge(text.encode()).pin is not None, text
