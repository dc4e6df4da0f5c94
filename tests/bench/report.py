"""Rounds in alternation, medians, and the page that they become."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measures import Failed, Result
from tests.bench.peers import POOL, Peer
from tests.support.imports import ROOT

PAGE = ROOT / "docs" / "reference" / "performance.md"
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


class Report:
    """The tables as they come."""

    def __init__(self, peers: list[Peer], rounds: int, version: str) -> None:
        self._peers = peers
        self._rounds = rounds
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
        self, title: str, measure: Callable[[Peer], Result], *, without_direct: bool = False
    ) -> dict[str, list[Result]]:
        """Measure all peers; returns each one's results by round, and adds the table."""
        peers = self._peers[1:] if without_direct else self._peers
        results: dict[str, list[Result]] = {peer.name: [] for peer in peers}
        failures: dict[str, str] = {}
        for number in range(self._rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                try:
                    results[peer.name].append(measure(peer))
                except Failed as failure:
                    failures[peer.name] = str(failure)
        self._parts.append(table(title, results, failures))
        print(f"\n{self._parts[-1]}", flush=True)
        return results

    def note(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(text + "\n")
        print(f"\n{text}", flush=True)

    def write(self, page: Path = PAGE) -> None:
        """The page."""
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
    values = [result[column] for result in rounds]
    if not any(values):
        return "-"
    text = figure(statistics.median(values))
    ratios = [r[column] / b[column] for r, b in zip(rounds, base, strict=False) if b[column]]
    if name in ("pgbouncer", "direct") or not ratios:
        return text
    return f"{text} ({statistics.median(ratios):.2f})"


def figure(value: float) -> str:
    """Three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
