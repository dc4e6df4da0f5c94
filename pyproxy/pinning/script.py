r"""A file of SQL as psql would send it: without its own commands, and without the data of a COPY.

What is left out becomes spaces, so that lines and columns stay what they are.
"""

from __future__ import annotations

import re
from typing import Final

_COMMAND: Final = re.compile(r"\\[A-Za-z!?;]")
_COPY_FROM_STDIN: Final = re.compile(r"\bcopy\b.*\bfrom\s+stdin\b[^']*;\s*(--.*)?$", re.IGNORECASE)


def sendable(text: str) -> str:
    r"""The text less what psql keeps to itself: \connect and its kind, data up to \."""
    lines = text.split("\n")
    copying = False
    for number, line in enumerate(lines):
        if copying:
            copying = line.rstrip("\r") != "\\."
            lines[number] = " " * len(line)
        elif _COMMAND.match(line):
            lines[number] = " " * len(line)
        else:
            copying = _COPY_FROM_STDIN.search(line) is not None
    return "\n".join(lines)
