"""Texts that are clean whatever numbers stand in them.

A driver that writes its values into the text makes every statement a new one, and judging one
costs many times what it costs to forward it. Where no word decides that has a digit in it, all
texts that differ by their digits alone have one verdict: one look into a set finds it.
"""

from __future__ import annotations

from typing import Final

# A digit stays a digit, so that what was a name or a number is one still.
_ALIKE: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
# What an entry of a set takes beside the text.
_SHARE: Final = 100


class CleanShapes:
    """Remembers clean texts, digits aside, in two generations bounded in bytes."""

    __slots__ = ("_half", "_old", "_young", "_young_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._half: Final = limit_bytes // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._young_bytes = 0

    def has(self, text: bytes) -> bool:
        """Is it one of them?"""
        shape = text.translate(_ALIKE)
        if shape in self._young:
            return True
        if shape in self._old:
            self._remember(shape)
            return True
        return False

    def add(self, text: bytes) -> None:
        """Remember it."""
        self._remember(text.translate(_ALIKE))

    def _remember(self, shape: bytes) -> None:
        if self._young_bytes > self._half:
            self._old, self._young, self._young_bytes = self._young, set(), 0
        self._young.add(shape)
        self._young_bytes += len(shape) + _SHARE
