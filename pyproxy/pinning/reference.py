"""The reference page of the pinning rules, written from the table.

`python -m pyproxy.pinning.reference > docs/reference/pinning-rules.md` renews it; a test compares.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from pyproxy.pinning.commands import MENTION, RUN
from pyproxy.pinning.notes import NOTES
from pyproxy.pinning.rule import Note, Rule
from pyproxy.pinning.rules import RULES

_HEAD: Final = """\
# Pinning rules

<!-- Written by `python -m pyproxy.pinning.reference`; change `pyproxy/pinning/rules.py`. -->

What keeps a session on its database connection until it ends, by the text of its statements, as
RDS Proxy decides it. *documented*: in AWS's own documents; *observed*: in logs that users have
published; *chosen*: AWS is silent or contradicts itself, and PyProxy takes this side. Contested
rows name their switch under [`compatibility:`](configuration.md#compatibility).

`pyproxy explain "SET search_path TO app"` tells which row a statement meets.
"""
_WORDS: Final = """
## In which words

The reason in the log line. `[pyproxy]` marks a wording that is ours, because AWS's is not known.

| Rules | Reason |
| --- | --- |
"""
_STATEMENTS: Final = """
## Every statement of PostgreSQL 17

Functions count anywhere in the text of a statement that runs them: in a subquery, a common table
expression, a `RETURNING`, the query of a `COPY` or of a `CREATE TABLE … AS`. `EXPLAIN ANALYZE`
runs what it explains. Text that PostgreSQL cannot parse is judged by its words, and PostgreSQL's
own error reaches the client.
"""


def page() -> str:
    """The whole page."""
    pins = [rule for rule in RULES.values() if rule.pins]
    switched = [rule for rule in RULES.values() if rule.reason and not rule.pins]
    stays = [rule for rule in RULES.values() if not rule.reason]
    avoid = "\n| Rule | Pins on | Source | How to avoid it |\n| --- | --- | --- | --- |\n"
    return "".join(
        [
            _HEAD,
            f"\n## What pins\n{avoid}",
            *map(_row_of_pin, pins),
            f"\n## What pins by a switch\n{avoid}",
            *map(_row_of_pin, switched),
            "\n## What does not pin\n\n| Rule | Stays | Source |\n| --- | --- | --- |\n",
            *(f"| {rule.id} | {_cell(rule.matches)} | {_source(rule)} |\n" for rule in stays),
            "\n## How the rules are applied\n\n| Rule | Means | Source |\n| --- | --- | --- |\n",
            *(f"| {note.id} | {_cell(note.says)} | {_source(note)} |\n" for note in NOTES),
            _WORDS,
            *_reasons(),
            _STATEMENTS,
            _commands("They run the functions in their text", RUN),
            _commands("They mention functions at most, for later", MENTION),
        ]
    )


def _row_of_pin(rule: Rule) -> str:
    remedy = f"{rule.advice}: `{rule.ready}`" if rule.ready else f"{rule.advice}."
    matches = f"{rule.matches} (`{rule.switch}`)" if rule.switch else rule.matches
    return f"| {rule.id} | {_cell(matches)} | {_source(rule)} | {_cell(remedy)} |\n"


def _source(row: Rule | Note) -> str:
    return _cell(f"*{row.source.kind}*: {row.source.where}")


def _reasons() -> Iterator[str]:
    """Each reason once, with the rules that give it."""
    for reason in dict.fromkeys(rule.reason for rule in RULES.values() if rule.reason):
        ids = ", ".join(rule.id for rule in RULES.values() if rule.reason == reason)
        yield f"| {ids} | `{_cell(reason)}` |\n"


def _commands(title: str, commands: Iterable[str]) -> str:
    names = ", ".join(f"`{command}`" for command in sorted(commands))
    return f"\n**{title}**\n\n" + "\n".join(textwrap.wrap(names, 98)) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
