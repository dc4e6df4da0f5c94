"""SQL text cut into statements of tokens, by PostgreSQL's own lexical rules.

    for statement in split(text): statement.tokens, statement.size

Source of the rules: PostgreSQL manual, "Lexical Structure" (its scan.l), and for where a statement
ends its gram.y: not inside parentheses, nor inside the BEGIN ATOMIC … END of a function. The time
is linear in the text: no pattern can be made to start over by a hostile one.

Text is bytes decoded as Latin-1: in the encodings that servers have, the bytes that matter here are
ASCII, and the others only ever belong to names and literals.
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
    """One statement of a text: its tokens, and where it stands, comments included."""

    tokens: list[Token]
    start: int
    end: int

    @property
    def size(self) -> int:
        """In bytes, without its semicolon and the spaces around it (PIN-PG-31)."""
        return self.end - self.start


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
        |(?P<number>0[xX][0-9A-Fa-f_]++|0[oO][0-7_]++|0[bB][01_]++
                   |(?:[0-9]++(?:_[0-9]++)*+(?:\.(?!\.)(?:[0-9]++(?:_[0-9]++)*+)?)?|\.[0-9]++)
                    (?:[eE][+-]?[0-9]++)?)
        |(?P<symbol>.)
        """,
        re.VERBOSE | re.DOTALL,
    )


_STANDARD: Final = _pattern(_PLAIN)
_BACKSLASH: Final = _pattern(_ESCAPED)
# PostgreSQL manual, "String Constants": strings that only a line break separates are one. That
# matters where backslashes escape, for the next part is read as the first one was.
_CONTINUATION: Final = re.compile(
    rf"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+{_ESCAPED}(?P<end>')?",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"[ \t\n\r\f\v]*+")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


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
        if kind == "escaped" or (kind == "string" and not standard_conforming_strings):
            token = _continued(text, _token(text, found, kind))
        else:
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
        return Token(WORD, fold(value), start, end)
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


def _continued(text: str, token: Token) -> Token:
    """A string in which backslashes escape, with what continues it on the next lines."""
    while token.kind == LITERAL and (more := _CONTINUATION.match(text, token.end)):
        if not more["end"]:
            return Token(BROKEN, text[token.start :].lower(), token.start, len(text))
        token = Token(LITERAL, text[token.start : more.end()], token.start, more.end())
    return token


def fold(word: str) -> str:
    """A word in lower case, as PostgreSQL reads it: bytes beyond ASCII stay as they are."""
    return word.lower() if word.isascii() else "".join(c.lower() if c < "\x80" else c for c in word)


def _unescape(name: str, escape: str = "\\") -> str:
    """Resolve the escapes of a U& name: a backslash and four digits, or + and six."""

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return escape if code is None else chr(min(int(code, 16), 0x10FFFF))

    mark = re.escape(escape)
    return re.sub(rf"{mark}(?:{mark}|\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}}))", character, name)


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
    begins = depth = 0
    atomic = False
    for token in tokens(text, standard_conforming_strings=standard_conforming_strings):
        if token.kind == SYMBOL:
            if token.text == ";" and not depth and not atomic:
                if current:
                    yield _statement(text, current, begins, token.start)
                current, begins = [], token.end
                continue
            if token.text == "(":
                depth += 1
            elif token.text == ")":
                depth = max(depth - 1, 0)
        elif token.kind == WORD and not depth:
            if token.text == "atomic":
                atomic = atomic or _opens_body(current)
            elif token.text == "end" and atomic:
                # Each statement of a body ends with a semicolon; a CASE has none before its END.
                atomic = current[-1].text not in (";", "atomic")
        elif token.kind == LITERAL and len(current) > 1 and current[-1].text == "uescape":
            current[-2:] = [_with_escape(text, current[-2], token)]
            continue
        current.append(token)
    if current:
        yield _statement(text, current, begins, len(text))


_ROUTINES: Final = frozenset({"function", "procedure"})


def _statement(text: str, found: list[Token], start: int, end: int) -> Statement:
    space = _SPACE.match(text, start)
    start = space.end() if space is not None else start
    return Statement(found, start, start + len(text[start:end].rstrip(" \t\n\r\f\v")))


def _opens_body(before: list[Token]) -> bool:
    """Does ATOMIC here open the body of a routine, whose semicolons are its own?"""
    return (
        len(before) > 1
        and before[-1].text == "begin"
        and before[0].text == "create"
        and any(token.text in _ROUTINES for token in before[1:4])
    )


def _with_escape(text: str, name: Token, escape: Token) -> Token:
    """A U& name whose escapes begin with a character of its own choice: UESCAPE '!'."""
    value = text[name.start : name.end]
    if name.kind == NAME and value[:1] in "uU" and len(escape.text) == 3:
        value = _unescape(value[3:-1].replace('""', '"'), escape.text[1])
        return Token(NAME, value, name.start, escape.end)
    return name
