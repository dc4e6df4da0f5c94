"""What one test may pin, what it has pinned, and what of that it has been told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pyproxy.pytest_plugin.baseline import Baseline
from pyproxy.pytest_plugin.pins import ALLOWED, KNOWN, NEW, Pin, Told, complaint

# In `allowed`: any rule.
ANY: Final = ""


class Pinned(AssertionError):
    """Sessions were pinned that should not have been."""


class Watch:
    """The pins from the beginning of a test on.

    `pins` returns all pins of the run so far; it is asked when something wants to know.
    """

    def __init__(
        self,
        pins: Callable[[], Sequence[Pin]],
        allowed: Mapping[str, str],
        baseline: Baseline,
        *,
        strict: bool,
        lenient: bool = False,
    ) -> None:
        self._pins = pins
        self._allowed = allowed
        self._baseline = baseline
        # Does the test fail by itself?
        self.strict = strict
        # Does nothing fail, because all of it goes into the baseline?
        self._lenient = lenient
        # From where pins are this test's; up to where they were complained of, and reported.
        self._start = self._checked = self._told = len(pins())

    def verdict(self, pin: Pin) -> tuple[str, str]:
        """NEW, ALLOWED or KNOWN; and the reason that was given."""
        for rule in (pin.rule, ANY):
            if rule in self._allowed:
                return ALLOWED, self._allowed[rule]
        known = self._baseline.knows(pin.rule, pin.digest)
        return (KNOWN if known else NEW), ""

    def check(self, since: int | None = None) -> None:
        """Raise Pinned for new pins since the test began, or since `since`; each once."""
        __tracebackhide__ = True
        pins = self._pins()
        start = self._checked if since is None else since
        new = [pin for pin in pins[start:] if self.verdict(pin)[0] == NEW]
        self._checked = len(pins)
        if new and not self._lenient:
            raise Pinned(complaint(new))

    def position(self) -> int:
        """Where the next pin will be."""
        return len(self._pins())

    def tell(self) -> list[Told]:
        """The pins since the last call."""
        start, self._told = self._told, self.position()
        return self._tell(start)

    def history(self) -> list[Told]:
        """All pins since the test began."""
        return self._tell(self._start)

    def _tell(self, start: int) -> list[Told]:
        return [pin.told(*self.verdict(pin)) for pin in self._pins()[start:]]


class AssertNoPins:
    """The fixture `assert_no_pins`: called, it looks back; in a `with`, at what is inside."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since: list[int] = []

    def __call__(self) -> AssertNoPins:
        """Fail if a session has been pinned since the test began, or since the last call."""
        __tracebackhide__ = True
        self._watch.check()
        return self

    def __enter__(self) -> None:
        self._since.append(self._watch.position())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        __tracebackhide__ = True
        since = self._since.pop()
        # Whatever went wrong inside says more than that it pinned.
        if kind is None:
            self._watch.check(since)
