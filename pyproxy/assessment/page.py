"""The report as one HTML page, with nothing to load: to attach to a ticket, or to print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid #8884 }
table { display: block; overflow-x: auto }
code { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
"""
_CODE: Final = re.compile(r"(`+)(.+?)\1")


def html(markdown: str) -> str:
    """The page of a report in the Markdown that `report` writes: headings, lists, tables, code."""
    title = markdown.partition("\n")[0].removeprefix("# ")
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n"
        + "\n".join(_blocks(markdown.splitlines()))
        + "\n</html>\n"
    )


def _blocks(lines: list[str]) -> Iterator[str]:
    closing = ""
    head = False
    for line in lines:
        kind = "table" if line.startswith("|") else "ul" if line.startswith("- ") else ""
        if closing and closing != f"</{kind}>":
            yield closing
            closing = ""
        if kind and not closing:
            yield f"<{kind}>"
            closing, head = f"</{kind}>", True
        if kind == "table":
            if set(line) <= set("|- "):
                continue
            yield _row(line, "th" if head else "td")
            head = False
        elif kind == "ul":
            yield f"<li>{_inline(line[2:])}"
        elif line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            yield f"<h{level}>{_inline(line.lstrip('# '))}</h{level}>"
        elif line:
            yield f"<p>{_inline(line)}"
    if closing:
        yield closing


def _row(line: str, cell: str) -> str:
    cells = re.split(r"(?<!\\)\|", line.strip("|"))
    return "<tr>" + "".join(f"<{cell}>{_inline(c.strip())}" for c in cells)


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\2</code>", escape(text.replace("\\|", "|"), quote=False))
