"""The section at the end of a test run: all pins by rule and digest, and in which tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pyproxy.pinning.rules import RULES
from pyproxy.pytest_plugin.pins import NEW, Told, one_line

# So many tests are named under a pin.
NAMED: Final = 3


class Row(NamedTuple):
    """The pins of one rule, digest and verdict."""

    rule: str
    digest: str
    verdict: str
    driver: str
    remedy: str
    why: list[str]
    tests: list[str]
    """One for each pin."""


class Collected:
    """The pins of a whole run, of all workers."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Row] = {}

    def add(self, test: str, told: Iterable[Told]) -> None:
        """Pins of a test."""
        for pin in told:
            key = (pin["rule"], pin["digest"], pin["verdict"])
            row = self._rows.setdefault(key, Row(*key, pin["driver"], pin["remedy"], [], []))
            row.tests.append(test)
            if pin["why"] and pin["why"] not in row.why:
                row.why.append(pin["why"])

    def pins(self) -> list[tuple[str, str]]:
        """Rule and digest of each."""
        return [(rule, digest) for rule, digest, _ in self._rows]

    def lines(self, width: int) -> Iterator[str]:
        """The section; nothing if nothing was pinned."""
        rows = sorted(
            self._rows.values(),
            key=lambda row: (row.verdict != NEW, -len(row.tests), row.rule, row.digest),
        )
        if not rows:
            return
        total = sum(len(row.tests) for row in rows)
        new = sum(len(row.tests) for row in rows if row.verdict == NEW)
        tests = len({test for row in rows for test in row.tests})
        yield f"pins: {total}, of which new: {new}; tests that pinned: {tests}"
        for row in rows:
            yield ""
            yield f"{row.rule}  {row.verdict}, {len(row.tests)} x  {RULES[row.rule].matches}"
            yield f"  {one_line(row.digest, max(width - 2, 20))}"
            if row.driver:
                yield f"  driver  {row.driver}"
            for why in row.why:
                yield f"  reason  {why}"
            yield from _tests(row.tests)
            if row.verdict == NEW:
                yield f"  remedy  {row.remedy}"


def _tests(tests: list[str]) -> Iterator[str]:
    counted = {test: tests.count(test) for test in dict.fromkeys(tests)}
    for test, count in list(counted.items())[:NAMED]:
        yield f"  test    {test}" + (f", {count} x" if count > 1 else "")
    if len(counted) > NAMED:
        yield f"  test    … and {len(counted) - NAMED} more"
