"""What a recording means for RDS Proxy: what pins, who sends it, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pyproxy.assessment.recording import Observed, PinSeen, Recording, SessionSeen
from pyproxy.assessment.transactions import Span, transactions
from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier, Pin
from pyproxy.pinning.drivers import guess
from pyproxy.pinning.rules import RULES

# A transaction that holds a database connection for longer than this is worth a look, in seconds.
LONG_TRANSACTION: Final = 5.0
# What is shown of a statement.
_SHOWN: Final = 160
# Rules whose statement does not merely pin: it works on RDS Proxy only for who keeps the session.
_NEEDS_ITS_OWN_CONNECTION: Final = frozenset({"PIN-PG-06"})


@dataclass
class Finding:
    """Statements of one rule and digest."""

    rule: str
    digest: str
    statement: str
    reason: str
    remedy: str
    calls: int = 0
    seconds: float = 0.0
    """That database connections are held by the sessions that it pins first."""

    sessions: set[str] = field(default_factory=set)
    """Those that it pins first."""

    pinned: int = 0
    """How many these are; more than `sessions` where a running proxy has counted them."""

    applications: set[str] = field(default_factory=set)
    drivers: set[str] = field(default_factory=set)


@dataclass
class SessionJudged:
    """One session with its transactions, and since when it would be pinned."""

    session: SessionSeen
    spans: list[Span]
    pinned_at: float | None = None
    first_rule: str = ""


@dataclass
class Assessment:
    """What a recording means."""

    recording: Recording
    findings: list[Finding]
    sessions: list[SessionJudged]
    statements: int
    """Calls altogether."""

    pinning_statements: int

    @property
    def session_count(self) -> int:
        """How many sessions were seen."""
        return len(self.sessions) or self.recording.clients

    @property
    def pinned_sessions(self) -> int:
        """How many of them would be pinned."""
        return sum(finding.pinned for finding in self.findings)

    @property
    def pinned_share(self) -> float | None:
        """The share of the time of all sessions in which they would hold a connection pinned.

        By number where no times are known; None where no sessions are.
        """
        total = sum(judged.session.seconds for judged in self.sessions)
        if total > 0:
            return sum(pinned_seconds(judged) for judged in self.sessions) / total
        return min(self.pinned_sessions / self.session_count, 1.0) if self.session_count else None

    @property
    def long_transactions(self) -> list[tuple[SessionSeen, Span]]:
        """Those over LONG_TRANSACTION, the longest first."""
        found = [
            (judged.session, span)
            for judged in self.sessions
            for span in judged.spans
            if span.seconds > LONG_TRANSACTION
        ]
        return sorted(found, key=lambda item: -item[1].seconds)

    @property
    def own_connection(self) -> list[Finding]:
        """What only works on a connection of one's own."""
        return [f for f in self.findings if f.rule in _NEEDS_ITS_OWN_CONNECTION]


def pinned_seconds(judged: SessionJudged) -> float:
    """How long a session would hold its connection pinned."""
    end = judged.session.end
    if judged.pinned_at is None or end is None:
        return 0.0
    return max(end - judged.pinned_at, 0.0)


def judge(
    recording: Recording, switches: CompatibilityConfig, *, without: frozenset[str] = frozenset()
) -> Assessment:
    """The assessment of a recording; statements of the rules in `without` are taken to be gone."""
    judge = _Judge(Classifier(switches), without)
    for session in recording.sessions:
        judge.session(session)
    for statement in recording.statements:
        judge.statement(statement)
    for pin in recording.pins:
        judge.counted(pin)
    findings = sorted(
        judge.findings.values(), key=lambda f: (-f.seconds, -f.pinned, -f.calls, f.rule, f.digest)
    )
    return Assessment(
        recording, findings, judge.sessions, judge.statements, judge.pinning_statements
    )


class _Judge:
    def __init__(self, classifier: Classifier, without: frozenset[str]) -> None:
        self._classifier = classifier
        self._without = without
        self.findings: dict[tuple[str, str], Finding] = {}
        self.sessions: list[SessionJudged] = []
        self.statements = 0
        self.pinning_statements = 0

    def session(self, session: SessionSeen) -> None:
        """One session: its first pin is the one that counts (C-09)."""
        judged = SessionJudged(session, list(transactions(session.statements)))
        self.sessions.append(judged)
        first: Finding | None = None
        for statement in session.statements:
            finding = self.statement(statement, session.application)
            if finding is not None and first is None:
                first = finding
                judged.pinned_at = statement.at
                judged.first_rule = finding.rule
        if first is not None:
            first.sessions.add(f"{session.id}/{session.begin}")
            first.pinned += 1
            first.seconds += pinned_seconds(judged)

    def statement(self, statement: Observed, application: str = "") -> Finding | None:
        """One statement; returns what it pins by."""
        self.statements += statement.calls
        pin = self._pin(statement)
        if pin is None or pin.rule in self._without:
            return None
        self.pinning_statements += statement.calls
        finding = self._finding(pin)
        finding.calls += statement.calls
        who = statement.application or application
        finding.applications.update(filter(None, [who]))
        finding.drivers.update(filter(None, [guess(who, None, pin.digest, pin.statement)]))
        return finding

    def counted(self, pin: PinSeen) -> None:
        """What a running proxy has counted."""
        if pin.rule in self._without:
            return
        rule = RULES[pin.rule]
        reason = rule.reason.replace("{digest}", pin.digest)
        finding = self._finding(Pin(pin.rule, reason, pin.digest, pin.digest))
        finding.pinned += pin.sessions
        finding.seconds += pin.held_seconds
        finding.applications.update(filter(None, [pin.application]))
        finding.drivers.update(filter(None, [pin.driver]))

    def _pin(self, statement: Observed) -> Pin | None:
        pin = self._classifier.judge(statement.text.encode("utf-8", "replace")).pin
        if pin is None and statement.prepared:
            return self._classifier.parse(named=False)
        return pin

    def _finding(self, pin: Pin) -> Finding:
        key = (pin.rule, pin.digest)
        finding = self.findings.get(key)
        if finding is None:
            finding = self.findings[key] = Finding(
                pin.rule, pin.digest, pin.statement[:_SHOWN], pin.reason, RULES[pin.rule].remedy
            )
        return finding


def drivers(findings: Iterable[Finding]) -> Iterator[tuple[str, int]]:
    """Who sends what pins: driver or application, and pinned sessions, the most first."""
    counts: dict[str, int] = {}
    for finding in findings:
        for name in finding.drivers or finding.applications or {"(not told)"}:
            counts[name] = counts.get(name, 0) + finding.pinned
    return iter(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
