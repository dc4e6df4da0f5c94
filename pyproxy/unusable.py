"""What the user gave us can't be used: the base of errors that a command tells in their words."""

from typing import ClassVar


class Unusable(Exception):
    """str() is for the user, ready to be printed behind `speaker`."""

    speaker: ClassVar[str] = "pyproxy: "
