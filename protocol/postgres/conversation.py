"""What a server still owes: the state machine of one conversation, seen from between the two.

Theory of operation. Every message that a client sends and a server answers leaves an entry in a
queue; the reply that ends the answer takes it out again. So at any time the queue says what is
on its way, in the order in which PostgreSQL will answer (it never answers out of order):

    sent by the client      entry           ended by the reply
    Parse                   PARSE           ParseComplete
    Bind                    BIND            BindComplete
    Describe                DESCRIBE        RowDescription, NoData
    Execute                 EXECUTE         CommandComplete, EmptyQueryResponse, PortalSuspended
    Close                   CLOSE           CloseComplete
    Sync                    SYNC            ReadyForQuery
    Query                   QUERY           ReadyForQuery (everything before it belongs to it)
    FunctionCall            FUNCTION_CALL   ReadyForQuery
    CopyDone, CopyFail      COPY_MARK       nothing: it marks where the copy data ends
    CopyData                COPY_MARK       nothing: one for all that come in a row

Three rules of PostgreSQL make it more than a queue:

1. An error in the extended protocol discards all that follows until Sync. The entries before the
   next SYNC are taken out; without one the conversation is `skipping` until the client sends it.
   An error in a simple Query, a FunctionCall or at Sync itself discards nothing.
2. While the server reads copy data it ignores Sync and Flush, and any other message ends the copy
   with an error that swallows that message (backend/commands/copyfromparse.c, CopyGetData; from
   PostgreSQL 14 on it ends the connection, too). Such Syncs are taken out of the queue when data
   or their end are behind them, and when the copy ends; another message only by its error, since
   the data may fail before it. A COPY that fails before it reads (a trigger does, or a view) has
   ignored nothing, and one that fails among its data has ignored the Syncs before the bad ones:
   what may still be answered is counted in `perhaps`. Something of ours is asked then (`probe`):
   what comes before its answer was for the client, and nothing comes behind.
3. Between an extended message and its Sync the session is not at rest even if nothing is owed:
   the implicit transaction is still open (`unsynced`).

An entry may be `hidden`: we asked, not the client, and the answer is not forwarded. That is the
queue of FORWARD / SKIP replies that PgBouncer calls outstanding requests. There is no FAKE: what
a client asks is always asked of the server too, so that its answer is in order by nature.

Everything that changes this state is in this file, and nothing here knows sockets or the proxy.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

from protocol.postgres.errors import ProtocolError

IDLE: Final = 0x49  # 'I'
IN_TRANSACTION: Final = 0x54  # 'T'
FAILED: Final = 0x45  # 'E'
_STATUSES: Final = (IDLE, IN_TRANSACTION, FAILED)

PARSE: Final = 1
BIND: Final = 2
DESCRIBE: Final = 3
EXECUTE: Final = 4
CLOSE: Final = 5
SYNC: Final = 6
QUERY: Final = 7
FUNCTION_CALL: Final = 8
COPY_MARK: Final = 9

# How many Syncs may wait behind a COPY that ignores them: nobody sends more than a few.
MAX_IGNORED: Final = 10_000

# Behind these a COPY may still be under way, and be ended.
_COPY_MAY_GO_ON: Final = (QUERY, EXECUTE, SYNC, COPY_MARK)

# What a ReadyForQuery answers.
SYNC_POINTS: Final = (SYNC, QUERY, FUNCTION_CALL)

# How a COPY ended by the client's doing fails: CopyFail (query_canceled) or another message
# (protocol_violation). The server has then read up to that message. Any other error stops it
# somewhere in the data, before all that the client has sent since.
_PROTOCOL_VIOLATION: Final = b"08P01"
_READ_TO_THE_END_OF_COPY: Final = (b"57014", _PROTOCOL_VIOLATION)

NAMES: Final = (
    "", "Parse", "Bind", "Describe", "Execute", "Close", "Sync", "Query", "FunctionCall", "Copy",
)  # fmt: skip


class Owed:
    """One reply that a server owes: what for, and whether the client may see it."""

    __slots__ = ("hidden", "kind")

    def __init__(self, kind: int, hidden: bool = False) -> None:
        self.kind = kind
        self.hidden = hidden

    def __repr__(self) -> str:
        return f"<{'hidden ' if self.hidden else ''}{NAMES[self.kind]}>"


# Most replies carry nothing of their own: one shared entry each, so that the hot path makes none.
OWED_BIND: Final = Owed(BIND)
OWED_DESCRIBE: Final = Owed(DESCRIBE)
OWED_EXECUTE: Final = Owed(EXECUTE)
OWED_CLOSE: Final = Owed(CLOSE)
OWED_SYNC: Final = Owed(SYNC)
OWED_QUERY: Final = Owed(QUERY)
OWED_FUNCTION_CALL: Final = Owed(FUNCTION_CALL)
HIDDEN_QUERY: Final = Owed(QUERY, hidden=True)
HIDDEN_SYNC: Final = Owed(SYNC, hidden=True)
HIDDEN_CLOSE: Final = Owed(CLOSE, hidden=True)
_PROBE: Final = Owed(CLOSE, hidden=True)
_COPY_END: Final = Owed(COPY_MARK)
_COPY_DATA: Final = Owed(COPY_MARK)


class Conversation:
    """The replies that one server owes, its transaction status and its copy mode."""

    __slots__ = (
        "_ignored",
        "_marked",
        "_silent",
        "copying",
        "owed",
        "passed_over",
        "perhaps",
        "segment",
        "skipping",
        "status",
        "unsynced",
    )

    def __init__(self) -> None:
        # In the order of the answers to come.
        self.owed: deque[Owed] = deque()
        # The byte of the last ReadyForQuery.
        self.status: int = IDLE
        # A COPY is under way: CopyInResponse was seen, and neither its end nor an error.
        self.copying: bool = False
        # One may be, or there may be marks in the queue.
        self._marked: bool = False
        # How many Syncs the COPY has read past, if it reads at all.
        self._ignored: int = 0
        # Nothing was answered since the last ReadyForQuery.
        self._silent: bool = False
        # The server discards until Sync, and the client has not sent it yet.
        self.skipping: bool = False
        # Syncs that the server may have read past, or that are answered still.
        self.perhaps: int = 0
        # A message was taken for discarded that is answered if one of those is.
        self.passed_over: bool = False
        # Extended messages were sent since the last sync point.
        self.unsynced: bool = False
        # How many sync points were sent: the number of the pipeline segment being sent now. Within
        # a segment what follows a message runs only if that has succeeded.
        self.segment: int = 0

    @property
    def at_rest(self) -> bool:
        """Nothing owed, nor perhaps, no transaction, no copy, no unsynced pipeline.

        It is free for another client.
        """
        return (
            self.status == IDLE
            and not self.owed
            and not self.unsynced
            and not self.copying
            and not self.skipping
            and not self.perhaps
        )

    @property
    def settled(self) -> bool:
        """Nothing owed or half-way, whatever the transaction status: a reset can start."""
        return not self.owed and not self.unsynced and not self.copying and not self.skipping

    @property
    def awaits_answer(self) -> bool:
        """Is anything owed? The end of a copy that is none has no answer."""
        return any(entry.kind != COPY_MARK for entry in self.owed)

    @property
    def awaits_ready(self) -> bool:
        """Is a sync point unanswered? Then `status` is not that of the segment being sent."""
        return any(entry.kind in (SYNC, QUERY, FUNCTION_CALL) for entry in self.owed)

    @property
    def awaits_query(self) -> bool:
        """Is the next sync point to be answered that of a simple query?"""
        for entry in self.owed:
            if entry.kind in (SYNC, QUERY, FUNCTION_CALL):
                return entry.kind == QUERY
        return False

    @property
    def feeding(self) -> bool:
        """Does the server read copy data, and nothing that ends it was sent?"""
        return self.copying and all(
            entry.kind == SYNC or entry is _COPY_DATA for entry in islice(self.owed, 1, None)
        )

    @property
    def overdrawn(self) -> bool:
        """Has a client sent Syncs without end into a COPY? Each is remembered, none is answered."""
        return self.copying and len(self.owed) > MAX_IGNORED and self.feeding

    # -- what is sent to the server ------------------------------------------------------------

    def extended(self, owed: Owed) -> None:
        """Parse, Bind, Describe, Execute or Close is on its way."""
        self.owed.append(owed)
        self.unsynced = True

    def sync(self, owed: Owed = OWED_SYNC) -> None:
        """Sync is on its way."""
        self.owed.append(owed)
        self.segment += 1
        self.unsynced = False
        self.skipping = False

    def query(self, owed: Owed = OWED_QUERY) -> None:
        """Query or FunctionCall is on its way: a sync point of its own."""
        self.owed.append(owed)
        self.segment += 1
        self.unsynced = False

    def copy_data(self) -> None:
        """CopyData is on its way: a mark in the queue, unless the last entry is one.

        It shows that a COPY has read, and ignored, the Syncs before it (rule 2); an error that is
        in the data finds them gone. A Sync in the middle of the data is left to the reply: nobody
        knows whether an error was before it or behind.
        """
        owed = self.owed
        if owed and owed[-1] is not _COPY_DATA:
            self._mark(_COPY_DATA)

    def copy_end(self) -> None:
        """CopyDone or CopyFail is on its way: a mark in the queue."""
        if self.owed:
            self._mark(_COPY_END)

    def probe(self) -> None:
        """A Close of ours and a Sync are on their way, to see what is answered ahead of them."""
        self.extended(_PROBE)
        self.sync(HIDDEN_SYNC)

    def take_back(self) -> None:
        """The sync point entered last is entered anew, as what it stands for."""
        self.owed.pop()
        self.segment -= 1

    # -- what the server answers ---------------------------------------------------------------

    def complete(self, kind: int) -> Owed:
        """Take out the entry that a reply ends.

        Raises ProtocolError when another reply, or none, was owed: the server is out of step.
        """
        owed = self.owed
        if not owed or owed[0].kind != kind:
            raise ProtocolError(f"the server ended a {NAMES[kind]} that it did not owe: {self}")
        answered = owed.popleft()
        if self._marked:
            self._drop_marks()
        return answered

    def closed(self) -> Owed:
        """CloseComplete; that of a probe shows that nothing of an earlier time is owed any more."""
        answered = self.complete(CLOSE)
        if answered is _PROBE:
            self.perhaps = 0
            self.passed_over = False
        return answered

    def described(self) -> Owed | None:
        """RowDescription: ends a Describe; inside a simple Query it is part of its result."""
        owed = self.owed
        if owed and owed[0].kind == DESCRIBE:
            return owed.popleft()
        return None

    def executed(self) -> Owed | None:
        """CommandComplete or EmptyQueryResponse: ends an Execute, or one statement of a Query."""
        owed = self.owed
        self._silent = False
        ended = owed.popleft() if owed and owed[0].kind == EXECUTE else None
        if self._marked:
            self._pass_marks(ended)
        return ended

    def ready(self, status: int) -> Owed:
        """ReadyForQuery: a sync point is answered; returns its entry."""
        owed = self.owed
        if (
            not owed
            or owed[0].kind not in (SYNC, QUERY, FUNCTION_CALL)
            or (self.perhaps and self._silent and owed[0].kind == QUERY)
        ):
            self._answer_perhaps()
        if status not in _STATUSES:
            raise ProtocolError(f"a ReadyForQuery of the unknown status {status}")
        answered = owed.popleft()
        if owed:
            self._drop_marks()
        else:
            self._marked = False
        self.copying = False
        self._silent = True
        self.status = status
        return answered

    def answered(self, status: int) -> None:
        """All that was owed for one sync point has come, to its ReadyForQuery, and was checked."""
        self.owed.popleft()
        self.status = status

    def copy_in(self) -> None:
        """CopyInResponse: the server reads copy data from now on, or what was sent in their place.

        What that means for all that is owed is resolved by the reply that ends the copy (rule 2).
        """
        owed = self.owed
        if not owed or owed[0].kind not in (EXECUTE, QUERY):
            raise ProtocolError(f"a CopyInResponse that nobody asked for: {self}")
        self.copying = self._marked = True
        self._silent = False
        self._ignore_syncs()

    def error(self, sqlstate: bytes = b"") -> list[Owed]:
        """ErrorResponse: returns the entries that the server now discards, first one first."""
        self._drop_marks()
        owed = self.owed
        if owed and owed[0] is _PROBE:
            raise ProtocolError(f"an error that nobody caused: {self}")
        self._silent = False
        copying, self.copying = self.copying, False
        ignored, self._ignored = self._ignored, 0
        if copying:
            self._doubt_syncs()
        if sqlstate not in _READ_TO_THE_END_OF_COPY:
            self.perhaps += ignored
        if not owed or owed[0].kind in (SYNC, QUERY, FUNCTION_CALL):
            if copying and sqlstate in _READ_TO_THE_END_OF_COPY:
                query = owed.popleft()
                discarded = self._swallow(intruder=sqlstate == _PROTOCOL_VIOLATION)
                owed.appendleft(query)
                return discarded
            return []
        failed = owed.popleft()
        discarded = [failed]
        if copying and sqlstate in _READ_TO_THE_END_OF_COPY:
            discarded += self._swallow(intruder=sqlstate == _PROTOCOL_VIOLATION)
        while owed and owed[0].kind != SYNC:
            discarded.append(owed.popleft())
        if not owed:
            self.skipping = True
        self.passed_over = self.perhaps > 0 and (
            self.passed_over or any(entry.kind != COPY_MARK for entry in discarded[1:])
        )
        return discarded

    # -- inside --------------------------------------------------------------------------------

    def _mark(self, mark: Owed) -> None:
        """A copy message is on its way.

        With nothing owed it would be a late one, after the server has given up, and behind what no
        COPY lives through it is none of a COPY's: PostgreSQL ignores it, and so do we.
        """
        if self.owed[-1].kind in _COPY_MAY_GO_ON:
            self.owed.append(mark)
            self._marked = True
            if self.copying:
                self._ignore_syncs()

    def _swallow(self, *, intruder: bool) -> list[Owed]:
        """Take out what a server in copy mode reads without an answer, up to the copy's end.

        With `intruder` the first message that is neither Sync nor a copy message goes as well:
        the error that it causes belongs to the COPY.
        """
        owed = self.owed
        swallowed: list[Owed] = []
        while owed and (owed[0].kind == SYNC or owed[0] is _COPY_DATA):
            swallowed.append(owed.popleft())
        if owed and owed[0] is _COPY_END:
            owed.popleft()
        elif owed and intruder:
            swallowed.append(owed.popleft())
        return swallowed

    def _ignore_syncs(self) -> None:
        """Forget those that copy mode swallows: between the one that copies and a mark."""
        owed = self.owed
        syncs = 1
        while syncs < len(owed) and owed[syncs].kind == SYNC:
            syncs += 1
        if syncs == 1 or syncs == len(owed) or owed[syncs].kind != COPY_MARK:
            return
        self._ignored += syncs - 1
        copier = owed.popleft()
        while owed[0].kind == SYNC:
            owed.popleft()
        if copier.kind == EXECUTE:
            self._reopen_pipeline()
        owed.appendleft(copier)

    def _doubt_syncs(self) -> None:
        """A COPY has failed: at its Syncs with data behind them, it may have read past, or not."""
        owed = self.owed
        length = 0
        for index, entry in enumerate(owed):
            if entry.kind == COPY_MARK:
                length = index
            if entry is _COPY_END or (index and entry.kind not in (SYNC, COPY_MARK)):
                break
        copy = [owed.popleft() for _ in range(length)]
        kept = [entry for entry in copy if entry.kind != SYNC]
        self.perhaps += len(copy) - len(kept)
        owed.extendleft(reversed(kept))

    def _answer_perhaps(self) -> None:
        """A Sync that was thought to be ignored is answered: it is owed after all."""
        if not self.perhaps or self.passed_over:
            raise ProtocolError(f"a ReadyForQuery that nobody asked for: {self}")
        self.perhaps -= 1
        self.skipping = self.unsynced = False
        self.owed.appendleft(OWED_SYNC)

    def _pass_marks(self, execute: Owed | None) -> None:
        """A statement is done: a COPY, perhaps, or something else with the end of a COPY behind."""
        if self.copying:
            self._copied(execute)
        self._drop_marks()

    def _copied(self, execute: Owed | None) -> None:
        """A COPY has ended well: forget the Syncs that the server ignored, and the end mark."""
        self.copying = False
        self._ignored = 0
        query = self.owed.popleft() if execute is None and self.owed else None
        self._swallow(intruder=False)
        if execute is not None:
            self._reopen_pipeline()
        if query is not None:
            self.owed.appendleft(query)

    def _reopen_pipeline(self) -> None:
        """A Sync that copy mode swallowed has not ended the pipeline of an extended COPY."""
        if not self.awaits_ready:
            self.unsynced = True

    def _drop_marks(self) -> None:
        """Forget marks at the head: PostgreSQL ignores copy messages outside a copy."""
        owed = self.owed
        while owed and owed[0].kind == COPY_MARK:
            owed.popleft()

    def __repr__(self) -> str:
        flags = [name for name in ("copying", "skipping", "unsynced") if getattr(self, name)]
        return f"<Conversation {chr(self.status)} owed={list(self.owed)} {' '.join(flags)}>"
