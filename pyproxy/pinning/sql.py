"""SQL text cut into statements of tokens, by PostgreSQL's own lexical rules.

    for statement in split(text): statement.tokens, statement.size

Source of the rules: PostgreSQL manual, "Lexical Structure" (its scan.l), and for where a statement
ends psql's psqlscan.l: not inside parentheses, nor inside the BEGIN ATOMIC … END of a function.
Every byte is looked at once: no pattern can be made to look twice by a hostile text.

Text is bytes decoded as Latin-1: in every encoding that PostgreSQL has for clients the bytes that
matter here are ASCII, and the others only ever belong to names and literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

# Kinds of tokens.
WORD: Final = 1  # an unquoted name or a keyword; its text is folded to lower case
NAME: Final = 2  # a quoted name, unquoted
LITERAL: Final = 3  # a string or a number
PARAMETER: Final = 4  # $1
SYMBOL: Final = 5  # one character of punctuation or an operator
BROKEN: Final = 6  # the rest of a text with a quote or a comment that never ends


class Token(NamedTuple):
    """A token and where it stands in the text."""

    kind: int
    text: str
    start: int
    end: int


class Statement(NamedTuple):
    """The tokens of one statement, without its semicolon, and its size in bytes."""

    tokens: list[Token]
    size: int


_IDENTIFIER: Final = r"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+"
_PLAIN: Final = r"'(?:[^']|'')*+"
_ESCAPED: Final = r"'(?:[^'\\]|''|\\.)*+"


def _pattern(quoted: str) -> re.Pattern[str]:
    """The tokens; `quoted` is how an ordinary string ends."""
    return re.compile(
        rf"""
        (?P<space>[ \t\n\r\f\v]++|--[^\n\r]*+)
        |(?P<comment>/\*)
        |(?P<escaped>[eE]{_ESCAPED}(?P<escaped_end>')?)
        |(?P<unicode>[uU]&{_PLAIN}(?P<unicode_end>')?)
        |(?P<bits>[bBxX]{_PLAIN}(?P<bits_end>')?)
        |(?P<string>[nN]?{quoted}(?P<string_end>')?)
        |(?P<unicode_name>[uU]&"(?:[^"]|"")*+(?P<unicode_name_end>")?)
        |(?P<name>"(?:[^"]|"")*+(?P<name_end>")?)
        |(?P<word>{_IDENTIFIER})
        |(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$)
        |(?P<parameter>\$[0-9]++)
        |(?P<number>(?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?
                    [A-Za-z0-9_]*+)
        |(?P<symbol>.)
        """,
        re.VERBOSE | re.DOTALL,
    )


_STANDARD: Final = _pattern(_PLAIN)
_BACKSLASH: Final = _pattern(_ESCAPED)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_UNICODE_ESCAPE: Final = re.compile(r"\\(?:\\|\+([0-9A-Fa-f]{6})|([0-9A-Fa-f]{4}))")


def tokens(text: str, *, standard_conforming_strings: bool = True) -> Iterator[Token]:
    """The tokens of a text, without spaces and comments."""
    match = (_STANDARD if standard_conforming_strings else _BACKSLASH).match
    position, size = 0, len(text)
    while position < size:
        found = match(text, position)
        assert found is not None  # the last alternative takes anything
        kind = found.lastgroup or ""
        start, position = position, found.end()
        if kind == "space":
            continue
        if kind == "comment":
            position = _end_of_comment(text, position)
            if position < 0:
                yield Token(BROKEN, text[start:].lower(), start, size)
                return
            continue
        token = _token(text, found, kind)
        yield token
        if token.kind == BROKEN:
            return
        position = token.end


def _token(text: str, found: re.Match[str], kind: str) -> Token:
    start, end = found.span()
    value = found.group()
    if kind == "word":
        # PostgreSQL folds ASCII only, in every encoding of more than one byte.
        return Token(WORD, _fold(value), start, end)
    if kind == "symbol":
        return Token(SYMBOL, value, start, end)
    if kind == "parameter":
        return Token(PARAMETER, value, start, end)
    if kind == "number":
        return Token(LITERAL, value, start, end)
    if kind == "dollar":
        closing = text.find(value, end)
        if closing >= 0:
            return Token(LITERAL, "", start, closing + len(value))
    elif found[f"{kind}_end"]:
        if kind == "name":
            return Token(NAME, value[1:-1].replace('""', '"'), start, end)
        if kind == "unicode_name":
            return Token(NAME, _unescape(value[3:-1].replace('""', '"')), start, end)
        return Token(LITERAL, value, start, end)
    return Token(BROKEN, text[start:].lower(), start, len(text))


def _fold(word: str) -> str:
    return word.lower() if word.isascii() else "".join(c.lower() if c < "\x80" else c for c in word)


def _unescape(name: str) -> str:
    """Resolve the escapes of a U& name: a backslash and four digits, or + and six."""

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return "\\" if code is None else chr(min(int(code, 16), 0x10FFFF))

    return _UNICODE_ESCAPE.sub(character, name)


def _end_of_comment(text: str, position: int) -> int:
    """The end of a comment whose opening was read; comments nest. -1: it never ends."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return -1


def split(text: str, *, standard_conforming_strings: bool = True) -> Iterator[Statement]:
    """The statements of a text; empty ones are left out."""
    current: list[Token] = []
    depth = atomic = 0
    for token in tokens(text, standard_conforming_strings=standard_conforming_strings):
        if token.kind == SYMBOL:
            if token.text == ";" and not depth and not atomic:
                if current:
                    yield Statement(current, current[-1].end - current[0].start)
                current = []
                continue
            if token.text == "(":
                depth += 1
            elif token.text == ")":
                depth = max(depth - 1, 0)
        elif token.kind == WORD and token.text in _BLOCKS:
            atomic = _nesting(current, token.text, atomic)
        current.append(token)
    if current:
        yield Statement(current, current[-1].end - current[0].start)


_BLOCKS: Final = frozenset({"begin", "atomic", "case", "end"})
_ROUTINES: Final = frozenset({"function", "procedure"})


def _nesting(before: list[Token], word: str, atomic: int) -> int:
    """How deep in BEGIN ATOMIC … END blocks, and CASE … END inside of them, a word leads."""
    if word == "atomic":
        opens = len(before) > 1 and before[-1].text == "begin" and before[0].text == "create"
        return 1 if opens and any(t.text in _ROUTINES for t in before[1:4]) else atomic
    if atomic and word == "case":
        return atomic + 1
    if atomic and word == "end":
        return atomic - 1
    return atomic
