"""Text to verdict: which rule a statement meets, and what else the session must know of it.

    classifier = Classifier(CompatibilityConfig())
    verdict = classifier.judge(b"SET search_path TO app", standard_conforming_strings=True)
    verdict.pin.rule, verdict.pin.reason          # "PIN-PG-01", AWS's words

As RDS Proxy it goes by the text alone (C-05): what functions change inside is not seen
(NOPIN-PG-02); `audit` looks for that. Which text meets which rule stands in `rules`; `sql` cuts the
text, `facts` reads what a statement does. Pure; verdicts are remembered by text, so in the steady
state a judgement costs one look into a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning import facts, sql
from pyproxy.pinning.commands import MENTION, RUN, first_words
from pyproxy.pinning.digest import digest, disclosed, readable
from pyproxy.pinning.facts import Facts
from pyproxy.pinning.patterns import SPECIAL, by_first_word, fits, ways
from pyproxy.pinning.rule import MARK, RUNNING
from pyproxy.pinning.rules import RULES
from pyproxy.pinning.shapes import CleanShapes
from pyproxy.pinning.sql import BROKEN, NAME, WORD, Token

# PIN-ALL-01: longer than this pins, in bytes of one statement.
STATEMENT_LIMIT: Final = 16_384
# What of a statement is shown to people.
SHOWN: Final = 200
# Texts longer than this are judged anew each time rather than remembered.
_REMEMBERED_TEXT: Final = 32 * 1024


class Pin(NamedTuple):
    """Why a session keeps its server."""

    rule: str
    reason: str
    digest: str
    statement: str
    # No reset undoes it: the server is closed at the end.
    destroys: bool = False

    def when_executed(self) -> Pin:
        """The reason when it is a prepared statement that runs (L-04b, PS-06)."""
        if self.rule == "PIN-ALL-01":
            # PS-07: in the same words as a query.
            return self
        return self._replace(reason=f"{RUNNING}{self.reason.removesuffix(MARK)}{MARK}")

    @classmethod
    def of_startup(cls, names: str) -> Pin:
        """Startup settings that no shared server has (extension)."""
        raw = names.encode(errors="replace").decode("latin-1")
        return _pin("OWN-PIN-01", raw, raw)


class Verdict(NamedTuple):
    """What a text means to the session that sends it."""

    pin: Pin | None = None
    # Prepared statements that SQL names, folded as PostgreSQL does: EXECUTE, DEALLOCATE, PREPARE.
    references: tuple[bytes, ...] = ()
    # DEALLOCATE ALL or DISCARD ALL.
    deallocates_all: bool = False

    @property
    def clean(self) -> bool:
        """Is there nothing to be done about it?"""
        return self is CLEAN


CLEAN: Final = Verdict()


class Judged(NamedTuple):
    """One statement of a text, where it stands, and the row that decides; "" for none.

    Comments before and after it are not shown, though they count for its size.
    """

    start: int
    end: int
    rule: str
    pins: bool
    facts: Facts


class Classifier:
    """Judges texts, and remembers its verdicts in two generations, bounded in bytes and entries."""

    def __init__(
        self,
        switches: CompatibilityConfig,
        *,
        limit_bytes: int = 16 << 20,
        limit_entries: int = 50_000,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._limit_entries = limit_entries
        self._young: dict[bytes, Verdict] = {}
        self._old: dict[bytes, Verdict] = {}
        self._young_bytes = 0
        self.clean: Final = CleanShapes(limit_bytes // 2)
        # The rows that pin, as the switches are.
        self._pinning: Final = frozenset(
            rule.id
            for rule in RULES.values()
            if rule.reason and (not rule.switch or getattr(switches, rule.switch) == "pin")
        )
        self._suspicious: Final = _suspicious(self._pinning)
        legacy = switches.preset == "legacy_2023"
        self._any_parse = _pin("PS-01", "", "") if legacy else None
        self._named_parse = self._any_parse or self._unless_switched_off("PS-04")
        self._function_call = self._unless_switched_off("PIN-PG-33")

    def _unless_switched_off(self, rule: str) -> Pin | None:
        return _pin(rule, "", "") if rule in self._pinning else None

    # -- the session's questions ---------------------------------------------------------------

    def judge(self, text: bytes, *, standard_conforming_strings: bool = True) -> Verdict:
        """The verdict on a text of any number of statements; never raises."""
        if self.clean.has(text):
            return CLEAN
        # No text that PostgreSQL would read begins with a zero byte.
        key = text if standard_conforming_strings else b"\0" + text
        verdict = self._young.get(key)
        if verdict is None:
            verdict = self._old.get(key)
            if verdict is None:
                if self._surely_clean(text):
                    self.clean.add(text)
                    return CLEAN
                verdict = self._judge(text.decode("latin-1"), standard_conforming_strings)
            self._remember(key, verdict)
        return verdict

    def oversized(self, head: bytes) -> Verdict:
        """The verdict on a text so long that only its head is known (PIN-ALL-01)."""
        # Whether a word means a secret may stand behind the head.
        summary = digest(head.decode("latin-1"), standard_conforming_strings=None)
        return Verdict(_pin("PIN-ALL-01", summary, summary))

    def function_call(self) -> Pin | None:
        """What the FunctionCall message does (PIN-PG-33)."""
        return self._function_call

    def parse(self, *, named: bool) -> Pin | None:
        """What a Parse does as such: nothing since November 2023 (PS-02)."""
        return self._named_parse if named else self._any_parse

    def statements(self, text: str, *, conforming: bool = True) -> Iterator[Judged]:
        """Each statement of a text, which is bytes read as Latin-1, one by one (PIN-PG-31)."""
        for tokens, start, end in sql.split(text, standard_conforming_strings=conforming):
            found = facts.read(tokens)
            # RDS Proxy reads no more than that: what a longer one says does not matter.
            rule = "PIN-ALL-01" if end - start > STATEMENT_LIMIT else self._decides(found)
            pins = rule in self._pinning
            yield Judged(tokens[0].start, tokens[-1].end, rule, pins, found)

    # -- inside --------------------------------------------------------------------------------

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        if len(key) > _REMEMBERED_TEXT:
            return
        if (
            self._young_bytes > self._limit_bytes // 2
            or len(self._young) >= self._limit_entries // 2
        ):
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = verdict
        # The dictionary's own share, and a verdict's.
        self._young_bytes += len(key) + (100 if verdict is CLEAN else 3_000)

    def _surely_clean(self, text: bytes) -> bool:
        """Can no token of it be what a rule asks about? Most texts are a query without any."""
        if len(text) > STATEMENT_LIMIT or _QUERY.match(text) is None:
            return False
        lowered = text.lower()
        return not any(word in lowered for word in self._suspicious)

    def _judge(self, text: str, conforming: bool) -> Verdict:
        deciding: Judged | None = None
        references: tuple[bytes, ...] = ()
        deallocates_all = destroys = False
        for judged in self.statements(text, conforming=conforming):
            if judged.pins:
                deciding = _telling(deciding, judged)
                destroys = destroys or RULES[judged.rule].outlives_reset
            references += judged.facts.references
            deallocates_all = deallocates_all or judged.facts.deallocates_all
        if deciding is None:
            return CLEAN
        pin = pin_for(deciding, text, text, conforming=conforming)._replace(destroys=destroys)
        return Verdict(pin, references, deallocates_all)

    def _decides(self, found: Facts) -> str:
        """The row that decides about a statement: the first that pins, else the first of all."""
        first = ""
        for rule in _rows(found):
            if rule in self._pinning:
                return rule
            first = first or rule
        return first


def _telling(first: Judged | None, later: Judged) -> Judged:
    """Of two statements that pin, the one whose reason is told.

    AWS's own words are known to be said: asyncpg's reset query, whose RESET ALL comes last, was
    seen with them (PIN-PG-22).
    """
    if first is None or (RULES[first.rule].ours and not RULES[later.rule].ours):
        return later
    return first


def pin_for(judged: Judged, text: str, digested: str, *, conforming: bool = True) -> Pin:
    """The pin by a statement of a text; its digest is that of `digested`. All read as Latin-1."""
    summary = digest(digested, standard_conforming_strings=conforming)
    statement = text[judged.start : judged.end]
    # A ledger is read by more people than a password is for (invariant 9).
    shown = disclosed(statement, standard_conforming_strings=conforming)
    return _pin(judged.rule, summary, shown)


# -- the table, by what a statement shows first ------------------------------------------------

_BEGINS: Final = by_first_word(
    pattern for rule in RULES.values() for text in rule.begins for pattern in ways(text, rule.id)
)
_SAYS: Final = by_first_word(
    pattern for rule in RULES.values() for text in rule.says for pattern in ways(text, rule.id)
)
_CALLS: Final = {name: rule.id for rule in RULES.values() for name in rule.calls}
# Of these calls the last argument decides.
_WITH_TRUE: Final = "(…, true)"

# A text of one query, maybe with a semicolon at its end: no other statement is in it.
_QUERIES: Final = "|".join(sorted(first_words(RUN) - first_words(MENTION) - _BEGINS.keys()))
_QUERY: Final = re.compile(rf"[\s(]*+(?:{_QUERIES})\b[^;]*+(?:;\s*+)?\Z".encode(), re.IGNORECASE)
_BROKEN_WORD: Final = re.compile(r"(;\s*)?([a-z_][a-z0-9_]*)")


def _rows(found: Facts) -> Iterator[str]:
    """The rows that a statement meets, in the order of its text."""
    for tokens, runs in found.acts:
        if tokens[0].kind == WORD:
            for pattern in _BEGINS.get(tokens[0].text, ()):
                if fits(pattern, tokens, 0):
                    yield pattern.rule
                    break
        if runs:
            yield from _rows_of_query(tokens)
        elif tokens[-1].kind == BROKEN:
            yield from _rows_of_the_rest(tokens[-1])


def _rows_of_query(tokens: Sequence[Token]) -> Iterator[str]:
    """The rows that a part of a statement meets whose expressions run."""
    for index, token in enumerate(tokens):
        if token.kind == WORD or token.kind == NAME:
            name = token.text
            if name in _CALLS and facts.is_call(tokens, index):
                longer = f"{name}{_WITH_TRUE}"
                if longer in _CALLS and facts.ends_with_true(tokens, index + 1):
                    name = longer
                yield _CALLS[name]
            elif name in _SAYS and token.kind == WORD and facts.is_clause(tokens, index):
                for pattern in _SAYS[name]:
                    if fits(pattern, tokens, index):
                        yield pattern.rule
                        break
        elif token.kind == BROKEN:
            yield from _rows_of_the_rest(token)


def _rows_of_the_rest(token: Token) -> Iterator[str]:
    """A quote or a comment never ends, so PostgreSQL runs nothing of the text.

    Should we be wrong about that, any word behind it that could pin keeps the server.
    """
    for separator, word in _BROKEN_WORD.findall(token.text):
        if word in _CALLS:
            yield _CALLS[word]
        elif separator and word in _BEGINS:
            yield from (pattern.rule for pattern in reversed(_BEGINS[word]))


def _suspicious(pinning: frozenset[str]) -> tuple[bytes, ...]:
    """What a query must contain to meet a row that pins: a name, or how a name is hidden."""
    words = {name.removesuffix(_WITH_TRUE) for name, rule in _CALLS.items() if rule in pinning}
    for found in _SAYS.values():
        for pattern in found:
            words |= [choice for choice in pattern.words if choice not in SPECIAL][-1]
    shortest = [word for word in words if not any(o in word for o in words if o != word)]
    return (*(word.encode() for word in sorted(shortest)), b'u&"')


def _pin(rule: str, summary: str, statement: str) -> Pin:
    """The pin by a rule; digest and statement are bytes read as Latin-1."""
    row = RULES[rule]
    summary, shown = readable(summary), readable(statement)
    reason = row.reason.replace("{digest}", summary)
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "\u2026"
    return Pin(rule, reason, summary, shown, row.outlives_reset)
