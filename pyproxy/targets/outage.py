"""The timeline of one failover: what happened when, and who noticed."""

from __future__ import annotations


class Outage:
    """A time without a writer, from the first sign to the first answer of the next writer."""

    def __init__(self, writer: str, began: float, lost: int) -> None:
        self.writer = writer
        # When the first sign was seen, in seconds of the monitor's clock.
        self.began = began
        # Sessions that had been ended for want of their server before it began.
        self.lost_before = lost
        # Steps with their times, in the order in which they happened.
        self.steps: list[tuple[str, float]] = []
        # Who writes now; empty while nobody does.
        self.successor = ""
        # How many answers the successor had given when it took over.
        self.answers_before = 0

    def step(self, name: str, now: float) -> None:
        """It came to `name`; only the first time counts."""
        if name not in (known for known, _ in self.steps):
            self.steps.append((name, now))

    def timeline(self) -> str:
        """`detected 0.21 s, fenced 0.21 s, …`: seconds after the first sign."""
        return ", ".join(f"{name} {at - self.began:.2f} s" for name, at in self.steps)

    def summary(self, lost: int) -> str:
        """The whole, in one sentence; `lost` sessions have been ended since the proxy's start."""
        ended = lost - self.lost_before
        who = "nobody got an error" if not ended else f"{ended} in flight or pinned got an error"
        moved = "back at" if self.successor == self.writer else "moved to"
        return (
            f"Writes {moved} {self.successor} after {self.steps[-1][1] - self.began:.2f} s "
            f"without {self.writer}: {self.timeline()}; {who}."
        )
