"""A pin that a test run has caused, and how it is told."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Final, NamedTuple, TypedDict

from pyproxy.pinning.habits import recognise
from pyproxy.pinning.rules import RULES

# What of a statement fits on a line of a report.
SHOWN: Final = 160
WIDTH: Final = 96

NEW: Final = "new"
ALLOWED: Final = "allowed"
KNOWN: Final = "known"


class Told(TypedDict):
    """A pin as it travels with a test's report, from a worker of xdist too."""

    rule: str
    digest: str
    driver: str
    remedy: str
    verdict: str
    """NEW, ALLOWED or KNOWN."""

    why: str
    """The reason that was given for allowing it."""


class Pin(NamedTuple):
    """One session that was pinned."""

    rule: str
    reason: str
    digest: str
    statement: str
    number: int = 0
    """Which statement of its session it was, counted from 1."""

    application_name: str = ""
    driver: str = ""
    """The proxy's guess."""

    @classmethod
    def of_line(cls, line: dict[str, object]) -> Pin | None:
        """The pin of a line of the proxy's log; None for other lines."""
        if "rule" not in line or "digest" not in line:
            return None
        number = line.get("statement_number")
        return cls(
            rule=str(line["rule"]),
            reason=str(line["message"]).partition("Reason: ")[2],
            digest=str(line["digest"]),
            statement=str(line.get("statement", "")),
            number=number if isinstance(number, int) else 0,
            application_name=str(line.get("application_name", "")),
            driver=str(line.get("driver", "")),
        )

    def told(self, verdict: str, why: str) -> Told:
        """In short, for the report of its test."""
        habit = recognise(self.digest, self.statement)
        return Told(
            rule=self.rule,
            digest=self.digest,
            driver=self.driver if habit is None else habit.driver,
            remedy=RULES[self.rule].remedy if habit is None else habit.remedy,
            verdict=verdict,
            why=why,
        )

    def words(self) -> str:
        """Everything there is to know, on a few lines."""
        rule = RULES[self.rule]
        whose = "PyProxy's wording; AWS's is not known" if rule.ours else "AWS's wording"
        fields = [
            ("statement", one_line(self.statement, SHOWN)),
            ("", f"the session's statement number {self.number}" if self.number else ""),
            ("reason", self.reason),
            ("", f"({whose}; {rule.source})"),
            ("remedy", rule.remedy),
        ]
        habit = recognise(self.digest, self.statement)
        if habit is not None:
            fields += [
                ("driver", f"{habit.driver}: {habit.when}"),
                ("", habit.remedy),
                ("", f"docs/how-to/stop-pinning/{habit.page}.md"),
            ]
        elif self.driver or self.application_name:
            fields.append(
                ("driver", self.driver or f"unknown; application_name {self.application_name!r}")
            )
        lines = [f"{rule.id}: {rule.matches}"]
        for label, text in fields:
            lines += _field(label, text)
        return "\n".join(lines)


def _field(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:<11}",
        subsequent_indent=" " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )


def distinct(pins: Iterable[Pin]) -> list[tuple[Pin, int]]:
    """The first pin of each rule and digest, and how many there were, in order of appearance."""
    found: dict[tuple[str, str], tuple[Pin, int]] = {}
    for pin in pins:
        key = (pin.rule, pin.digest)
        first, count = found.get(key, (pin, 0))
        found[key] = (first, count + 1)
    return list(found.values())


def complaint(pins: Iterable[Pin]) -> str:
    """Why a test fails."""
    several = distinct(pins)
    count = sum(times for _, times in several)
    first = several[0][0]
    statement = one_line(first.statement, SHOWN)
    parts = [f"pinned by {first.rule}: {statement}" + (f" (and {count - 1} more)" * (count > 1))]
    for pin, times in several:
        parts.append(pin.words() + (f"\n  times      {times}" if times > 1 else ""))
    rules = ", ".join(f'"{rule}"' for rule in dict.fromkeys(pin.rule for pin, _ in several))
    parts.append(f'If it has to be: @pytest.mark.allow_pins({rules}, reason="\u2026")')
    return "\n\n".join(parts)


def one_line(text: str, width: int) -> str:
    """A text that fits, whatever was in it."""
    return textwrap.shorten(re.sub(r"\s+", " ", text), width, placeholder=" \u2026")
