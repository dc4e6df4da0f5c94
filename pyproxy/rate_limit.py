"""A limit on how often something may happen in a second."""

from __future__ import annotations

from collections import deque


class RateLimit:
    """Counts what was let through in the last second."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()

    def admit(self, limit: int, now: float) -> bool:
        """May it happen once more at `now`, in monotonic seconds? A limit of 0 is none."""
        if not limit:
            return True
        recent = self._recent
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= limit:
            return False
        recent.append(now)
        return True
