"""The digest of a text, as RDS Proxy's log shows it (LG-05).

    set search_path to "$user", public   ->   set search_path to $1, $2

Lower case, spaces collapsed, literals replaced by $1, $2, …; in a SET the values too, whatever
they look like, and anywhere what begins as a literal, a name or a comment and never ends.
"""

from __future__ import annotations

import re
from typing import Final

from pyproxy.pinning import sql

# Long enough to recognise a statement by; a log line has room for it.
LIMIT: Final = 1_000

_VALUES_FOLLOW: Final = frozenset({"to", "=", "names", "zone", "level", "role"})
_VALUES: Final = (sql.LITERAL, sql.PARAMETER, sql.BROKEN)
# A statement with such a word may carry a secret as a value.
_SECRETIVE: Final = re.compile(
    r"passw|passphrase|\bpwd\b|secret|token|credential|api_?key|private_?key|jwt", re.IGNORECASE
)


def disclosed(text: str, *, standard_conforming_strings: bool = True) -> str:
    """A statement as people may read it: its digest if it speaks of a secret (invariant 9)."""
    if _SECRETIVE.search(text) is None:
        return text
    return digest(text, standard_conforming_strings=standard_conforming_strings)


def digest(text: str, *, standard_conforming_strings: bool | None = True) -> str:
    """The digest of a whole text, however many statements it has.

    None: it is not known what a backslash does, so nothing from the first one on is shown.
    """
    if standard_conforming_strings is None:
        text, standard_conforming_strings = text.partition("\\")[0], True
    parts: list[str] = []
    number = length = 0
    end = -1
    setting = in_values = levels = False
    starts = True
    for token in sql.tokens(text, standard_conforming_strings=standard_conforming_strings):
        if starts:
            setting, in_values = token.text == "set", False
        starts = token.text == ";" and token.kind == sql.SYMBOL
        value = token.kind in _VALUES or (in_values and token.kind in (sql.WORD, sql.NAME))
        if value:
            number += 1
            word = f"${number}"
        else:
            word = sql.fold(text[token.start : token.end])
        if setting and token.kind in (sql.WORD, sql.SYMBOL) and not in_values:
            in_values = token.text in _VALUES_FOLLOW
            levels = in_values and token.text == "level"
        elif value and setting and levels:
            # `isolation level $1 uncommitted`: only the first word, as was seen.
            in_values = False
        if end >= 0 and token.start > end:
            parts.append(" ")
            length += 1
        end = token.end
        parts.append(word)
        length += len(word)
        if length >= LIMIT:
            break
    return "".join(parts)[:LIMIT]


def readable(text: str) -> str:
    """Bytes that were read as Latin-1, as people write them; most clients speak UTF-8."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode(errors="replace")
