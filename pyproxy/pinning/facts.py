"""What a statement does, read from its tokens: the questions that rules are asked about.

EXPLAIN ANALYZE does what it explains, EXPLAIN alone only plans it; CREATE TABLE … AS runs a query,
other definitions only mention functions; SQL-level EXECUTE, PREPARE and DEALLOCATE name statements.
Pure, and no grammar: it asks only what a word at a known place decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pyproxy.pinning import commands
from pyproxy.pinning.sql import LITERAL, NAME, SYMBOL, WORD, Token


class Act(NamedTuple):
    """A part of a statement that does something, from its command on."""

    tokens: Sequence[Token]
    # Are functions in it called, or only mentioned?
    runs: bool


class Facts(NamedTuple):
    """What one statement does."""

    acts: tuple[Act, ...] = ()
    # Prepared statements that it names, folded as PostgreSQL does.
    references: tuple[bytes, ...] = ()
    # DEALLOCATE ALL or DISCARD ALL.
    deallocates_all: bool = False


_ONLY_MENTION: Final = commands.first_words(commands.MENTION) - commands.first_words(commands.RUN)
_QUERIES: Final = frozenset({"select", "with", "values", "table"})
_TEMPORARY: Final = frozenset({"temp", "temporary", "unlogged", "global", "local"})
_OFF: Final = frozenset({"false", "off", "0"})
# PostgreSQL's bool.c: any beginning of a word that is no beginning of another.
_TRUE: Final = frozenset({"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})
_BOOLEAN: Final = frozenset({"bool", "boolean"})
_NAMED: Final = (["is_local", "=", ">"], ["is_local", ":", "="])


def read(tokens: Sequence[Token]) -> Facts:
    """The facts of one statement; never raises, whatever the tokens are."""
    start = 0
    while start < len(tokens) and tokens[start].text == "(" and tokens[start].kind == SYMBOL:
        start += 1
    if start == len(tokens):
        return Facts()
    if start:
        tokens = tokens[start:]
    first = word(tokens, 0)
    if first == "explain":
        return _explain(tokens)
    if first == "create":
        return _create(tokens)
    if first == "alter":
        return _alter(tokens)
    acts = (Act(tokens, first not in _ONLY_MENTION),)
    if first in ("execute", "prepare"):
        return Facts(acts, _name(tokens, 1))
    if first == "deallocate":
        at = 2 if word(tokens, 1) == "prepare" and len(tokens) > 2 else 1
        if word(tokens, at) == "all":
            return Facts(acts, deallocates_all=True)
        return Facts(acts, _name(tokens, at))
    return Facts(acts, deallocates_all=first == "discard" and word(tokens, 1) == "all")


def _explain(tokens: Sequence[Token]) -> Facts:
    at, runs = _explain_options(tokens)
    explained = tokens[at:]
    if word(explained, 0) == "declare":
        # It runs the query of a cursor, but opens none.
        explained = explained[_place(explained, "for") + 1 :]
    facts = read(explained)
    if runs:
        return facts
    # It looks a prepared statement up, though, so that has to be there.
    executes = tuple(act for act in facts.acts if word(act.tokens, 0) == "execute")
    return Facts((Act(tokens, runs=False), *executes), facts.references if executes else ())


def _explain_options(tokens: Sequence[Token]) -> tuple[int, bool]:
    """Where the explained statement begins, and whether it runs."""
    at = 1
    runs = False
    if len(tokens) > 1 and tokens[1].text == "(" and word(tokens, 2) not in _QUERIES:
        depth = 0
        for at in range(1, len(tokens)):
            token = tokens[at]
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == SYMBOL else 0
            if token.kind == WORD and token.text in ("analyze", "analyse"):
                value = tokens[at + 1].text.strip("'").lower() if at + 1 < len(tokens) else ""
                runs = value not in _OFF
            if not depth:
                break
        return at + 1, runs
    while word(tokens, at) in ("analyze", "analyse", "verbose"):
        runs = runs or word(tokens, at) != "verbose"
        at += 1
    return at, runs


def _create(tokens: Sequence[Token]) -> Facts:
    """CREATE TABLE … AS and CREATE MATERIALIZED VIEW run a query, unless WITH NO DATA."""
    definition = Act(tokens, runs=False)
    at = 1
    while word(tokens, at) in _TEMPORARY:
        at += 1
    if word(tokens, at) not in ("table", "materialized"):
        return Facts((definition,))
    query = tokens[_place(tokens, "as") + 1 :]
    if not query:
        return Facts((definition,))
    filled = [token.text for token in query[-3:]] != ["with", "no", "data"]
    found = read(query)
    acts = tuple(Act(act.tokens, act.runs and filled) for act in found.acts)
    return Facts((definition, *acts), found.references)


def _alter(tokens: Sequence[Token]) -> Facts:
    """ALTER TABLE … TYPE … USING computes every row anew; all others only define."""
    acts = [Act(tokens, runs=False)]
    if word(tokens, 1) in ("table", "foreign"):
        at = _place(tokens, "using")
        if at < len(tokens):
            acts.append(Act(tokens[at:], runs=True))
    return Facts(tuple(acts))


def is_call(tokens: Sequence[Token], index: int) -> bool:
    """Is a name before a parenthesis a call of PostgreSQL's own function?

    Not after INTO, AS or WITH, where it names a table or its columns; not in another schema.
    """
    if index + 1 >= len(tokens) or tokens[index + 1].text != "(":
        return False
    if tokens[index + 1].kind != SYMBOL or not index:
        return tokens[index + 1].kind == SYMBOL
    before = tokens[index - 1]
    if before.kind == WORD:
        return before.text not in ("into", "as", "with", "recursive")
    return before.text != "." or (index > 1 and tokens[index - 2].text == "pg_catalog")


def ends_with_true(tokens: Sequence[Token], opening: int) -> bool:
    """Is the last of three arguments the literal true? The parenthesis opens at `opening`."""
    depth = commas = 0
    third: list[Token] = []
    for token in tokens[opening:]:
        if token.kind == SYMBOL:
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
            if not depth:
                break
            if token.text == "," and depth == 1:
                commas += 1
                continue
        if commas == 2:
            third.append(token)
    named = [token.text for token in third[:3]]
    return _is_true(third[3:] if named in _NAMED else third)


def _is_true(tokens: Sequence[Token]) -> bool:
    """Is an expression the literal true, in parentheses or with casts, perhaps?"""
    cast = False
    begin, end = 0, len(tokens)
    # However deep: not by recursion.
    while end - begin > 2:
        texts = [token.text for token in (*tokens[begin : begin + 2], *tokens[end - 3 : end])]
        if texts[0] == "(" and texts[-1] == ")":
            begin, end = begin + 1, end - 1
        elif texts[2:4] == [":", ":"] and texts[4] in _BOOLEAN:
            end, cast = end - 3, True
        elif (
            texts[:3] == ["cast", "(", "as"]
            and texts[3] in _BOOLEAN
            and texts[4] == ")"
            and end - begin > 5
        ):
            begin, end, cast = begin + 2, end - 3, True
        else:
            return False
    if end - begin == 2 and word(tokens, begin) in _BOOLEAN and tokens[begin + 1].kind == LITERAL:
        begin += 1
    if end - begin != 1:
        return False
    token = tokens[begin]
    if token.kind != LITERAL:
        return word(tokens, begin) == "true"
    if token.text[:1] != "'":
        return cast and token.text == "1"
    return token.text.strip("'").strip(" \t\n\r\f\v").lower() in _TRUE


def word(tokens: Sequence[Token], index: int) -> str:
    """The keyword at a place, or ""."""
    if index < len(tokens) and tokens[index].kind == WORD:
        return tokens[index].text
    return ""


def _name(tokens: Sequence[Token], index: int) -> tuple[bytes, ...]:
    """The name at a place, as PostgreSQL knows it."""
    if index < len(tokens) and tokens[index].kind in (WORD, NAME):
        return (tokens[index].text.encode("latin-1", "replace"),)
    return ()


def _place(tokens: Sequence[Token], text: str) -> int:
    """Where a keyword stands outside of parentheses; the end if nowhere."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == SYMBOL:
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        elif token.kind == WORD and token.text == text and not depth:
            return index
    return len(tokens)


def is_clause(tokens: Sequence[Token], index: int) -> bool:
    """Is the INTO at a place that of a SELECT? INSERT and MERGE have one too.

    In SELECT insert INTO …, and SELECT 1 insert INTO …, that is a column's name: not reserved.
    """
    if index == 0 or tokens[index - 1].text not in ("insert", "merge"):
        return True
    depth = 0
    for token in reversed(tokens[: index - 1]):
        if token.kind == SYMBOL:
            depth += {")": 1, "(": -1}.get(token.text, 0)
            if depth < 0 or token.text == ";":
                return False
        elif token.kind == WORD and token.text == "select" and not depth:
            return True
    return False
