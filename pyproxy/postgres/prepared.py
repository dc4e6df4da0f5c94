"""One client's prepared statements, wherever they are: its names, and its messages rewritten.

A client may prepare a statement on one server and bind it, a transaction later, on another. So
(PS-03) the proxy remembers the text and the parameter types behind each client's name, gives every
distinct pair one name that is the same on all servers, and when the server at hand lacks it, sends
a Parse ahead of the Bind or Describe whose answer the client never sees. What it was told of types
holds there too: the parameters' are in that Parse, and the columns' are asked for (`Learning`)
before anything is bound. Where they differ the client hears what PostgreSQL says of that.

Three things keep the answers exactly those of a connection of one's own:

- A Parse of the client is always sent, never answered from memory: it fails where PostgreSQL
  would let it fail. A name is closed before it is parsed again (closing an unknown one is no
  error), so nothing depends on our knowledge of the server being complete.
- A change of a name counts at once for what follows it in its segment of the pipeline, which runs
  only if it has succeeded, and is undone when the server discards it. A message of a later segment
  waits for the answer (`STALL`): whether the change has happened decides what it means.
- Once a session is pinned its server is its own until the reset, and new names are used as they
  are: SQL-level PREPARE, EXECUTE and DEALLOCATE see what they would see without a proxy. A name
  from before the pin moves there when such a statement mentions it (`materialize`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from protocol.postgres import frontend
from protocol.postgres.conversation import (
    BIND,
    CLOSE,
    DESCRIBE,
    HIDDEN_CLOSE,
    HIDDEN_SYNC,
    OWED_BIND,
    OWED_CLOSE,
    OWED_DESCRIBE,
    OWED_QUERY,
    PARSE,
    QUERY,
    Conversation,
    Owed,
)
from protocol.postgres.framing import HEADER
from pyproxy.pinning.classifier import CLEAN
from pyproxy.postgres.names import (
    Named,
    Names,
    OwnChange,
    Refused,
    known_as,
    own_name,
    undecided,
)
from pyproxy.postgres.statements import (
    PREFIX,
    Catalog,
    Learning,
    Statement,
    Step,
    close_message,
    describe_message,
    is_definition,
    parse_message,
)

if TYPE_CHECKING:
    from pyproxy.postgres.server import ServerConnection

STATEMENT: Final = 0x53  # 'S' of Describe and Close
# A name that no statement ever has: closing it is how a Close of a shared statement is answered,
# and binding it how a Bind of one that must not be bound any more.
_NOBODY: Final = PREFIX + b"0"

# The rest of a Parse of no statement at all.
_EMPTY: Final = b"\0\0\0"
_SYNC: Final = HEADER.pack(frontend.SYNC, 4)
_FLUSH: Final = HEADER.pack(frontend.FLUSH, 4)

# What a rewriting gives back: bytes to send instead, and where the client's own bytes go on; if
# that is negative, the message has to wait for an answer: to an earlier one, or to these bytes.
Rewritten: TypeAlias = tuple[bytes, int]
STALL: Final = (b"", -1)


class Naming(Names):
    """What a client's statement names mean.

    Each method takes a message at `data[pos:end]` (whole, or for Bind at least its two names),
    enters what it will be owed, and returns what goes to the server in its place, or None for
    the bytes as they are. Malformed messages go as they are: PostgreSQL has the right error.
    """

    __slots__ = ("_catalog",)

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self._catalog = catalog

    # -- the client's messages -----------------------------------------------------------------

    def parse(
        self,
        server: ServerConnection,
        data: bytes,
        pos: int,
        end: int,
        *,
        conforming: bool,
        keeps: bool,
    ) -> Rewritten | None:
        """Parse. `conforming`: the session's standard_conforming_strings; `keeps`: its server."""
        self.mentioned = None
        self.moved = False
        conversation = server.conversation
        nul = data.find(0, pos + 5, end)
        if nul < 0 or not is_definition(data, nul + 1, end):
            conversation.extended(Owed(PARSE))
            return None
        sent_name = data[pos + 5 : nul]
        name = known_as(sent_name)
        statement = self._catalog.intern(data[nul + 1 : end], conforming)
        if (name or statement.verdict.references) and undecided(self._latest, conversation):
            return STALL
        self.mentioned = statement
        ahead = self._move(conversation, statement)
        if not name:
            self.enter_unnamed(server, statement)
            return (ahead, pos) if ahead else None
        existing = self.names.get(name)
        if existing is not None:
            return ahead + self._parse_again(server, existing, sent_name, statement.definition), end
        if keeps or self.moved:
            own = self._parse_own(conversation, statement, name)
            return (ahead + own, end) if own else (ahead, pos) if ahead else None
        statement = self.names[name] = statement.anew()
        sent = self._prepare(server, statement, Step(PARSE, False, name, statement))
        if not data.startswith(describe_message(sent_name), end):
            # The client does not ask itself.
            sent += self._ask(conversation, statement, name)
        return sent, end

    def parse_oversized(
        self, server: ServerConnection, data: bytes, pos: int, size: int, length: int
    ) -> Rewritten | None:
        """Parse too long to hold, on a server that the session keeps: only its name is looked at.

        `data[pos:size]` is here, and `length` bytes follow the tag in all.
        """
        self.mentioned = None
        conversation = server.conversation
        nul = data.find(0, pos + 5, size)
        sent_name = data[pos + 5 : nul] if nul >= 0 else b""
        name = known_as(sent_name)
        if not name:
            # Without its text it is never parsed anew (`_ensure_unnamed`).
            self.enter_unnamed(server, Statement(b"", b"", CLEAN))
            return None
        if undecided(self._latest, conversation):
            return STALL
        existing = self.names.get(name)
        if existing is None and own_name(name) is name:
            conversation.extended(Owed(PARSE))
            return None
        server_name, ahead = self._resolve(server, name)
        if server_name is None:
            return ahead, -1
        if server_name is _NOBODY and existing is not None:
            # Whatever it is there, its name is taken.
            server_name = existing.server_name
        self._enter(conversation, Step(PARSE, False, name, existing, previous=existing))
        header = HEADER.pack(frontend.PARSE, length + len(server_name) - len(sent_name))
        return ahead + header + server_name, nul

    def bind(
        self, server: ServerConnection, data: bytes, pos: int, size: int, length: int
    ) -> Rewritten | None:
        """Bind, of which `data[pos:size]` is here and `length` bytes follow the tag in all.

        Returns None also when its names are malformed.
        """
        self.mentioned = None
        self.moved = False
        conversation = server.conversation
        portal_end = data.find(0, pos + 5, size)
        start = portal_end + 1
        nul = data.find(0, start, size) if portal_end >= 0 else -1
        if nul < 0:
            conversation.extended(OWED_BIND)
            return None
        if nul == start and self.has_unnamed(server):
            self.mentioned = self.unnamed
            conversation.extended(OWED_BIND)
            return None
        sent_name = data[start:nul]
        name = known_as(sent_name)
        server_name, ahead = self._resolve(server, name)
        if server_name is None:
            return ahead, -1
        if server_name is _NOBODY:
            self._refuse(conversation, BIND, name)
        else:
            self.enter_bind(conversation, sent_name)
        if server_name is name:
            return (ahead, pos) if ahead else None
        header = HEADER.pack(frontend.BIND, length + len(server_name) - len(sent_name))
        return ahead + header + data[pos + 5 : start] + server_name, nul

    def describe(
        self, server: ServerConnection, data: bytes, pos: int, end: int
    ) -> Rewritten | None:
        """Describe of a statement or a portal."""
        self.moved = False
        conversation = server.conversation
        nul = data.find(0, pos + 6, end)
        if nul != end - 1 or data[pos + 5] != STATEMENT:
            conversation.extended(OWED_DESCRIBE)
            return None
        name = known_as(data[pos + 6 : nul])
        server_name, ahead = self._resolve(server, name)
        if server_name is None:
            return ahead, -1
        if server_name is _NOBODY:
            self._refuse(conversation, DESCRIBE, name)
        else:
            self._enter_describe(conversation, name)
        if server_name is name:
            return (ahead, pos) if ahead else None
        header = HEADER.pack(frontend.DESCRIBE, 6 + len(server_name))
        return ahead + header + b"S" + server_name, nul

    def close(self, server: ServerConnection, data: bytes, pos: int, end: int) -> Rewritten | None:
        """Close of a statement or a portal. The server keeps what others may still use."""
        conversation = server.conversation
        nul = data.find(0, pos + 6, end)
        if nul != end - 1 or data[pos + 5] != STATEMENT:
            conversation.extended(OWED_CLOSE)
            return None
        name = known_as(data[pos + 6 : nul])
        if self._must_wait(conversation, name):
            return STALL
        if not name:
            self._enter_unnamed(conversation, Step(CLOSE, False, name, None, previous=self.unnamed))
            self.unnamed = server.statements.unnamed = None
            return None
        statement = self.names.pop(name, None)
        if statement is None:
            said = self._own.pop(name, None)
            if said is None:
                conversation.extended(OWED_CLOSE)
            else:
                self._enter(conversation, OwnChange(CLOSE, name, said))
            own = own_name(name)
            return None if own is name else (close_message(own), end)
        self._remember_former(statement, name)
        self._enter(conversation, Step(CLOSE, False, name, statement))
        return close_message(_NOBODY), end

    def query(self, server: ServerConnection, *, deallocates_all: bool = False) -> None:
        """Query, which drops the unnamed statement (PostgreSQL manual, "Extended Query").

        `server.asked` is its text.
        """
        conversation = server.conversation
        if deallocates_all:
            self._latest_unnamed = self._forget_all(conversation, QUERY)
        elif self.without_unnamed:
            conversation.query(OWED_QUERY)
        else:
            # Its text matters where it may be that PostgreSQL cannot even read it.
            text = server.asked
            asked = None if text.isascii() else Statement(b"", text, CLEAN)
            step = Step(QUERY, False, b"", asked, previous=self.unnamed)
            step.segment = conversation.segment
            self._latest_unnamed = step
            conversation.query(step)
        self.unnamed = server.statements.unnamed = None

    def execute(self, conversation: Conversation, owed: Owed, *, deallocates_all: bool) -> None:
        """Execute of a portal that was looked into."""
        if deallocates_all:
            self._forget_all(conversation, owed.kind)
        else:
            conversation.extended(owed)

    # -- statements that SQL mentions ----------------------------------------------------------

    def materialize(self, conversation: Conversation, references: tuple[bytes, ...]) -> bytes:
        """Messages that give statements of this client their own names on its pinned server."""
        moved = b""
        mentioned = list(references)
        for name in map(known_as, mentioned):
            statement = self.names.pop(name, None)
            if statement is not None:
                # EXECUTE of a statement that is an EXECUTE itself.
                mentioned += statement.verdict.references
                # A Bind on its way may still use the shared one.
                self._remember_former(statement, name)
                self._enter(conversation, Step(PARSE, True, name, statement, previous=statement))
                self._says(name, statement)
                moved += parse_message(name, statement.parsed_anew)
        return moved

    def materialize_before_query(
        self, conversation: Conversation, references: tuple[bytes, ...]
    ) -> bytes:
        """The same ahead of a simple Query: a segment of its own, with its own Sync.

        Behind what the client has not synced it is part of that: if that has failed, neither this
        nor the Query is done.
        """
        joins = conversation.unsynced
        moved = self.materialize(conversation, references)
        if joins:
            return moved
        conversation.sync(HIDDEN_SYNC)
        return moved + _SYNC

    # -- what the short walk asks and enters -----------------------------------------------------

    def has_unnamed(self, server: ServerConnection) -> bool:
        """Is this client's unnamed statement there, and nothing to be asked about it?"""
        statement = self.unnamed
        return (
            statement is not None
            and server.statements.unnamed is statement
            and statement.verdict is CLEAN
            and not undecided(self._latest_unnamed, server.conversation)
            and self._awaited is None
        )

    def enter_unnamed(self, server: ServerConnection, statement: Statement) -> None:
        """The Parse of an unnamed statement is on its way."""
        self._enter_unnamed(
            server.conversation, Step(PARSE, False, b"", statement, previous=self.unnamed)
        )
        self.unnamed = server.statements.unnamed = statement

    def enter_bind(self, conversation: Conversation, name: bytes) -> None:
        """A Bind is on its way."""
        conversation.extended(Named(BIND, name) if name else OWED_BIND)

    def _enter_describe(self, conversation: Conversation, name: bytes) -> None:
        """A Describe of the client is on its way: if nothing is known of the statement, learn."""
        statement = self.names.get(name) if name else self.unnamed
        if statement is not None and not statement.description and statement.definition:
            conversation.extended(Learning(False, name, statement))
        else:
            conversation.extended(Named(DESCRIBE, name) if name else OWED_DESCRIBE)

    def _refuse(self, conversation: Conversation, kind: int, name: bytes) -> None:
        """A Bind or Describe is on its way to nobody."""
        statement = self._meaning(name)
        assert statement is not None
        conversation.extended(Refused(kind, name, statement))

    # -- inside: rewriting ---------------------------------------------------------------------

    def _parse_own(self, conversation: Conversation, statement: Statement, name: bytes) -> bytes:
        """A new name on a server that the session keeps: used as it is, so nothing is changed.

        Returns the message in the place of the client's for one that looks like ours.
        """
        self._enter(conversation, OwnChange(PARSE, name, self._own.get(name)))
        self._says(name, statement)
        own = own_name(name)
        return b"" if own is name else parse_message(own, statement.definition)

    def _move(self, conversation: Conversation, statement: Statement | None) -> bytes:
        """Shared statements that this SQL mentions get their own names here; `moved` tells."""
        if statement is None or not statement.verdict.references:
            return b""
        moved = self.materialize(conversation, statement.verdict.references)
        self.moved = bool(moved)
        return moved

    def _parse_again(
        self, server: ServerConnection, existing: Statement, name: bytes, definition: bytes
    ) -> bytes:
        """A Parse of a name in use: the server shall say so, after whatever else it objects to."""
        conversation = server.conversation
        server_name = existing.server_name
        ahead = b""
        if not server.statements.touch(existing):
            server.statements.names.pop(server_name, None)
            # A decoy takes the name: the empty text can be parsed even in a failed transaction.
            conversation.extended(HIDDEN_CLOSE)
            self._enter(conversation, Step(PARSE, True, server_name, existing))
            ahead = close_message(server_name) + parse_message(server_name, _EMPTY)
        self._enter(conversation, Step(PARSE, False, name, existing, previous=existing))
        return ahead + parse_message(server_name, definition)

    def _prepare(self, server: ServerConnection, statement: Statement, step: Step) -> bytes:
        """Parse under the shared name, whether or not the server has it."""
        conversation = server.conversation
        name = statement.server_name
        ahead = server.statements.add(statement, conversation)
        conversation.extended(HIDDEN_CLOSE)
        self._enter(conversation, step)
        return ahead + close_message(name) + parse_message(name, statement.parsed_anew)

    def _ask(self, conversation: Conversation, statement: Statement, name: bytes) -> bytes:
        """What is it described as?"""
        conversation.extended(Learning(True, name, statement))
        return describe_message(statement.server_name if name else name)

    def _wait_for_description(
        self, conversation: Conversation, statement: Statement, name: bytes
    ) -> bytes:
        """Is it still what the client was told? The next message waits for that."""
        asked = self._awaited = Learning(True, name, statement)
        conversation.extended(asked)
        return describe_message(statement.server_name if name else name) + _FLUSH

    def _resolve(self, server: ServerConnection, name: bytes) -> tuple[bytes | None, bytes]:
        """The name on the server, and what has to be sent ahead for it to be there.

        No name: the message has to wait, for the answer to that or to what was sent before.
        `_NOBODY`: it must fail.
        """
        self.moved = False
        if self._must_wait(server.conversation, name):
            return None, b""
        statement = self.names.get(name)
        awaited = self._awaited
        if statement is not None and statement.verdict is CLEAN and awaited is None:
            self.mentioned = statement
            if server.statements.touch(statement):
                return statement.server_name, b""
        statement = self.mentioned = self._meaning(name)
        if awaited is not None:
            if not awaited.done:
                return None, b""
            self._awaited = None
            if awaited.differs:
                return _NOBODY, b""
        moved = self._move(server.conversation, statement)
        if not name:
            ahead = self._ensure_unnamed(server)
            return name if self._awaited is None else None, moved + ahead
        if name not in self.names:
            return own_name(name), moved
        assert statement is not None
        server_name = statement.server_name
        if server.statements.touch(statement):
            return server_name, moved
        server.statements.counters.statements_injected += 1
        step = Step(PARSE, True, server_name, statement)
        moved += self._prepare(server, statement, step)
        if not statement.description:
            return server_name, moved
        return None, moved + self._wait_for_description(server.conversation, statement, name)

    def _ensure_unnamed(self, server: ServerConnection) -> bytes:
        """What makes the server's unnamed statement this client's, or absent as it is here."""
        statement = self.unnamed
        if statement is None:
            server.conversation.extended(HIDDEN_CLOSE)
            server.statements.unnamed = None
            return close_message(b"")
        if server.statements.unnamed is statement or not statement.definition:
            # One too long to be held is there for certain: its session keeps the server.
            return b""
        conversation = server.conversation
        self._enter_unnamed(conversation, Step(PARSE, True, b"", statement))
        server.statements.unnamed = statement
        server.statements.counters.statements_injected += 1
        parsed = parse_message(b"", statement.parsed_anew)
        if not statement.description:
            return parsed
        return parsed + self._wait_for_description(conversation, statement, b"")
