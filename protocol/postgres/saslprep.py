"""SASLprep as PostgreSQL does it: a password's bytes as SCRAM hashes them.

RFC 4013 is a profile of RFC 3454, whose tables are in the standard library's `stringprep`.
Where PostgreSQL (src/common/saslprep.c) differs from the RFC, PostgreSQL decides, because its
verifiers must match ours:

- what cannot be prepared is not refused but hashed as it is: text that is not UTF-8, prohibited
  or unassigned characters (all newer emoji), mixed directions, nothing left;
- ASCII is never touched, control characters included;
- ZERO WIDTH SPACE becomes a space instead of disappearing;
- the checks look at the text before its normalization.
"""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

_PROHIBITED: Final = (
    stringprep.in_table_a1,  # unassigned in Unicode 3.2
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4013, "Prohibited Output", without surrogates (C.5), which UTF-8 cannot hold."""


def prepare(password: bytes) -> bytes:
    """The bytes to hash for these bytes, as PostgreSQL and libpq choose them. Never fails."""
    if password.isascii():
        return password
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    mapped = "".join(_mapped(text))
    if not mapped or _is_prohibited(mapped) or not _goes_one_way(mapped):
        return password
    return unicodedata.normalize("NFKC", mapped).encode("utf-8")


def _mapped(text: str) -> list[str]:
    """Non-ASCII spaces as spaces, without what is commonly mapped to nothing."""
    spaced = [" " if stringprep.in_table_c12(character) else character for character in text]
    return [character for character in spaced if not stringprep.in_table_b1(character)]


def _is_prohibited(text: str) -> bool:
    return any(prohibits(character) for character in text for prohibits in _PROHIBITED)


def _goes_one_way(text: str) -> bool:
    """RFC 3454, "Bidirectional Characters": right to left all through, or not at all."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    if any(map(stringprep.in_table_d2, text)):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
