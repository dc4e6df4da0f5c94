"""An assessment in words: Markdown, and the same facts as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pyproxy.assessment.advice import Advice
from pyproxy.assessment.judgement import Assessment, Finding, drivers
from pyproxy.assessment.scenarios import Outcome

# Rows of a table; what is beyond is counted.
ROWS: Final = 20


def markdown(assessment: Assessment, advice: Advice, outcomes: Sequence[Outcome]) -> str:
    """The whole report."""
    return "\n".join(_lines(assessment, advice, outcomes)) + "\n"


def _lines(assessment: Assessment, advice: Advice, outcomes: Sequence[Outcome]) -> Iterator[str]:
    recording = assessment.recording
    yield f"# Does RDS Proxy fit? {advice.verdict.value[:1].upper()}{advice.verdict.value[1:]}."
    yield ""
    yield f"Seen: {recording.source}: {_seen(assessment)}."
    yield ""
    yield from _list([*advice.because, *recording.notes])
    if recording.skipped:
        yield f"- {recording.skipped} lines could not be understood and are not in here."
    yield from _what_pins(assessment)
    yield from _who_sends(assessment)
    yield from _section("What RDS Proxy does not do", _list(advice.lacks))
    yield from _section("Long transactions", _long_transactions(assessment))
    yield from _section("Database connections", _connections(advice))
    yield from _section("What if", _scenarios(outcomes))
    yield from _section("Instead", _list(advice.instead))
    if advice.monthly_cost is not None:
        yield from _section(
            "Cost",
            [f"About ${advice.monthly_cost:,.0f} a month, at the stated vCPUs and price."],
        )


def _seen(assessment: Assessment) -> str:
    parts = [f"{assessment.statements:,} statements"] if assessment.statements else []
    if assessment.session_count:
        number = assessment.session_count
        parts.append(f"{number:,} session{'' if number == 1 else 's'}")
    if assessment.pinned_sessions:
        parts.append(f"{assessment.pinned_sessions:,} of them pinned")
    return ", ".join(parts) or "nothing"


def _what_pins(assessment: Assessment) -> Iterator[str]:
    yield ""
    yield "## What pins"
    yield ""
    if not assessment.findings:
        yield "Nothing that a text shows. What functions do inside is not seen (NOPIN-PG-02)."
        return
    yield from _table(
        ("Rule", "Statements", "Sessions", "Held", "Statement", "Instead"),
        (
            (
                finding.rule,
                f"{finding.calls:,}" if assessment.statements else "-",
                f"{finding.pinned:,}" if assessment.session_count else "-",
                _seconds(finding.seconds) if assessment.session_count else "-",
                _code(finding.statement),
                finding.remedy,
            )
            for finding in assessment.findings
        ),
    )


def _who_sends(assessment: Assessment) -> Iterator[str]:
    senders = [(name, f"{pinned:,}") for name, pinned in drivers(assessment.findings) if pinned]
    head = ("Driver or application", "Pinned sessions")
    return _section("Who sends it", _table(head, senders) if senders else ())


def _long_transactions(assessment: Assessment) -> list[str]:
    found = assessment.long_transactions
    if not found:
        return []
    rows = (
        (_seconds(span.seconds), str(span.statements), session.application or session.user or "?")
        for session, span in found
    )
    return list(_table(("Held", "Statements", "Application"), rows))


def _connections(advice: Advice) -> list[str]:
    if advice.demand is None or advice.clients is None:
        return []
    demand = advice.demand
    return [
        *_table(
            ("", "Without a proxy", "With RDS Proxy"),
            [
                ("database connections", f"{advice.clients:,}", f"{demand.connections:,}"),
                ("wait for one, median", "-", _seconds(demand.wait_p50)),
                ("wait for one, 99 of 100", "-", _seconds(demand.wait_p99)),
            ],
        ),
        "",
        "The waits are those of a simulation with the durations that were seen.",
    ]


def _scenarios(outcomes: Sequence[Outcome]) -> list[str]:
    useful = [outcome for outcome in outcomes if outcome.fewer_pins]
    if not useful:
        return []
    rows = (
        (
            outcome.scenario.change,
            f"{outcome.fewer_pins:,}",
            f"{outcome.pinned_sessions:,}",
            "-" if outcome.connections is None else f"{outcome.connections:,}",
        )
        for outcome in useful
    )
    return list(
        _table(("If", "Fewer pins", "Pinned still", "Database connections, if not limited"), rows)
    )


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A section that is left out when it is empty."""
    body = list(lines)
    if body:
        yield from ("", f"## {title}", "", *body)


def _list(items: Iterable[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    number = 0
    for number, row in enumerate(rows, 1):
        if number <= ROWS:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    if number > ROWS:
        yield ""
        yield f"… and {number - ROWS} more."


def _code(text: str) -> str:
    """A statement on one line, in as many backquotes as it takes."""
    line = " ".join(text.split())
    ticks = "``" if "`" in line else "`"
    return f"{ticks}{line}{ticks}"


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1000:,.1f} ms"


def as_json(
    assessment: Assessment, advice: Advice, outcomes: Sequence[Outcome]
) -> dict[str, object]:
    """The same facts for programs."""
    demand = advice.demand
    return {
        "verdict": advice.verdict.name,
        "because": advice.because,
        "source": assessment.recording.source,
        "notes": assessment.recording.notes,
        "skipped": assessment.recording.skipped,
        "statements": assessment.statements,
        "pinning_statements": assessment.pinning_statements,
        "sessions": assessment.session_count,
        "pinned_sessions": assessment.pinned_sessions,
        "pinned_share": assessment.pinned_share,
        "clients": advice.clients,
        "database_connections": None if demand is None else demand.connections,
        "borrow_wait_p50": None if demand is None else demand.wait_p50,
        "borrow_wait_p99": None if demand is None else demand.wait_p99,
        "monthly_cost": advice.monthly_cost,
        "lacks": advice.lacks,
        "instead": advice.instead,
        "findings": [_finding(finding) for finding in assessment.findings],
        "fixes": [finding.digest for finding in advice.fixes],
        "long_transactions": [
            {"seconds": span.seconds, "statements": span.statements, "application": s.application}
            for s, span in assessment.long_transactions
        ],
        "what_if": outcomes_as_json(outcomes),
    }


def outcomes_as_json(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """The scenarios for programs."""
    return [
        {
            "scenario": outcome.scenario.name,
            "change": outcome.scenario.change,
            "fewer_pins": outcome.fewer_pins,
            "pinned_sessions": outcome.pinned_sessions,
            "pinned_share": outcome.pinned_share,
            "database_connections": outcome.connections,
            "fewer_database_connections": outcome.fewer_connections,
        }
        for outcome in outcomes
    ]


def what_if_text(outcomes: Sequence[Outcome]) -> str:
    """The scenarios alone."""
    lines = _scenarios(outcomes)
    return "\n".join(lines or ["No scenario saves a pin."]) + "\n"


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "digest": finding.digest,
        "statement": finding.statement,
        "reason": finding.reason,
        "remedy": finding.remedy,
        "statements": finding.calls,
        "sessions": finding.pinned,
        "held_seconds": finding.seconds,
        "applications": sorted(finding.applications),
        "drivers": sorted(finding.drivers),
    }
