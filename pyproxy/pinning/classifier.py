"""Text to verdict: which rule a statement meets, and what else the session must know of it.

    classifier = Classifier(compatibility)
    verdict = classifier.judge(b"SET search_path TO app", standard_conforming_strings=True)
    verdict.pin.rule, verdict.pin.reason          # "PIN-PG-01", AWS's words

As RDS Proxy it goes by the text alone (C-05): what functions change inside is not seen
(NOPIN-PG-02); `audit` looks for that. Pure; verdicts are remembered by text, so in the steady
state a judgement costs one look into a dictionary.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from pyproxy.pinning import sql
from pyproxy.pinning.digest import digest
from pyproxy.pinning.rules import RULES, RUNNING
from pyproxy.pinning.sql import LITERAL, NAME, SYMBOL, WORD, Token

# PIN-ALL-01: longer than this pins, in bytes of one statement.
STATEMENT_LIMIT: Final = 16_384
# What of a statement is shown to people.
SHOWN: Final = 200
# Texts longer than this are judged anew each time rather than remembered.
_REMEMBERED_TEXT: Final = 32 * 1024


class Switches(Protocol):
    """The part of `compatibility:` that is asked here."""

    @property
    def set_local(self) -> str:
        """`pin` or `no_pin` (PIN-PG-11)."""

    @property
    def set_config_local(self) -> str:
        """`pin` or `no_pin` (PIN-PG-12)."""

    @property
    def named_parse(self) -> str:
        """`pin` or `no_pin` (PS-04)."""

    @property
    def preset(self) -> str:
        """`legacy_2023` or nothing (PS-01)."""


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
        return self._replace(reason=RUNNING + self.reason)

    @classmethod
    def of_startup(cls, names: str) -> Pin:
        """Startup settings that no shared server has (extension)."""
        return _pin("OWN-PIN-01", names, names)


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


class _Finding(NamedTuple):
    """What one statement meets."""

    rule: str = ""
    references: tuple[bytes, ...] = ()
    deallocates_all: bool = False


_NOTHING: Final = _Finding()


class Classifier:
    """Judges texts, and remembers its verdicts in two generations, bounded in bytes."""

    def __init__(self, switches: Switches, *, limit_bytes: int = 16 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._young: dict[bytes, Verdict] = {}
        self._old: dict[bytes, Verdict] = {}
        self._young_bytes = 0
        self._set_local = "PIN-PG-11" if switches.set_local == "pin" else ""
        self._set_config_local = "PIN-PG-12" if switches.set_config_local == "pin" else ""
        legacy = switches.preset == "legacy_2023"
        parse = _pin("PS-01", "", "")
        self._any_parse = parse if legacy else None
        self._named_parse = parse if legacy or switches.named_parse == "pin" else None

    # -- the session's questions ---------------------------------------------------------------

    def judge(self, text: bytes, *, standard_conforming_strings: bool = True) -> Verdict:
        """The verdict on a text of any number of statements; never raises."""
        # No text that PostgreSQL would read begins with a zero byte.
        key = text if standard_conforming_strings else b"\0" + text
        verdict = self._young.get(key)
        if verdict is None:
            verdict = self._old.get(key)
            if verdict is None:
                verdict = self._judge(text.decode("latin-1"), standard_conforming_strings)
            self._remember(key, verdict)
        return verdict

    def oversized(self, head: bytes) -> Verdict:
        """The verdict on a text so long that only its head is known (PIN-ALL-01)."""
        text = head.decode("latin-1")
        return Verdict(_pin("PIN-ALL-01", digest(text), text))

    def function_call(self) -> Pin:
        """The FunctionCall message (PIN-PG-33)."""
        return _pin("PIN-PG-33", "", "")

    def parse(self, *, named: bool) -> Pin | None:
        """What a Parse does as such: nothing since November 2023 (PS-02)."""
        return self._named_parse if named else self._any_parse

    # -- inside --------------------------------------------------------------------------------

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        if len(key) > _REMEMBERED_TEXT:
            return
        if self._young_bytes > self._limit_bytes // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = verdict
        # The dictionary's own share, and a verdict's.
        self._young_bytes += len(key) + (100 if verdict is CLEAN else 3_000)

    def _judge(self, text: str, conforming: bool) -> Verdict:
        rule = shown = ""
        references: tuple[bytes, ...] = ()
        deallocates_all = False
        for statement in sql.split(text, standard_conforming_strings=conforming):
            finding = self._examine(statement.tokens)
            if statement.size > STATEMENT_LIMIT:
                finding = finding._replace(rule=finding.rule or "PIN-ALL-01")
            if finding.rule and not rule:
                rule = finding.rule
                shown = text[statement.tokens[0].start : statement.tokens[-1].end]
            references += finding.references
            deallocates_all = deallocates_all or finding.deallocates_all
        if not rule:
            return CLEAN
        pin = _pin(rule, digest(text, standard_conforming_strings=conforming), shown)
        return Verdict(pin, references, deallocates_all)

    def _examine(self, tokens: list[Token]) -> _Finding:
        """One statement."""
        start = 0
        while start < len(tokens) and tokens[start].text == "(" and tokens[start].kind == SYMBOL:
            start += 1
        if start == len(tokens):
            return _NOTHING
        first = tokens[start]
        if first.kind != WORD:
            return self._expression(tokens)
        if first.text == "explain":
            return self._explain(tokens[start + 1 :])
        command = getattr(self, f"_on_{first.text}", None) if first.text in _COMMANDS else None
        if command is not None:
            finding: _Finding = command(tokens[start:])
            return finding
        if first.text in _RUN_NOTHING:
            return _NOTHING
        return self._expression(tokens)

    def _on_set(self, tokens: list[Token]) -> _Finding:
        words = [token.text for token in tokens[1:4] if token.kind == WORD]
        first = words[0] if words else ""
        if first in ("local", "transaction", "constraints"):
            return _Finding(self._set_local)
        if first == "session" and words[1:2] == ["characteristics"]:
            return _Finding("PIN-PG-13")
        if first == "session" and words[1:2] != ["authorization"]:
            first = words[1] if len(words) > 1 else ""
        if first in ("role", "session"):
            return _Finding("PIN-PG-15")
        if first in ("names", "time"):
            return _Finding("PIN-PG-16")
        return _Finding("PIN-PG-01")

    def _on_reset(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-10")

    def _on_prepare(self, tokens: list[Token]) -> _Finding:
        if _word(tokens, 1) == "transaction" and len(tokens) == 3 and tokens[2].kind == LITERAL:
            # Two-phase commit: it ends the transaction and leaves nothing in the session.
            return _NOTHING
        return _Finding("PIN-PG-02", _names(tokens, 1))

    def _on_execute(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-02", _names(tokens, 1))

    def _on_deallocate(self, tokens: list[Token]) -> _Finding:
        at = 2 if _word(tokens, 1) == "prepare" and len(tokens) > 2 else 1
        if _word(tokens, at) == "all":
            return _Finding("PIN-PG-02", (), deallocates_all=True)
        return _Finding("PIN-PG-02", _names(tokens, at))

    def _on_discard(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-05", (), deallocates_all=_word(tokens, 1) == "all")

    def _on_declare(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-04")

    def _on_listen(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-06")

    def _on_load(self, tokens: list[Token]) -> _Finding:
        return _Finding("PIN-PG-07")

    def _on_create(self, tokens: list[Token]) -> _Finding:
        words = [token.text for token in tokens[1:6] if token.kind == WORD]
        if words[:2] == ["or", "replace"]:
            words = words[2:]
        kind = words[0] if words else ""
        if kind in _TEMPORARY or (kind in ("global", "local") and words[1:2] in _TEMPORARY_LISTS):
            return _with(_Finding("PIN-PG-03"), _executed_by_create(tokens))
        if _in_pg_temp(tokens):
            return _Finding("PIN-PG-28")
        if kind in ("table", "unlogged", "materialized"):
            return self._create_as(tokens)
        return _NOTHING

    def _create_as(self, tokens: list[Token]) -> _Finding:
        """CREATE TABLE … AS runs a query; a definition only mentions functions."""
        references = _executed_by_create(tokens)
        if references:
            return _Finding("PIN-PG-02", references)
        depth = 0
        for index, token in enumerate(tokens):
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == SYMBOL else 0
            if token.kind == WORD and token.text == "as" and not depth:
                return self._expression(tokens[index:])
        return _NOTHING

    def _explain(self, tokens: list[Token]) -> _Finding:
        """EXPLAIN ANALYZE runs what it explains; EXPLAIN alone only plans it (PIN-PG-27)."""
        at, runs = _explain_options(tokens)
        explained = tokens[at:]
        finding = self._examine(explained)
        if runs:
            return finding
        # It looks a prepared statement up, though, so that has to be there.
        return _Finding("PIN-PG-02", finding.references) if finding.references else _NOTHING

    def _expression(self, tokens: list[Token]) -> _Finding:
        """A statement that runs expressions: functions anywhere in it, SELECT … INTO TEMP."""
        last = len(tokens) - 1
        for index, token in enumerate(tokens):
            if token.kind == sql.BROKEN:
                # It will not run; should we be wrong about that, any such word keeps the server.
                rule = next((r for name, r in _FUNCTIONS.items() if name in token.text), "")
                if rule or "set_config" in token.text:
                    return _Finding(rule or "PIN-PG-10")
            elif token.kind in (WORD, NAME) and index < last:
                rule = self._at(tokens, index)
                if rule:
                    return _Finding(rule)
        return _NOTHING

    def _at(self, tokens: list[Token], index: int) -> str:
        token, following = tokens[index], tokens[index + 1]
        if following.text == "(" and following.kind == SYMBOL:
            if token.text == "set_config" and _is_builtin(tokens, index):
                return self._set_config(tokens, index + 1)
            rule = _FUNCTIONS.get(token.text, "")
            return rule if rule and _is_builtin(tokens, index) else ""
        if token.kind == WORD and token.text == "into" and following.kind in (WORD, NAME):
            target = following
            if target.text in ("local", "global") and index + 2 < len(tokens):
                target = tokens[index + 2]
            if target.kind == WORD and target.text in _TEMPORARY and _selects(tokens, index):
                return "PIN-PG-21"
            if following.text == "pg_temp" and _selects(tokens, index):
                return "PIN-PG-28"
        return ""

    def _set_config(self, tokens: list[Token], opening: int) -> str:
        """PIN-PG-10, or PIN-PG-12 when its third argument is the literal true."""
        depth = commas = 0
        third: list[Token] = []
        for token in tokens[opening:]:
            if token.kind == SYMBOL:
                depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
                if not depth:
                    break
                if token.text == "," and depth == 1:
                    commas += 1
                    continue
            if commas == 2:
                third.append(token)
        words = [token.text.strip("'").lower() for token in third]
        is_local = bool(words) and words[0] in _TRUE and words[1:] in _CASTS
        return self._set_config_local if is_local else "PIN-PG-10"


_COMMANDS: Final = frozenset(
    name.removeprefix("_on_") for name in vars(Classifier) if name.startswith("_on_")
)
# Commands whose text mentions functions without running them, or that have no expressions at all.
_RUN_NOTHING: Final = frozenset(
    [
        *("abort", "alter", "analyze", "begin", "checkpoint", "close", "cluster", "comment"),
        *("commit", "do", "drop", "end", "fetch", "grant", "import", "lock", "move", "notify"),
        *("reassign", "refresh", "reindex", "release", "revoke", "rollback", "savepoint"),
        *("security", "show", "start", "truncate", "unlisten", "vacuum"),
    ]
)
_TEMPORARY: Final = frozenset({"temp", "temporary"})
_TEMPORARY_LISTS: Final = (["temp"], ["temporary"])
_TRUE: Final = frozenset({"true", "t", "on", "yes", "1"})
_CASTS: Final[tuple[list[str], ...]] = ([], [":", ":", "bool"], [":", ":", "boolean"])

_FUNCTIONS: Final = {
    "nextval": "PIN-PG-08",
    "setval": "PIN-PG-08",
    "pg_advisory_lock": "PIN-PG-09",
    "pg_advisory_lock_shared": "PIN-PG-09",
    "pg_try_advisory_lock": "PIN-PG-09",
    "pg_try_advisory_lock_shared": "PIN-PG-09",
    "pg_advisory_unlock": "PIN-PG-22",
    "pg_advisory_unlock_shared": "PIN-PG-22",
    "pg_advisory_unlock_all": "PIN-PG-22",
}


def _pin(rule: str, summary: str, statement: str) -> Pin:
    reason = RULES[rule].reason.replace("{digest}", summary)
    shown = statement if len(statement) <= SHOWN else statement[: SHOWN - 1] + "\u2026"
    return Pin(rule, reason, summary, shown, destroys=rule == "PIN-PG-07")


def _with(finding: _Finding, references: tuple[bytes, ...]) -> _Finding:
    return finding._replace(references=references)


def _word(tokens: list[Token], index: int) -> str:
    """The keyword at a place, or ""."""
    if index < len(tokens) and tokens[index].kind == WORD:
        return tokens[index].text
    return ""


def _names(tokens: list[Token], index: int) -> tuple[bytes, ...]:
    """The name at a place, as PostgreSQL knows it."""
    if index < len(tokens) and tokens[index].kind in (WORD, NAME):
        return (tokens[index].text.encode("latin-1", "replace"),)
    return ()


def _is_builtin(tokens: list[Token], index: int) -> bool:
    """Is the function at a place PostgreSQL's own: unqualified, or of pg_catalog?"""
    if index < 2 or tokens[index - 1].text != ".":
        return True
    return tokens[index - 2].text == "pg_catalog"


def _selects(tokens: list[Token], index: int) -> bool:
    """Is the INTO at a place that of a SELECT? INSERT and MERGE have one too."""
    return index == 0 or tokens[index - 1].text not in ("insert", "merge")


def _in_pg_temp(tokens: list[Token]) -> bool:
    """Does a CREATE put its object into the temporary schema?"""
    for index, token in enumerate(tokens[:-1]):
        if token.kind == SYMBOL and token.text == "(":
            return False
        if token.kind == WORD and token.text == "as":
            return False
        if token.text == "pg_temp" and tokens[index + 1].text == ".":
            return True
    return False


def _executed_by_create(tokens: list[Token]) -> tuple[bytes, ...]:
    """The statement of a CREATE TABLE … AS EXECUTE."""
    for index in range(len(tokens) - 2):
        if _word(tokens, index) == "as" and _word(tokens, index + 1) == "execute":
            return _names(tokens, index + 2)
    return ()


def _explain_options(tokens: list[Token]) -> tuple[int, bool]:
    """Where the explained statement begins, and whether it runs."""
    at = 0
    runs = False
    if tokens and tokens[0].text == "(" and _word(tokens, 1) not in _QUERIES:
        depth = 0
        for at, token in enumerate(tokens):
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == SYMBOL else 0
            if token.kind == WORD and token.text in ("analyze", "analyse"):
                value = tokens[at + 1].text.strip("'").lower() if at + 1 < len(tokens) else ""
                runs = value not in ("false", "off", "0")
            if not depth:
                break
        return at + 1, runs
    while _word(tokens, at) in ("analyze", "analyse", "verbose"):
        runs = runs or _word(tokens, at) != "verbose"
        at += 1
    return at, runs


_QUERIES: Final = frozenset({"select", "with", "values", "table"})
