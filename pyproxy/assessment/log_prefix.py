"""`log_line_prefix`: the format string of PostgreSQL's log, turned into a pattern.

Source: PostgreSQL manual, "Error Reporting and Logging", log_line_prefix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# What each escape looks like; the named ones are read.
_ESCAPES: Final = {
    "t": r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: [A-Za-z0-9+:-]+)?)",
    "m": r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}(?: [A-Za-z0-9+:-]+)?)",
    "n": r"(?P<epoch>\d+\.\d{3})",
    "p": r"(?P<pid>\d+)",
    "u": r"(?P<user>.*?)",
    "d": r"(?P<database>.*?)",
    "a": r"(?P<application>.*?)",
    "c": r"(?P<session>[0-9a-f]+\.[0-9a-f]+)",
    "r": r"(?:\S*?)",
    "h": r"(?:\S*?)",
    "L": r"(?:\S*?)",
    "e": r"(?:[0-9A-Z]{5})",
    "i": r"(?:.*?)",
    "b": r"(?:.*?)",
    "l": r"(?:\d+)",
    "s": r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: \S+)?)",
    "v": r"(?:\d+/\d+)?",
    "x": r"(?:\d+)",
    "P": r"(?:\d*)",
    "Q": r"(?:-?\d+)",
}
# Tried where nothing is said: RDS's, Debian's with and without application (PostgreSQL's own is one
# of them), log analysers'.
KNOWN: Final = (
    "%t:%r:%u@%d:[%p]:",
    "%m [%p] %q%u@%d/%a ",
    "%m [%p] %q%u@%d ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
)
_SEVERITY: Final = r"(?P<severity>[A-Z]+[0-9]?):  (?P<message>.*)"


def pattern(prefix: str) -> re.Pattern[str]:
    """The pattern of a whole line; raises ValueError for an escape that PostgreSQL lacks."""
    parts: list[str] = []
    optional = ""
    names: set[str] = set()
    position = 0
    while position < len(prefix):
        character = prefix[position]
        position += 1
        if character != "%":
            parts.append(re.escape(character))
            continue
        # A number after % pads.
        digits = re.compile(r"-?\d*").match(prefix, position)
        assert digits is not None
        position = digits.end()
        escape = prefix[position : position + 1]
        position += 1
        if escape == "%":
            parts.append("%")
        elif escape == "q":
            # Processes without a session stop here.
            optional = optional or "(?:"
            parts.append(optional)
        elif escape in _ESCAPES:
            parts.append(_once(_ESCAPES[escape], names) + (r"\s*" if digits.group() else ""))
        else:
            raise ValueError(f"log_line_prefix has no %{escape}")
    return re.compile("".join(parts) + (")?" if optional else "") + _SEVERITY, re.DOTALL)


def _once(escape: str, names: set[str]) -> str:
    """A group's name may stand once in a pattern."""
    name = re.match(r"\(\?P<(\w+)>", escape)
    if name is None:
        return escape
    if name[1] in names:
        return "(?:" + escape[name.end() :]
    names.add(name[1])
    return escape


def guess(lines: Sequence[str]) -> re.Pattern[str]:
    """The known prefix that most of these lines have; the one that tells most, if several do."""
    patterns = [pattern(prefix) for prefix in KNOWN]
    matches = [sum(p.match(line) is not None for line in lines) for p in patterns]
    return patterns[matches.index(max(matches))]
