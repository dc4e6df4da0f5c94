"""Rounds in alternation, medians, and the page that they become."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measures import Failed, Result
from tests.bench.peers import POOL, Peer
from tests.support.imports import ROOT

PAGE = ROOT / "docs" / "reference" / "performance.md"
# Who is compared with, and has no goals.
OTHERS = ("direct", "pgbouncer")
INTRODUCTION = """\
# Performance

<!-- Written by `make bench`. -->

What a query, a login and an idle client cost, beside PgBouncer and a direct connection, on one
machine in one run: {machine}.

Every row is measured in rounds, the peers in turn and in turn backwards, so that what else the
machine does hits all alike. Shown is the median of {rounds} and, in brackets, the median of
the rounds' ratios to PgBouncer. Prefer the ratios: absolute figures are this machine's. CPU is user
and system time of the peer's processes; *plain* is the interpreted build, *compiled* the same
files through mypyc (`make compile`, and in the container image). Pool {pool}, SCRAM clients, no TLS
unless said; PgBouncer {version} in transaction mode. PgBouncer keeps passwords in clear text here, so it derives
SCRAM keys at each login; it has prepared statements from 1.21 on only.
"""


@dataclass(frozen=True)
class Goal:
    """What a column of a measurement should be, for each build."""

    column: str
    least: bool
    """Is it the least that it should be, or the most?"""

    plain: float
    compiled: float
    to_pgbouncer: bool = True
    """Is it the ratio to PgBouncer's, or the figure itself?"""

    def __str__(self) -> str:
        return f"Goal for {self.column}" + (", to PgBouncer's" if self.to_pgbouncer else "")

    def verdict(self, build: str, rounds: list[Result], base: list[Result]) -> str:
        """Whether a build meets it, in words."""
        goal = self.compiled if build == "compiled" else self.plain
        values = (
            ratios(rounds, base, self.column) if self.to_pgbouncer else _of(rounds, self.column)
        )
        if not values:
            return ""
        value = statistics.median(values)
        met = value >= goal if self.least else value <= goal
        sign = ">=" if self.least else "<="
        return f"{build} {sign} {goal:g}: {'met' if met else 'missed'}"


class Report:
    """The tables as they come; with `only`, of those whose title it finds, and no page."""

    def __init__(self, peers: list[Peer], rounds: int, version: str, only: str = "") -> None:
        self._peers = peers
        self._rounds = rounds
        self._only = only
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        self._parts = [
            INTRODUCTION.format(
                machine=f"{machine}, {datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.0f}",
                rounds=f"{rounds} round{'s' if rounds > 1 else ''}",
                pool=POOL,
                version=version,
            )
        ]

    def compare(
        self,
        title: str,
        measure: Callable[[Peer], Result],
        *goals: Goal,
        without_direct: bool = False,
        among: list[Peer] | None = None,
    ) -> dict[str, list[Result]]:
        """Measure all peers, or those `among`; returns the results by round, and adds the table."""
        if not re.search(self._only, title):
            return {}
        peers = among or (self._peers[1:] if without_direct else self._peers)
        results: dict[str, list[Result]] = {peer.name: [] for peer in peers}
        failures: dict[str, str] = {}
        for number in range(self._rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                try:
                    results[peer.name].append(measure(peer))
                except Failed as failure:
                    failures[peer.name] = str(failure)
        part = table(title, results, failures)
        base = results["pgbouncer"]
        for goal in goals:
            verdicts = [goal.verdict(n, results[n], base) for n in results if n not in OTHERS]
            part += f"\n{goal}: {', '.join(filter(None, verdicts))}.\n"
        self._parts.append(part)
        print(f"\n{self._parts[-1]}", flush=True)
        return results

    def note(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(text + "\n")
        print(f"\n{text}", flush=True)

    def write(self, page: Path = PAGE) -> None:
        """The page, if all was measured."""
        if not self._only:
            page.write_text("\n".join(self._parts), encoding="utf-8")


def table(title: str, results: dict[str, list[Result]], failures: dict[str, str]) -> str:
    """One measurement of all peers, in Markdown."""
    columns = list(next((rounds[0] for rounds in results.values() if rounds), {}))
    base = results.get("pgbouncer", [])
    lines = [
        f"## {title}",
        "",
        f"| | {' | '.join(columns)} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, rounds in results.items():
        cells = [cell(rounds, base, column, name) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"\n{name}: {why}" for name, why in failures.items()]
    return "\n".join(lines) + "\n"


def cell(rounds: list[Result], base: list[Result], column: str, name: str) -> str:
    """The median, and the ratio to PgBouncer's."""
    values = _of(rounds, column)
    if not any(values):
        return "-"
    text = figure(statistics.median(values))
    compared = ratios(rounds, base, column)
    if name in OTHERS or not compared:
        return text
    return f"{text} ({statistics.median(compared):.2f})"


def ratios(rounds: list[Result], base: list[Result], column: str) -> list[float]:
    """Of each round, to PgBouncer's figure of the same one."""
    return [r[column] / b[column] for r, b in zip(rounds, base, strict=False) if b[column]]


def _of(rounds: list[Result], column: str) -> list[float]:
    return [result[column] for result in rounds]


def figure(value: float) -> str:
    """Three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
