"""What a probe sees of a target, and how the monitor asks for it.

The monitor knows no protocol: whoever speaks the engine's gives it a `Probe` for each target.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

# Why a target is not available, in AWS's words (TH-02).
UNREACHABLE = "UNREACHABLE"
CONNECTION_FAILED = "CONNECTION_FAILED"
AUTH_FAILURE = "AUTH_FAILURE"
INVALID_REPLICATION_STATE = "INVALID_REPLICATION_STATE"
PROMOTED = "PROMOTED"


class Sighting(NamedTuple):
    """A target's answer to a probe."""

    in_recovery: bool
    refuses_writes: bool
    """A primary that its configuration makes read-only."""

    timeline: int
    position: int
    """Bytes of WAL written by a primary, received and flushed by a standby."""

    lag: float
    """Seconds that a standby's data is old; 0 when it has replayed all that it has."""

    system: str
    max_connections: int
    reserved: int
    promotable: bool
    silence: float | None
    """Seconds since a standby last heard from its primary; None when that can't be told."""

    replayed: int
    """Bytes of WAL that a standby has replayed; of a primary, its position."""

    untold: bool
    """It may be getting WAL of a timeline that the probe can't see: `timeline` may be late."""


class ProbeError(Exception):
    """A probe that saw nothing; `str()` says why."""

    def __init__(self, reason: str, description: str, *, alive: bool) -> None:
        super().__init__(description)
        self.reason = reason
        # It answered, though not the question: no reason to replace it.
        self.alive = alive


class Probe(Protocol):
    """The monitoring connection to one target."""

    async def look(self) -> Sighting:
        """Ask now. Raises ProbeError; may be cancelled at any time."""

    async def promote(self) -> None:
        """Ask a standby to become a primary; returns at once. Raises ProbeError."""

    async def make_slot(self) -> str:
        """Make the slot by which the old primary will follow, if one is configured; its name."""

    def close(self) -> None:
        """Drop the connection; the next look makes another."""
