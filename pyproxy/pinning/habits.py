"""What drivers and frameworks send by themselves, and the setting that stops it.

Applications seldom write the statement that pins them: their driver does. A pin is recognised by
its digest; docs/how-to/stop-pinning/ has a page for each, where the setting can be copied from.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Habit(NamedTuple):
    """A statement that a driver sends without being asked."""

    driver: str
    digest: re.Pattern[str]
    """What its digest looks like, from its beginning."""

    when: str
    """When it is sent."""

    remedy: str
    """The setting that stops it, in one sentence."""

    page: str
    """The page in docs/how-to/stop-pinning/, without its ending."""


def _habit(driver: str, page: str, digest: str, when: str, remedy: str) -> Habit:
    return Habit(driver, re.compile(digest), when, remedy, page)


HABITS: Final = (
    _habit(
        "asyncpg",
        "asyncpg",
        r"select pg_advisory_unlock_all\(\);\s*close all;",
        "its pool resets a connection that is given back",
        "create_pool(…, reset=…) with a function that does nothing.",
    ),
)


def recognise(digest: str) -> Habit | None:
    """Whose habit a digest is; None when it may be anybody's."""
    return next((habit for habit in HABITS if habit.digest.match(digest)), None)
