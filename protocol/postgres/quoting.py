"""Text made safe inside SQL: the only place where the proxy quotes (lessons of other poolers).

    f"SET search_path TO {literal(value)}"        f"LISTEN {identifier(channel)}"

The result is safe under both values of `standard_conforming_strings`, and for the text as one
string: encode it as a whole, to the encoding that the server expects. PostgreSQL converts a query
to its own encoding before it reads it, so a multi-byte character cannot hide a quote.
"""

from __future__ import annotations


def literal(text: str) -> str:
    r"""A string literal: 'it''s', or  E'C:\\temp' as soon as there is a backslash.

    As libpq's PQescapeLiteral has it, with a space before the E, so that it cannot grow onto a
    word before it. Raises ValueError for a NUL and for what no encoding can hold.
    """
    _check(text)
    doubled = text.replace("'", "''")
    if "\\" not in doubled:
        return f"'{doubled}'"
    return " E'" + doubled.replace("\\", "\\\\") + "'"


def identifier(text: str) -> str:
    """A quoted identifier, taken literally: "Table" stays "Table".

    Raises ValueError for a NUL, for what no encoding can hold, and for the empty text, which
    PostgreSQL does not allow as a name.
    """
    _check(text)
    if not text:
        raise ValueError("an SQL identifier cannot be empty")
    return '"' + text.replace('"', '""') + '"'


def _check(text: str) -> None:
    if "\0" in text:
        raise ValueError("a NUL character cannot be part of SQL text")
    # A lone surrogate stands for a byte that was not UTF-8. Sent as that byte it could swallow
    # the quote behind it in some encodings: CVE-2025-1094.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("text that is not Unicode cannot be part of SQL text")
