"""What is prepared where: every distinct statement of the proxy, and what one server has of them.

- `Statement` is one text with its parameter types; `Catalog` holds them for the whole proxy.
  What databases describe it as makes forms of it: a client has the one that it was told.
- `ServerStatements` is what one server has, least recently used first, bounded.

`prepared.py` is the other side: one client's names, and the rewriting of its messages.
"""

from __future__ import annotations

from typing import Final

from protocol.postgres import frontend
from protocol.postgres.conversation import CLOSE, DESCRIBE, EXECUTE, PARSE, Conversation, Owed
from protocol.postgres.framing import HEADER
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pinning.classifier import Classifier, Verdict
from pyproxy.postgres.descriptions import describe, keeps_columns, types_in

# What our names on the servers begin with; no name of a client is ever sent with this prefix.
PREFIX: Final = b"pyproxy_"

# A definition longer than this is a statement of its own each time rather than remembered.
_REMEMBERED: Final = 32 * 1024
# How many forms of one text are remembered, as it may be sent to many databases; one for which
# longer replies have to be compared is the only one.
_FORMS: Final = 16
_LONGEST_TOLD: Final = 4096


class Statement:
    """A text and its parameter types, prepared by anyone, under a name or none."""

    __slots__ = (
        "_bind",
        "_bind_length",
        "_forms",
        "_origin",
        "definition",
        "description",
        "server_name",
        "verdict",
    )

    def __init__(
        self,
        server_name: bytes,
        definition: bytes,
        verdict: Verdict,
        origin: Statement | None = None,
        description: bytes = b"",
    ) -> None:
        # The same on every server; b"" for one that is never shared by name.
        self.server_name = server_name
        # The body of Parse after the name: text, NUL, parameter types.
        self.definition = definition
        self.verdict = verdict
        # What a database has described it as; b"" while nothing is known of that.
        self.description = description
        # The one of the catalog, of which this is a form; of that one, its forms by the
        # replies that tell of them.
        self._origin = origin
        self._forms: dict[bytes, Statement] | None = None
        # As `bind_head` had it last: parameters are mostly as long as those before.
        self._bind = b""
        self._bind_length = -1

    def bind_head(self, length: int) -> bytes:
        """A Bind to the unnamed portal, up to its name's NUL; `length` does not count the name."""
        if length != self._bind_length:
            self._bind_length = length
            name = self.server_name
            self._bind = HEADER.pack(frontend.BIND, length + len(name)) + b"\0" + name
        return self._bind

    def anew(self) -> Statement:
        """The same, of which nobody knows yet what it will be described as."""
        return Statement(self.server_name, self.definition, self.verdict, self._origin or self)

    def form(self, parameters: bytes, row: bytes) -> Statement:
        """The same, as described by the bodies of these replies: one for all who are told so."""
        if self._origin is not None:
            return self._origin.form(parameters, row)
        forms = self._forms
        if forms is None:
            forms = self._forms = {}
        if row and not keeps_columns(self.definition):
            row = b""
        told = parameters + row
        form = forms.get(told)
        if form is None:
            if len(told) > _LONGEST_TOLD or len(forms) >= _FORMS:
                forms.clear()
            description = describe(parameters, row)
            form = Statement(self.server_name, self.definition, self.verdict, self, description)
            forms[told] = form
        return form

    def is_as(self, other: Statement) -> bool:
        """Are these, which have one name, described alike?"""
        return self is other or (bool(self.description) and self.description == other.description)

    @property
    def parsed_anew(self) -> bytes:
        """Its definition elsewhere: the types of its parameters stay what the client was told."""
        if not self.description:
            return self.definition
        return self.definition[: self.definition.find(0) + 1] + types_in(self.description)


class Catalog:
    """Every distinct (text, parameter types), numbered; bounded in bytes by two generations.

    A statement that falls out is still valid for who holds it; the next Parse of its text makes
    another one under a new name. Numbers are never used again, so two texts never share a name.
    """

    def __init__(self, classifier: Classifier, *, limit_bytes: int = 16 << 20) -> None:
        self._classifier = classifier
        self._limit_bytes = limit_bytes
        # By definition; with standard_conforming_strings off, by definition and False.
        self._young: dict[bytes | tuple[bytes, bool], Statement] = {}
        self._old: dict[bytes | tuple[bytes, bool], Statement] = {}
        self._young_bytes = 0
        self._numbered = 0

    def intern(self, definition: bytes, standard_conforming_strings: bool) -> Statement:
        """The statement of a Parse body after the name."""
        key = definition if standard_conforming_strings else (definition, False)
        statement = self._young.get(key)
        if statement is not None:
            return statement
        statement = self._old.get(key)
        if statement is None:
            self._numbered += 1
            sql = definition[: definition.find(0)]
            verdict = self._classifier.judge(
                sql, standard_conforming_strings=standard_conforming_strings
            )
            statement = Statement(PREFIX + b"%d" % self._numbered, definition, verdict)
        self._remember(key, statement)
        return statement

    def _remember(self, key: bytes | tuple[bytes, bool], statement: Statement) -> None:
        if len(statement.definition) > _REMEMBERED:
            return
        if self._young_bytes > self._limit_bytes // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = statement
        self._young_bytes += len(statement.definition) + 1000

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())


class Pending(Owed):
    """A reply to a message that changes what names mean."""

    __slots__ = ("done", "segment")

    def __init__(self, kind: int, hidden: bool) -> None:
        super().__init__(kind, hidden)
        # The segment of the pipeline in which it was sent.
        self.segment = 0
        # It was answered or discarded: its effect is known.
        self.done = False


class Step(Pending):
    """A change of a name on its way, with what to put back if the server discards it.

    A Parse or a Close; also a simple Query, which drops the unnamed statement.
    """

    __slots__ = ("name", "previous", "statement")

    def __init__(
        self,
        kind: int,
        hidden: bool,
        name: bytes,
        statement: Statement | None,
        previous: Statement | None = None,
    ) -> None:
        # What the base classes' constructors do: there is one of these for every Parse.
        self.kind = kind
        self.hidden = hidden
        self.segment = 0
        self.done = False
        # The client's name; of a hidden step the server's.
        self.name = name
        self.statement = statement
        # What the client's name meant before.
        self.previous = previous

    @property
    def changes_unnamed(self) -> bool:
        """Is it a message of the client that makes or drops the unnamed statement?"""
        return not self.name and not self.hidden and self.kind != EXECUTE

    @property
    def doubtful(self) -> bool:
        """Is it a Parse of a name in use, which can only fail?"""
        return (
            self.kind == PARSE and not self.hidden and bool(self.name) and self.previous is not None
        )


class Learning(Pending):
    """A Describe, ours or the client's, whose answer is kept with the statement."""

    __slots__ = ("differs", "name", "parameters", "statement")

    def __init__(self, hidden: bool, name: bytes, statement: Statement) -> None:
        super().__init__(DESCRIBE, hidden)
        # The client's name.
        self.name = name
        # If its description is known, it is one that has been prepared anew: it is compared.
        self.statement = statement
        # What has come of the answer: the body of its ParameterDescription.
        self.parameters = b""
        # Prepared anew, it has other columns than the client was told.
        self.differs = False


class ServerStatements:
    """What one server has prepared for us, least recently used first.

    `names` is a hint, never a proof: a statement in it may be gone, one outside it may be there.
    """

    __slots__ = ("counters", "limit", "names", "unnamed")

    def __init__(self, limit: int, counters: ProxyCounters) -> None:
        self.limit = limit
        self.counters = counters
        self.names: dict[bytes, Statement] = {}
        # Whose text the unnamed statement is; None when there is none, or nobody knows.
        self.unnamed: Statement | None = None

    def forget_all(self) -> None:
        """DEALLOCATE ALL, DISCARD ALL, or an answer that shows that we were wrong."""
        self.names.clear()
        self.unnamed = None

    def touch(self, statement: Statement) -> bool:
        """Is it there? Then it is the most recently used one from now on."""
        names = self.names
        name = statement.server_name
        there = names.get(name)
        if there is not statement and (there is None or not statement.is_as(there)):
            return False
        if len(names) * 2 > self.limit:
            del names[name]
            names[name] = statement
        return True

    def add(self, statement: Statement, conversation: Conversation) -> bytes:
        """It is being parsed; returns Close messages for what has to make room."""
        names = self.names
        names.pop(statement.server_name, None)
        evictions = b""
        while len(names) >= self.limit:
            name = next(iter(names))
            evicted = names.pop(name)
            conversation.extended(Step(CLOSE, True, name, evicted))
            evictions += close_message(name)
        names[statement.server_name] = statement
        return evictions

    def learned(self, statement: Statement, form: Statement) -> None:
        """Where it is, it is described like that."""
        if self.names.get(statement.server_name) is statement:
            self.names[statement.server_name] = form
        if self.unnamed is statement:
            self.unnamed = form

    def forget(self, statement: Statement) -> None:
        """It has to be parsed before it is used again."""
        if self.names.get(statement.server_name) is statement:
            del self.names[statement.server_name]
        if self.unnamed is statement:
            self.unnamed = None

    def discarded(self, step: Step) -> None:
        """The server did not get to a hidden step, or failed in it."""
        if step.kind == PARSE:
            self.names.pop(step.name, None)
        elif step.statement is not None:
            self.names[step.name] = step.statement


def is_definition(data: bytes, pos: int, end: int) -> bool:
    """Is `data[pos:end]` the body of a Parse after the name: text, NUL, parameter types?"""
    count_at = data.find(0, pos, end) + 1
    types_at = count_at + 2
    return (
        count_at > 0
        and types_at <= end
        and types_at + 4 * int.from_bytes(data[count_at:types_at], "big") == end
    )


def close_message(name: bytes) -> bytes:
    """Close of a prepared statement."""
    return HEADER.pack(frontend.CLOSE, 6 + len(name)) + b"S" + name + b"\0"


def describe_message(name: bytes) -> bytes:
    """Describe of a prepared statement."""
    return HEADER.pack(frontend.DESCRIBE, 6 + len(name)) + b"S" + name + b"\0"


def parse_message(name: bytes, definition: bytes) -> bytes:
    """Parse of a statement under `name`."""
    return HEADER.pack(frontend.PARSE, 5 + len(name) + len(definition)) + b"".join(
        (name, b"\0", definition)
    )
