"""Rounds in alternation, medians, and the page that they become."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measures import Failed, Result
from tests.bench.peers import POOL, Peer
from tests.support.imports import ROOT

Results = dict[str, list[Result]]
"""By the name of the peer, a result for each round."""

BUILDS = ("plain", "compiled")
PAGE = ROOT / "docs" / "reference" / "performance.md"
INTRODUCTION = """\
# Performance

<!-- Written by `make bench`. -->

What a query, a login and an idle client cost, beside PgBouncer and a direct connection, on one
machine in one run: {machine}.

Every row is measured in rounds, the peers in turn and in turn backwards, so that what else the
machine does hits all alike. Shown is the median of {rounds} and, in brackets, the median of
the rounds' ratios to {rivals}. Prefer the ratios: absolute figures are this machine's. CPU is user
and system time of the peer's processes; *plain* is the interpreted build, *compiled* the same
files through mypyc (`make compile`, and in the container image). Pool {pool}, SCRAM clients, no TLS
unless said; PgBouncer in transaction mode. It keeps passwords in clear text here, so it derives
SCRAM keys at each login. Prepared statements it has from 1.21 on; an older one is asked by the
extended protocol in their place.
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

    def verdicts(self, results: Results, rivals: list[str]) -> Iterator[str]:
        """Whether the builds meet it, in words: beside each PgBouncer where it is about that."""
        builds = {build: results[build] for build in BUILDS if build in results}
        for rival in rivals if self.to_pgbouncer else ("",):
            told = []
            for build, rounds in builds.items():
                base = results.get(rival)
                values = (
                    _of(rounds, self.column) if base is None else ratios(rounds, base, self.column)
                )
                told.append(self._verdict(build, values))
            beside = f", to {rival}" if rival else ""
            yield f"Goal for {self.column}{beside}: {', '.join(filter(None, told))}."

    def _verdict(self, build: str, values: list[float]) -> str:
        if not values:
            return ""
        goal = self.compiled if build == "compiled" else self.plain
        value = statistics.median(values)
        met = value >= goal if self.least else value <= goal
        sign = ">=" if self.least else "<="
        return f"{build} {sign} {goal:g}: {'met' if met else 'missed'}"


class Report:
    """The tables as they come; with `only`, of those whose title it finds, and no page."""

    def __init__(self, peers: list[Peer], rounds: int, only: str = "") -> None:
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
                rivals=" and ".join(rivals_among(peer.name for peer in peers)),
            )
        ]

    def compare(
        self,
        title: str,
        measure: Callable[[Peer], Result],
        *goals: Goal,
        without_direct: bool = False,
        among: list[Peer] | None = None,
    ) -> Results:
        """Measure all peers, or those `among`; returns the results by round, and adds the table."""
        if not re.search(self._only, title):
            return {}
        peers = among or (self._peers[1:] if without_direct else self._peers)
        results: Results = {peer.name: [] for peer in peers}
        failures: dict[str, str] = {}
        for number in range(self._rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                try:
                    results[peer.name].append(measure(peer))
                except Failed as failure:
                    failures[peer.name] = str(failure)
        part = table(title, results, failures)
        for goal in goals:
            for verdict in goal.verdicts(results, rivals_among(results)):
                part += f"\n{verdict}\n"
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


def rivals_among(names: Iterable[str]) -> list[str]:
    """Who the builds are compared with."""
    return [name for name in names if name.startswith("PgBouncer")]


def table(title: str, results: Results, failures: dict[str, str]) -> str:
    """One measurement of all peers, in Markdown."""
    columns = list(next((rounds[0] for rounds in results.values() if rounds), {}))
    rivals = [results[name] for name in rivals_among(results)]
    lines = [
        f"## {title}",
        "",
        f"| | {' | '.join(columns)} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, rounds in results.items():
        bases = rivals if name in BUILDS else []
        cells = [cell(rounds, bases, column) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"\n{name}: {why}" for name, why in failures.items()]
    return "\n".join(lines) + "\n"


def cell(rounds: list[Result], bases: list[list[Result]], column: str) -> str:
    """The median, and the ratio to that of each one in `bases`."""
    values = _of(rounds, column)
    if not any(values):
        return "-"
    text = figure(statistics.median(values))
    compared = [found for base in bases if (found := ratios(rounds, base, column))]
    if not compared:
        return text
    return f"{text} ({', '.join(f'{statistics.median(found):.2f}' for found in compared)})"


def ratios(rounds: list[Result], base: list[Result], column: str) -> list[float]:
    """Of each round, to the figure of the same one in `base`."""
    return [r[column] / b[column] for r, b in zip(rounds, base, strict=False) if b[column]]


def _of(rounds: list[Result], column: str) -> list[float]:
    return [result[column] for result in rounds]


def figure(value: float) -> str:
    """Three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
