"""The reference page of the pinning rules, written from the table.

`python -m pyproxy.pinning.reference > docs/reference/pinning-rules.md` renews it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from pyproxy.pinning.rules import RULES, Rule

_HEAD: Final = """\
# Pinning rules

<!-- Written by `python -m pyproxy.pinning.reference`; change `pyproxy/pinning/rules.py`. -->

What keeps a session on its database connection until it ends, by the text of its statements, as RDS
Proxy decides it. *documented*: in AWS's user guide; *observed*: in logs that users have published;
*chosen*: AWS is silent or contradicts itself, and PyProxy takes this side. Contested rows are
switches under [`compatibility:`](configuration.md#compatibility).

`pyproxy explain "SET search_path TO app"` tells which row a statement meets.
"""


def page() -> str:
    """The whole page."""
    pins = [rule for rule in RULES.values() if rule.pins]
    stays = [rule for rule in RULES.values() if not rule.pins]
    return "".join(
        [
            _HEAD,
            "\n## What pins\n\n| Rule | Pins on | Source | How to avoid it |\n",
            "| --- | --- | --- | --- |\n",
            *(f"| {r.id} | {r.matches} | {r.source} | {_cell(r.remedy)} |\n" for r in pins),
            "\n## In which words\n\n",
            "The reason in the log line. `[pyproxy]` marks a wording that is ours, because AWS's\n",
            "is not known.\n\n| Rule | Reason |\n| --- | --- |\n",
            *(f"| {r.id} | `{r.reason}` |\n" for r in pins),
            "\n## What does not pin\n\n| Rule | Stays | Source |\n| --- | --- | --- |\n",
            *_rows(stays),
        ]
    )


def _rows(rules: Iterable[Rule]) -> Iterable[str]:
    return (f"| {rule.id} | {rule.matches} | {rule.source} |\n" for rule in rules)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
