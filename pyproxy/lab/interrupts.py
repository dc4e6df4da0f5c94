"""Every way to end a program that has made databases is Ctrl-C's: what it made ends with it."""

from __future__ import annotations

import signal


def as_control_c() -> None:
    """Have SIGTERM, and the SIGHUP of a terminal that is closed, do what SIGINT does.

    Left as they are, they end Python without a `finally`. What is ignored, as by nohup, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: object) -> None:
    if number == signal.SIGHUP:
        # The kernel says so and the shell once more, but a second Ctrl-C is impatience.
        signal.signal(number, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)
