"""The wildcards of IAM policies: `*` any characters, `?` one character.

Patterns are matched by keeping the set of places where a match may stand, in time proportional
to pattern times text: no pattern is slow, whatever user name a client sends.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final


class Wild(Enum):
    """What in a pattern is not a character."""

    ONE = "one character, not a colon"
    SOME = "any characters within a segment"
    ALL = "any characters"


Pattern = tuple[str | Wild, ...]

# How IAM writes the three characters themselves (IAM User Guide, "Policy variables").
_ESCAPED: Final = {"${*}": "*", "${?}": "?", "${$}": "$"}
_LONGEST_ESCAPE: Final = 4


@lru_cache(maxsize=1024)
def compile_action(pattern: str) -> Pattern:
    """The pattern of an Action; its wildcards match anything."""
    wild: dict[str, Wild] = {"*": Wild.ALL, "?": Wild.ONE}
    return tuple(wild.get(character, character) for character in pattern)


@lru_cache(maxsize=1024)
def compile_resource(pattern: str, *, variables: bool, anything: bool = False) -> Pattern | None:
    """The pattern of a Resource; None if it has a policy variable, whose value nobody knows.

    With `anything` a variable stands for any characters instead.

    Wildcards match within the segment between two colons, except for a `*` at a segment's end,
    which may go on beyond (IAM User Guide, "Resource"). `variables` says whether the policy's
    version knows `${...}`.
    """
    tokens: list[str | Wild] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if variables and pattern.startswith("${", position):
            escaped = _ESCAPED.get(pattern[position : position + _LONGEST_ESCAPE])
            if escaped is None and not anything:
                return None
            tokens.append(escaped or Wild.ALL)
            closing = pattern.find("}", position)
            position = closing + 1 if closing >= 0 else len(pattern)
            continue
        position += 1
        if character == "*":
            at_end = pattern[position : position + 1] in ("", ":")
            tokens.append(Wild.ALL if at_end else Wild.SOME)
        else:
            tokens.append(Wild.ONE if character == "?" else character)
    return tuple(tokens)


def matches(pattern: Pattern, text: str) -> bool:
    """Does the whole of `text` match?"""
    places = _past_stars(pattern, {0})
    for character in text:
        places = _past_stars(pattern, _step(pattern, places, character))
        if not places:
            return False
    return len(pattern) in places


def _step(pattern: Pattern, places: set[int], character: str) -> set[int]:
    """Where a match may stand after one more character."""
    after: set[int] = set()
    for place in places:
        if place == len(pattern):
            continue
        token = pattern[place]
        if token is Wild.ALL or (token is Wild.SOME and character != ":"):
            after.add(place)
        elif token == character or (token is Wild.ONE and character != ":"):
            after.add(place + 1)
    return after


def _past_stars(pattern: Pattern, places: set[int]) -> set[int]:
    """The places, and those behind stars that match nothing."""
    reached = set(places)
    for start in places:
        place = start
        while place < len(pattern) and pattern[place] in (Wild.ALL, Wild.SOME):
            place += 1
            if place in reached:
                break
            reached.add(place)
    return reached
