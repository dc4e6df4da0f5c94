"""What one client's statement names mean, as far as that is known, and what if it goes wrong.

A name changes its meaning when the Parse or Close is sent, for the rest of its pipeline segment;
the answer makes it final, an error undoes it. `prepared` sends the messages, this keeps the books.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from protocol.postgres import backend
from protocol.postgres.conversation import (
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    QUERY,
    Conversation,
    Owed,
)
from protocol.postgres.framing import HEADER, LENGTH_BYTES
from pyproxy.postgres.descriptions import is_change, refusal
from pyproxy.postgres.statements import PREFIX, Learning, Pending, Statement, Step

if TYPE_CHECKING:
    from pyproxy.postgres.series import Series
    from pyproxy.postgres.server import ServerConnection

# A client's own name that looks like one of ours, or like such a one, is sent with this in front.
FOREIGN: Final = b"client_"
OUR_LIKE: Final = b"(?:" + FOREIGN + b")*" + PREFIX
_OURS_AT_FIRST: Final = re.compile(OUR_LIKE)
_FORMER_LIMIT: Final = 64
# protocol_violation: what PostgreSQL calls a message that it could not read.
_MALFORMED: Final = b"08P01"
# character_not_in_repertoire: a text that is none in the client's encoding, for one.
_NOT_IN_ENCODING: Final = b"22021"
# Of a longer name PostgreSQL takes the beginning (NAMEDATALEN; the hash of prepare.c).
_LONGEST_NAME: Final = 63

# A name of ours in an error message, and which errors name a statement: it is not there, it is, a
# Bind has not as many parameters as it.
_OUR_NAME: Final = re.compile(b'"(' + OUR_LIKE + b'[^"]*)"')
_NO_SUCH_STATEMENT: Final = b"26000"
_NAMING: Final = (_NO_SUCH_STATEMENT, b"42P05", _MALFORMED)


class Named(Owed):
    """A Bind or Describe, and the client's name of its statement: an error in it has to say so.

    By then the name may mean something else, and the statement have other names.
    """

    __slots__ = ("name",)

    def __init__(self, kind: int, name: bytes) -> None:
        super().__init__(kind)
        self.name = name


class Refused(Named):
    """A Bind or Describe that is sent to fail: its statement is not what the client was told."""

    __slots__ = ("statement",)

    def __init__(self, kind: int, name: bytes, statement: Statement) -> None:
        super().__init__(kind, name)
        self.statement = statement


class Forgetting(Step):
    """A Query or Execute of DEALLOCATE ALL or DISCARD ALL, with the names it is about to drop."""

    __slots__ = ("names",)

    def __init__(self, kind: int, names: dict[bytes, Statement], unnamed: Statement | None) -> None:
        super().__init__(kind, False, b"", None, previous=unnamed)
        self.names = names


class OwnChange(Step):
    """A Parse or Close of the client's own name, with what that had to say when executed before."""

    __slots__ = ("said",)

    def __init__(self, kind: int, name: bytes, said: Statement | None) -> None:
        super().__init__(kind, False, name, None)
        self.said = said


class Names:
    """The books of one client's names."""

    __slots__ = (
        "_awaited",
        "_former",
        "_latest",
        "_latest_unnamed",
        "_own",
        "mentioned",
        "moved",
        "names",
        "series",
        "unnamed",
    )

    def __init__(self) -> None:
        # Names that mean a statement of the catalog, under its own name on each server.
        self.names: dict[bytes, Statement] = {}
        self.unnamed: Statement | None = None
        # Statements under their own names on the server that the session keeps: those that have
        # something to say when they are executed.
        self._own: dict[bytes, Statement] = {}
        # What the short walk has sent last: the next one is mostly like it.
        self.series: Series | None = None
        # The latest change of a name, and of the unnamed statement: not done until answered.
        self._latest: Pending | None = None
        self._latest_unnamed: Pending | None = None
        # The Describe of ours whose answer decides whether the next message may be sent.
        self._awaited: Learning | None = None
        # Names on the server whose Parse was undone or that were closed, and how the client called
        # them: an error of a message behind it in the pipeline may still name them.
        self._former: dict[bytes, bytes] = {}
        # The statement of the latest Parse, Bind or Describe, as far as it is known.
        self.mentioned: Statement | None = None
        # That one is SQL which mentions a shared statement, and this was moved to its own name.
        self.moved = False

    # -- questions -----------------------------------------------------------------------------

    def knows(self, references: tuple[bytes, ...]) -> bool:
        """Does one of these names mean a shared statement?"""
        return any(known_as(name) in self.names for name in references)

    @property
    def irreplaceable(self) -> bool:
        """Is the unnamed statement one that was too long to hold? A Query of ours would drop it."""
        return self.unnamed is not None and not self.unnamed.definition

    @property
    def without_unnamed(self) -> bool:
        """Is there no unnamed statement that a Query could drop, nor one on its way?"""
        return self.unnamed is None and (self._latest_unnamed is None or self._latest_unnamed.done)

    def undecided(self, conversation: Conversation) -> bool:
        """Is it still open what a name means?"""
        return undecided(self._latest, conversation)

    # -- the server's answers ------------------------------------------------------------------

    def answered(self, server: ServerConnection, entry: Pending) -> None:
        """A change has come to pass."""
        entry.done = True
        if isinstance(entry, Step) and entry.doubtful:
            # A name that we thought taken was free: what we believe of this server is wrong.
            server.statements.forget_all()

    def discarded(
        self, server: ServerConnection, entries: list[Owed], sqlstate: bytes = b""
    ) -> None:
        """The server failed in the first of these entries and discards the others: undo them."""
        unnamed: Step | None = None
        for entry in reversed(entries):
            if isinstance(entry, Pending):
                entry.done = True
                if isinstance(entry, Forgetting):
                    self.restore(entry)
                if isinstance(entry, Step):
                    unnamed = entry if entry.changes_unnamed else unnamed
                    self._undo(server, entry)
                elif isinstance(entry, Learning):
                    # What it would have told of is not known to be what it should.
                    server.statements.forget(entry.statement)
        if unnamed is not None:
            # PostgreSQL drops the old unnamed statement before it looks at the new one.
            dropped = unnamed is entries[0] and unnamed.kind == PARSE
            if dropped and not _is_unreadable(server, unnamed, sqlstate):
                self._put_back_unnamed(None, server.conversation.owed)
            else:
                self._put_back_unnamed(unnamed.previous, server.conversation.owed)

    def learned(self, server: ServerConnection, entry: Learning, row: bytes) -> None:
        """A statement is described: `row` is a RowDescription's body, or nothing."""
        entry.done = True
        statement = entry.statement
        form = statement.form(entry.parameters, row)
        if statement.description:
            if not form.is_as(statement):
                entry.differs = True
                server.statements.forget(statement)
            return
        server.statements.learned(statement, form)
        if not entry.name:
            if self.unnamed is statement:
                self.unnamed = form
            return
        # A Close of it that comes to nothing brings this one back.
        statement.description = form.description
        if self.names.get(entry.name) is statement:
            self.names[entry.name] = form

    def wait_no_more(self) -> None:
        """The answer that was waited for will not come: the server discards all up to a Sync."""
        if self._awaited is not None:
            self._awaited.done = True

    def failed(self, server: ServerConnection, sqlstate: bytes) -> None:
        """An error in what is owed up to its ReadyForQuery."""
        owed = iter(server.conversation.owed)
        query = next(owed)
        if isinstance(query, Forgetting):
            self.restore(query)
        elif (
            isinstance(query, Step)
            and query.kind == QUERY
            and (sqlstate == _MALFORMED or _is_unreadable(server, query, sqlstate))
        ):
            # It was no query: what a query drops is still there.
            self._put_back_unnamed(query.previous, owed)

    def restore(self, forgetting: Forgetting) -> None:
        """It has failed: the names are what they were, and those made since."""
        self.names = forgetting.names | self.names

    def take_back(self, names: Iterable[bytes]) -> None:
        """These were prepared on a server whose answer the client will not see."""
        for name in names:
            self.names.pop(name, None)

    def in_its_words(
        self, server: ServerConnection, message: bytes, sqlstate: bytes, failed: Owed | None
    ) -> bytes:
        """An error as it is on a connection of one's own; b"" if it is that."""
        missing = sqlstate == _NO_SUCH_STATEMENT
        if missing and isinstance(failed, Refused):
            return refusal(failed.statement.description, described=failed.kind == DESCRIBE)
        if isinstance(failed, Named | Learning) and is_change(sqlstate, message):
            # Who has been told of the new columns can use it after another Parse.
            statement = self.names.get(failed.name)
            if statement is not None:
                server.statements.forget(statement)
        if sqlstate not in _NAMING or PREFIX not in message:
            return b""
        body = _OUR_NAME.sub(
            lambda found: b'"' + self.visible_name(found.group(1), failed) + b'"',
            message[HEADER.size :],
        )
        if missing and b'"' + PREFIX in message:
            # What we believed of this server was wrong: parse anew.
            server.statements.forget_all()
        return HEADER.pack(backend.ERROR_RESPONSE, LENGTH_BYTES + len(body)) + body

    def visible_name(self, server_name: bytes, failed: Owed | None) -> bytes:
        """How this client calls a statement that an error names, which ends `failed`."""
        if server_name.startswith(FOREIGN):
            return server_name[len(FOREIGN) :]
        if isinstance(failed, Step | Named | Learning) and not failed.hidden and failed.name:
            return failed.name
        for name, statement in self.names.items():
            if statement.server_name == server_name:
                return name
        return self._former.get(server_name, server_name)

    # -- for the subclass: entering ------------------------------------------------------------

    def _enter(self, conversation: Conversation, entry: Pending) -> None:
        entry.segment = conversation.segment
        self._latest = entry
        conversation.extended(entry)

    def _enter_unnamed(self, conversation: Conversation, entry: Pending) -> None:
        entry.segment = conversation.segment
        self._latest_unnamed = entry
        conversation.extended(entry)

    def _forget_all(self, conversation: Conversation, kind: int) -> Forgetting:
        names, self.names = self.names, {}
        for name, statement in names.items():
            self._remember_former(statement, name)
        forgetting = Forgetting(kind, names, self.unnamed)
        forgetting.segment = conversation.segment
        self._latest = forgetting
        if kind == QUERY:
            conversation.query(forgetting)
        else:
            conversation.extended(forgetting)
        return forgetting

    def _must_wait(self, conversation: Conversation, name: bytes) -> bool:
        if name:
            return undecided(self._latest, conversation)
        if undecided(self._latest_unnamed, conversation):
            return True
        statement = self.unnamed
        return (
            statement is not None
            and bool(statement.verdict.references)
            and undecided(self._latest, conversation)
        )

    def _says(self, name: bytes, statement: Statement | None) -> None:
        if statement is None or statement.verdict.clean:
            self._own.pop(name, None)
        else:
            self._own[name] = statement

    def _meaning(self, name: bytes) -> Statement | None:
        return (self.names.get(name) or self._own.get(name)) if name else self.unnamed

    # -- inside: undoing -----------------------------------------------------------------------

    def _undo(self, server: ServerConnection, step: Step) -> None:
        if step.kind == EXECUTE:
            return
        if isinstance(step, OwnChange):
            self._says(step.name, step.said)
        elif not step.name:
            server.statements.unnamed = None
        elif step.kind == CLOSE:
            self._undo_close(server, step)
        elif step.hidden:
            self._undo_hidden(server, step)
        elif step.statement is not None and step.previous is None:
            server.statements.names.pop(step.statement.server_name, None)
            if self.names.get(step.name) is step.statement:
                del self.names[step.name]
            self._remember_former(step.statement, step.name)

    def _put_back_unnamed(self, before: Statement | None, later: Iterable[Owed]) -> None:
        for entry in later:
            if isinstance(entry, Step) and entry.changes_unnamed:
                entry.previous = before
                return
        self.unnamed = before

    def _undo_hidden(self, server: ServerConnection, step: Step) -> None:
        if step.previous is None:
            server.statements.discarded(step)
        else:
            self._own.pop(step.name, None)
            self.names.setdefault(step.name, step.previous)

    def _undo_close(self, server: ServerConnection, step: Step) -> None:
        if step.hidden:
            server.statements.discarded(step)
        elif step.statement is not None:
            self.names.setdefault(step.name, step.statement)

    def _remember_former(self, statement: Statement, name: bytes) -> None:
        if len(self._former) >= _FORMER_LIMIT:
            self._former.clear()
        self._former[statement.server_name] = name


def _is_unreadable(server: ServerConnection, step: Step, sqlstate: bytes) -> bool:
    """Has PostgreSQL failed to read the text of a Parse or Query, before it did anything for it?"""
    statement = step.statement
    if sqlstate != _NOT_IN_ENCODING or statement is None:
        return False
    text = statement.definition.partition(b"\0")[0]
    if server.parameters.get("client_encoding") != "UTF8":
        return not text.isascii()
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    # What its literals stand for was none.
    return False


def own_name(name: bytes) -> bytes:
    """What a name of the client's own is called on a server."""
    return FOREIGN + name if _OURS_AT_FIRST.match(name) else name


def known_as(name: bytes) -> bytes:
    """What PostgreSQL takes for the name of a statement."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME]


def undecided(change: Pending | None, conversation: Conversation) -> bool:
    """Was it sent in an earlier segment, and is not answered yet?

    Nothing is answered before a COPY has ended, which whatever asks this would end.
    """
    return (
        change is not None
        and not change.done
        and change.segment != conversation.segment
        and not conversation.feeding
    )
