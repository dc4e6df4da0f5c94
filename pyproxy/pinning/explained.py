"""Every statement of a text with its verdict and its place; in words, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pyproxy.logs import printable
from pyproxy.pinning.classifier import Classifier, Pin, pin_for
from pyproxy.pinning.digest import disclosed
from pyproxy.pinning.rules import RULES

_BLIND: Final = "What functions and procedures do inside is not seen (NOPIN-PG-02)."


class Place(NamedTuple):
    """Where something stands, counted from 1; a column is a character, not a byte."""

    line: int
    column: int


class Explained(NamedTuple):
    """One statement: where it is from, and what it means."""

    origin: str
    """The file; "" for SQL that is not from a file."""

    begins: Place
    ends: Place
    statement: str
    """Its digest if it speaks of a secret."""

    rule: str
    """The row that decides; "" for an ordinary query."""

    pin: Pin | None


def explain(classifier: Classifier, text: str, origin: str = "") -> Iterator[Explained]:
    """The statements of a text, in its order."""
    raw = text.encode().decode("latin-1")
    lines = _Lines(raw)
    for judged in classifier.statements(raw):
        statement = raw[judged.start : judged.end]
        yield Explained(
            origin,
            lines.place(judged.start),
            lines.place(judged.end),
            _decoded(disclosed(statement)),
            judged.rule,
            pin_for(judged, raw, statement) if judged.pins else None,
        )


class _Lines:
    """Places in a text, asked for from its beginning to its end."""

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._line = 1
        self._start = self._at = 0

    def place(self, at: int) -> Place:
        newlines = self._raw.count("\n", self._at, at)
        if newlines:
            self._line += newlines
            self._start = self._raw.rfind("\n", 0, at) + 1
        self._at = at
        return Place(self._line, len(_decoded(self._raw[self._start : at])) + 1)


def _decoded(raw: str) -> str:
    return raw.encode("latin-1").decode(errors="replace")


# -- in words ----------------------------------------------------------------------------------


def in_words(explained: Sequence[Explained]) -> str:
    """For people: what pins in full, what doesn't on one line each, and how many there are.

    A file may be anybody's, and must not command a terminal.
    """
    return "\n".join(map(printable, _in_words(explained).split("\n")))


def _in_words(explained: Sequence[Explained]) -> str:
    if len(explained) == 1 and not explained[0].origin:
        (only,) = explained
        return _in_full(only, "pins") if only.pin is not None else _stays(only)
    parts = [
        _in_full(each, f"{_label(each)} pins")
        if each.pin is not None
        else f"{_label(each)} does not pin: {_one_line(each.statement)}\n"
        for each in explained
    ]
    pins = sum(each.pin is not None for each in explained)
    parts.append(f"\nstatements: {len(explained)}, of which pin: {pins}. {_BLIND}\n")
    return "".join(parts)


def _label(each: Explained) -> str:
    return f"{each.origin}:{each.begins.line}:" if each.origin else f"line {each.begins.line}:"


def _in_full(each: Explained, verdict: str) -> str:
    assert each.pin is not None
    rule = RULES[each.rule]
    wording = "PyProxy's wording; AWS's is not known" if rule.ours else "AWS's wording"
    switch = f"compatibility: {{{rule.switch}: no_pin}}"
    rows = [
        ("statement", _one_line(each.pin.statement)),
        ("rule", f"{rule.id}: {rule.matches}"),
        ("reason", each.pin.reason),
        ("", f"({wording})"),
        ("source", str(rule.source)),
        ("remedy", f"{rule.advice}{':' if rule.ready else '.'}"),
        ("", f"  {rule.ready}" if rule.ready else ""),
        ("switch", switch if rule.switch and switch != rule.ready else ""),
    ]
    return f"{verdict}\n" + "".join(f"  {name:10} {value}\n" for name, value in rows if value)


def _stays(each: Explained) -> str:
    rule = RULES.get(each.rule)
    why = f"  {rule.id}: {rule.matches} ({rule.source})\n" if rule is not None else ""
    return f"does not pin\n{why}  {_BLIND}\n"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}\u2026"


# -- as JSON -----------------------------------------------------------------------------------


def as_json(explained: Sequence[Explained]) -> str:
    """For programs."""
    return json.dumps(
        {
            "pins": any(each.pin is not None for each in explained),
            "statements": [_record(each) for each in explained],
        },
        ensure_ascii=False,
        indent=2,
    )


def _record(each: Explained) -> dict[str, object]:
    record: dict[str, object] = {
        "file": each.origin or None,
        "line": each.begins.line,
        "column": each.begins.column,
        "end_line": each.ends.line,
        "end_column": each.ends.column,
        "statement": each.statement,
        "pins": each.pin is not None,
        "rule": each.rule or None,
    }
    rule = RULES.get(each.rule)
    if rule is not None:
        record |= {
            "matches": rule.matches,
            "source": {"kind": rule.source.kind, "where": rule.source.where},
            "switch": rule.switch or None,
        }
        if each.pin is not None:
            record |= {
                "reason": each.pin.reason,
                "reason_is_awss": not rule.ours,
                "digest": each.pin.digest,
                "remedy": rule.remedy,
            }
    return record
