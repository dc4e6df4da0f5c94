"""What was seen of an application: its statements, and the sessions that sent them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Observed(NamedTuple):
    """One statement, or many alike."""

    text: str
    calls: int = 1
    seconds: float | None = None
    """How long all calls took together; None where the source does not tell."""

    at: float | None = None
    """When it began, in seconds of the source's clock."""

    application: str = ""
    prepared: bool = False
    """Sent by the extended protocol."""


@dataclass
class SessionSeen:
    """One session: what it sent, in its order, and from when to when it was there."""

    id: str
    application: str = ""
    user: str = ""
    database: str = ""
    begin: float | None = None
    end: float | None = None
    statements: list[Observed] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it was there, as far as was seen."""
        return 0.0 if self.begin is None or self.end is None else max(self.end - self.begin, 0.0)

    def seen(self, at: float) -> None:
        """It was there at this time."""
        self.begin = at if self.begin is None else min(self.begin, at)
        self.end = at if self.end is None else max(self.end, at)


class PinSeen(NamedTuple):
    """Pins that a running proxy has counted already."""

    rule: str
    digest: str
    application: str
    driver: str
    sessions: int
    held_seconds: float


# What RDS Proxy does not do, and how a log shows that an application counts on it.
CANCELS: Final = "cancel requests"
REPLICATION: Final = "replication connections"


@dataclass
class Recording:
    """Everything that a source told."""

    source: str
    """In words, for the report."""

    statements: list[Observed] = field(default_factory=list)
    """Those that belong to no known session."""

    sessions: list[SessionSeen] = field(default_factory=list)
    pins: list[PinSeen] = field(default_factory=list)
    clients: int = 0
    """Sessions of a running proxy; where `sessions` are known, their number counts."""

    features: dict[str, int] = field(default_factory=dict)
    """Uses of what RDS Proxy lacks, by kind, that no statement's text shows."""

    skipped: int = 0
    """Lines or rows that could not be understood."""

    notes: list[str] = field(default_factory=list)
    """What the source cannot tell, for the reader of the report."""

    def use(self, feature: str) -> None:
        """Count one use of what RDS Proxy lacks."""
        self.features[feature] = self.features.get(feature, 0) + 1

    def all_statements(self) -> list[Observed]:
        """Of every session, and of none."""
        return [*self.statements, *(s for session in self.sessions for s in session.statements)]
