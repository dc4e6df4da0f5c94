"""What values of the command line may be, told in words when they are not."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Final

from pyproxy.addresses import is_address, of_proxy

MOST: Final = 1_000_000
"""Of whatever there are many: no machine has more."""
LONGEST: Final = 86_400
"""The longest time in seconds: a day."""


def port(text: str) -> int:
    """A port to connect to."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number <= 65_535:
        raise ArgumentTypeError(f"{text!r} is no port: it must be from 1 to 65535")
    return number


def port_or_any(text: str) -> int:
    """A port to listen on, or 0 for a free one."""
    try:
        return 0 if text == "0" else port(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}, or 0 for a free one") from None


def host(text: str) -> str:
    """What a host is called."""
    if not (is_address(something(text)) or re.fullmatch(r"[A-Za-z0-9._-]+", text)):
        raise ArgumentTypeError(f"{text!r} is no host name or address; a port is --port's")
    return text


def count(text: str) -> int:
    """How many there are of something."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else MOST + 1
    if number > MOST:
        raise ArgumentTypeError(f"{text!r} is no whole number from 0 to {MOST}")
    return number


def seconds(text: str) -> float:
    """How long to wait for something."""
    number = _number(text)
    if not 0 < number <= LONGEST:
        right = f"it must be more than 0 and at most {LONGEST} seconds"
        raise ArgumentTypeError(f"{text!r} is no time: {right}")
    return number


def price(text: str) -> float:
    """What something costs, in dollars."""
    number = _number(text)
    if not 0 <= number <= MOST:
        raise ArgumentTypeError(f"{text!r} is no price: it must be dollars from 0 to {MOST}")
    return number


def proxy_url(text: str) -> str:
    """Where a running proxy is asked by HTTP."""
    try:
        of_proxy(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _number(text: str) -> float:
    """NaN, which no comparison is true of, where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def something(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ArgumentTypeError("it must not be empty")
    return text


def file(text: str) -> Path:
    """Where a file is; an empty name would be the folder."""
    return Path(something(text))
