"""How a rule says what it matches: words of SQL, as the manual's synopsis writes them.

    create [or replace] [local|global] temp|temporary

A word stands for itself, `a|b` for either, `[…]` may be missing. `<name>` is a name, `'…'` a
literal; `…` is anything up to the first parenthesis, AS or FOR: the head of a definition. Of the
patterns that fit, the one of the most words decides: `set local` before `set`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pyproxy.pinning.sql import LITERAL, NAME, SYMBOL, WORD, Token

_GAP: Final = frozenset({"…"})
_A_LITERAL: Final = frozenset({"'…'"})
_A_NAME: Final = frozenset({"<name>"})
# What stands for something else than a word of the text.
SPECIAL: Final = frozenset({_GAP, _A_LITERAL, _A_NAME, frozenset({"."})})
_PART: Final = re.compile(r"\[([^\]]+)\]|(\S+)")

# The schema that pg_temp stands for in a session (PIN-PG-28).
_SESSIONS_OWN: Final = re.compile(r"pg_temp_[0-9]+")

# Reserved words that may stand where a name is expected, because the name is missing.
_CLAUSES: Final = frozenset(
    [
        *("except", "fetch", "for", "from", "group", "having", "intersect", "limit", "offset"),
        *("order", "union", "where", "window"),
    ]
)


class Pattern(NamedTuple):
    """One way to write what a rule matches: the words that may stand at each place."""

    words: tuple[frozenset[str], ...]
    rule: str


def ways(text: str, rule: str) -> list[Pattern]:
    """All ways to write it, one for each choice of what may be missing."""
    choices: list[list[tuple[str, ...]]] = []
    for optional, word in _PART.findall(text):
        choices.append([(word,)] if word else [(), tuple(optional.split())])
    return [
        Pattern(tuple(frozenset(word.split("|")) for word in itertools.chain(*chosen)), rule)
        for chosen in itertools.product(*choices)
    ]


def by_first_word(found: Iterable[Pattern]) -> dict[str, list[Pattern]]:
    """Patterns by the word they begin with, those with the most words first."""
    table: dict[str, list[Pattern]] = {}
    for pattern in sorted(found, key=lambda pattern: -len(pattern.words)):
        for word in pattern.words[0]:
            table.setdefault(word, []).append(pattern)
    return table


def fits(pattern: Pattern, tokens: Sequence[Token], at: int) -> bool:
    """Does a statement say these words at a place?"""
    words = pattern.words
    for number, choice in enumerate(words):
        if choice == _GAP:
            return any(
                fits(Pattern(words[number + 1 :], pattern.rule), tokens, place)
                for place in range(at, _end_of_head(tokens, at))
            )
        if at >= len(tokens) or not _is(tokens[at], choice, words[number + 1 : number + 2]):
            return False
        at += 1
    # SET local.x, SET role.x: what a dot follows is a name, whatever word it is.
    names = words[-1] == _A_NAME or tokens[at - 1].text == "."
    return names or at >= len(tokens) or tokens[at].text != "."


def _is(token: Token, choice: frozenset[str], following: tuple[frozenset[str], ...]) -> bool:
    if choice == _A_LITERAL:
        return token.kind == LITERAL
    if choice == _A_NAME:
        return token.kind == NAME or (token.kind == WORD and token.text not in _CLAUSES)
    if token.text not in choice and not (
        "pg_temp" in choice and _SESSIONS_OWN.fullmatch(token.text)
    ):
        return False
    # A quoted word is no keyword; before a dot a name is meant.
    return token.kind in (WORD, SYMBOL) or (
        token.kind == NAME and "." in itertools.chain(*following)
    )


def _end_of_head(tokens: Sequence[Token], at: int) -> int:
    for index in range(at, len(tokens)):
        token = tokens[index]
        if (token.kind == SYMBOL and token.text == "(") or (
            token.kind == WORD and token.text in ("as", "for")
        ):
            return index
    return len(tokens)
