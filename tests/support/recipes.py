"""The pages of docs/how-to/stop-pinning/, as what a test can run.

A comment above a fenced block says what is expected of it; readers don't see it:

    <!-- pins PIN-PG-10 -->   the program pins, by these rules
    <!-- stays -->            the program does not pin
    <!-- refused -->          the proxy refuses the connection
    <!-- reason -->           what the log says of the pin, or the client is told, of the block above
    <!-- administrator -->    SQL that the superuser runs past the proxy, before the next program
    <!-- proxy -->            a piece of the proxy's configuration, for the next program
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.imports import ROOT

FOLDER = ROOT / "docs" / "how-to" / "stop-pinning"
_BLOCK = re.compile(
    r"^<!-- (?P<kind>\w+)(?: (?P<rules>[\w ,-]+?))? -->\n```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"^<!-- (pins|stays|refused|reason|administrator|proxy)\b", re.MULTILINE)


class Program(NamedTuple):
    """A block that is run, with what belongs to it."""

    page: str
    number: int
    expected: str
    """pins, stays or refused."""

    rules: frozenset[str]
    language: str
    text: str
    reasons: tuple[str, ...]
    administrator: str
    proxy: str

    @property
    def id(self) -> str:
        return f"{self.page}-{self.number}-{self.expected}"


def pages() -> list[Path]:
    """Every page but the index."""
    return sorted(page for page in FOLDER.glob("*.md") if page.stem != "index")


def programs(page: Path) -> list[Program]:
    """The programs of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) == len(_MARK.findall(text)), f"{page}: a comment without a block below it"
    found: list[Program] = []
    before = {"administrator": "", "proxy": ""}
    for block in blocks:
        kind, body = block["kind"], block["text"]
        if kind in before:
            before[kind] = body
        elif kind == "reason":
            found[-1] = found[-1]._replace(reasons=(*found[-1].reasons, body.strip()))
        else:
            rules = frozenset((block["rules"] or "").replace(",", " ").split())
            found.append(
                Program(
                    *(page.stem, len(found) + 1, kind, rules, block["language"], body, ()),
                    **before,
                )
            )
            before = {"administrator": "", "proxy": ""}
    return found
