"""What values of the command line may be, told in words when they are not."""

from __future__ import annotations

from argparse import ArgumentTypeError


def port(text: str) -> int:
    """A port to connect to."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number <= 65_535:
        raise ArgumentTypeError(f"{text!r} is no port: it must be from 1 to 65535")
    return number


def count(text: str) -> int:
    """How many there are of something."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def something(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ArgumentTypeError("it must not be empty")
    return text
