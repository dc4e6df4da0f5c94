"""The baseline: pins that are known, so that only new ones fail.

    - rule: PIN-PG-04
      digest: declare "_django_curs_*_sync_*" no scroll cursor for select …

By rule and digest, not by test: which of the tests that share an application's pool is the one to
pin depends on their order. `*` stands for anything, where a name has a number in it that changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml

from pyproxy.pinning.rules import RULES

_HEAD: Final = """\
# Pins that are known; pytest fails on others only. Written by `pytest --pyproxy-write-baseline`.
# A * stands for anything. Remove an entry when its pin is gone.
"""
# Made up anew in every run, if it is as long as that: a process, a thread, an address, a time.
_PASSING: Final = re.compile(r"\d{3}")
_NUMBER: Final = re.compile(r"\d+")
_WORD: Final = re.compile(r"(?<!\$)\b\w+\b")


class BaselineError(Exception):
    """The file can't be used; the text says why."""


class Baseline:
    """What a file says, and which of it has come true."""

    def __init__(self, entries: Iterable[tuple[str, str]] = ()) -> None:
        self._entries = {entry: _pattern(entry[1]) for entry in entries}
        self._seen: set[tuple[str, str]] = set()

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """The baseline in a file; raises BaselineError."""
        try:
            rows = yaml.safe_load(path.read_text("utf-8")) or []
            entries = [(row["rule"], row["digest"]) for row in rows]
        except OSError as error:
            raise BaselineError(f"{path}: {error.strerror}") from None
        except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
            raise BaselineError(f"{path} is not a list of rules and digests: {error}") from None
        unknown = sorted({rule for rule, _ in entries if rule not in RULES})
        if unknown:
            raise BaselineError(f"{path}: there is no rule {', '.join(unknown)}")
        return cls(entries)

    def knows(self, rule: str, digest: str) -> bool:
        """Is the pin in the file?"""
        for entry, pattern in self._entries.items():
            if entry[0] == rule and pattern.fullmatch(digest):
                self._seen.add(entry)
                return True
        return False

    def unseen(self) -> list[tuple[str, str]]:
        """The entries that no pin was like."""
        return [entry for entry in self._entries if entry not in self._seen]


def write(path: Path, pins: Iterable[tuple[str, str]]) -> int:
    """Write the file that knows these pins; returns how many entries it has."""
    entries = sorted({(rule, without_numbers(digest)) for rule, digest in pins})
    rows = [{"rule": rule, "digest": digest} for rule, digest in entries]
    body = yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=1_000)
    path.write_text(_HEAD + body, "utf-8")
    return len(entries)


def without_numbers(digest: str) -> str:
    """The digest with * for the numbers of names that are made up at run time."""
    return _WORD.sub(
        lambda word: _NUMBER.sub("*", word[0]) if _PASSING.search(word[0]) else word[0], digest
    )


def _pattern(digest: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in digest.split("*")), re.DOTALL)
