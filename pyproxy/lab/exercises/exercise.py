"""What an exercise is: a goal, something to see, and a grade."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pyproxy.lab.exercises.room import Room

# What a rollout of RDS Proxy is held against.
CONNECTIONS_SAVED = 0.60
PINNED_AT_MOST = 0.20
RECOVERY_SECONDS = 35.0
OVERHEAD_SECONDS = 0.002


class Grade(NamedTuple):
    """One thing that was measured, and what it should be."""

    what: str
    measured: str
    wanted: str
    passed: bool


class Exercise(NamedTuple):
    """One exercise of `pyproxy lab`."""

    name: str
    goal: str
    """What one learns, in a sentence."""

    lesson: str
    """What to take home, told at the end."""

    run: Callable[[Room, bool], Awaitable[list[Grade]]]
    """Do it; the second argument asks for the short form."""


def saved(without: int, with_proxy: int) -> Grade:
    """Database connections fewer than clients."""
    share = 1 - with_proxy / without if without else 0.0
    return Grade(
        "database connections fewer than without the proxy",
        f"{share:.0%} ({with_proxy} instead of {without})",
        f">= {CONNECTIONS_SAVED:.0%}",
        share >= CONNECTIONS_SAVED,
    )


def pinned(pinned_sessions: int, sessions: int) -> Grade:
    """How many sessions are pinned."""
    share = pinned_sessions / sessions if sessions else 0.0
    return Grade(
        "sessions pinned",
        f"{share:.0%} ({pinned_sessions} of {sessions})",
        f"< {PINNED_AT_MOST:.0%}",
        share < PINNED_AT_MOST,
    )


def none_of(what: str, count: int) -> Grade:
    """Something that must not happen."""
    return Grade(what, str(count), "0", count == 0)


def shown(what: str, measured: str, wanted: str, passed: bool) -> Grade:
    """What the exercise had to show before its cure."""
    return Grade(f"before: {what}", measured, wanted, passed)
