"""What the user gave us can't be used: the base of errors that a command tells in their words."""

from typing import ClassVar


class Unusable(Exception):
    """str() is for the user, ready to be printed behind `speaker`."""

    speaker: ClassVar[str] = "pyproxy: "


def plain_words(error: Exception) -> str:
    """What is wrong, and with which file, without the number that an OSError begins with."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
