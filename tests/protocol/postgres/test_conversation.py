"""The conversation: which reply answers what, and when a server is at rest.

A playbook is a string. `>` starts what the client sends, `<` what the server answers:

    > P B E S   Parse, Bind, Execute, Sync      < 1 2 C Z   their answers, status I
    > Q  > F    Query, FunctionCall             < ZT ZE     ReadyForQuery in T or E
    > c  > f    CopyDone, CopyFail              < G         CopyInResponse
    > D C       Describe, Close                 < E:22P04   ErrorResponse with that SQLSTATE
    > !         a probe of ours                 < 3 Z       its answer
"""

from __future__ import annotations

import pytest

from protocol.postgres.conversation import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    FAILED,
    HIDDEN_CLOSE,
    HIDDEN_QUERY,
    IDLE,
    IN_TRANSACTION,
    NAMES,
    OWED_BIND,
    OWED_CLOSE,
    OWED_DESCRIBE,
    OWED_EXECUTE,
    OWED_FUNCTION_CALL,
    PARSE,
    QUERY,
    SYNC,
    Conversation,
    Owed,
)
from protocol.postgres.errors import ProtocolError

EXTENDED = {
    "P": Owed(PARSE),
    "B": OWED_BIND,
    "D": OWED_DESCRIBE,
    "E": OWED_EXECUTE,
    "C": OWED_CLOSE,
}
STATUS = {"Z": IDLE, "ZT": IN_TRANSACTION, "ZE": FAILED}
COMPLETED = {"1": PARSE, "2": BIND, "n": DESCRIBE, "s": EXECUTE}


class Play:
    """A conversation, and what it gave back at the last step."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.last: object = None

    def run(self, playbook: str) -> Play:
        sending = True
        for word in playbook.split():
            if word in "><":
                sending = word == ">"
            elif sending:
                self.send(word)
            else:
                self.answer(word)
        return self

    def send(self, word: str) -> None:
        conversation = self.conversation
        if word in EXTENDED:
            conversation.extended(EXTENDED[word])
        elif word == "S":
            conversation.sync()
        elif word == "Q":
            conversation.query()
        elif word == "F":
            conversation.query(OWED_FUNCTION_CALL)
        elif word == "d":
            conversation.copy_data()
        elif word == "!":
            conversation.probe()
        else:
            assert word in "cf"
            conversation.copy_end()

    def answer(self, word: str) -> None:
        conversation = self.conversation
        if word in COMPLETED:
            self.last = conversation.complete(COMPLETED[word])
        elif word in STATUS:
            self.last = conversation.ready(STATUS[word])
        elif word == "3":
            self.last = conversation.closed()
        elif word in "CI":
            self.last = conversation.executed()
        elif word == "T":
            self.last = conversation.described()
        elif word == "G":
            self.last = conversation.copy_in()
        else:
            assert word.startswith("E")
            self.last = conversation.error(word[2:].encode())


def kinds(entries: object) -> str:
    assert isinstance(entries, list)
    return " ".join(NAMES[entry.kind] for entry in entries)


AT_REST = {
    "simple query": "> Q < T C Z",
    "several statements": "> Q < T C C T C Z",
    "empty query": "> Q < I Z",
    "failed query": "> Q < E:42601 Z",
    "function call": "> F < Z",
    "failed function call": "> F < E:42883 Z",
    "unnamed extended": "> P B D E S < 1 2 T C Z",
    "no data": "> P B D E S < 1 2 n C Z",
    "empty extended": "> P B E S < 1 2 I Z",
    "describe statement": "> P D S < 1 T Z",
    "close": "> C S < 3 Z",
    "row limit then the rest": "> P B E S < 1 2 s ZT > E S < C Z",
    "pipeline of two segments": "> P B E S P B E S < 1 2 C Z 1 2 C Z",
    "flush before sync": "> P D < 1 T > B E S < 2 C Z",
    "error in the first of two segments": "> P B E S P B E S < E:42601 Z 1 2 C Z",
    "error before Sync was sent": "> P B E < 1 E:22012 > S < Z",
    "error at Sync": "> P B E S < 1 2 C E:23505 Z",
    "query behind a failed pipeline without Sync": "> P B E Q S < E:42601 Z",
    "query behind a pipeline without Sync": "> P B E Q < 1 2 C T C Z",
    "copy in": "> Q < G > c < C Z",
    "copy in failed by the client": "> Q < G > f < E:57014 Z",
    "copy in failed by the server": "> Q < G E:22P04 Z",
    "late CopyDone after a failure": "> Q < G E:22P04 > c < Z",
    "later CopyDone": "> Q < G E:22P04 Z > c c f",
    "stray CopyDones in a series": "> P c B c D c E c D c E c S c < 1 2 T C T C Z",
    "stray CopyDones behind a suspended portal": "> P c B c E c D c C c S c < 1 2 s T 3 Z",
    "stray CopyDones in a pipeline": "> Q c c F c P B E c c S c Q c < T C Z Z 1 2 C Z T C Z",
    "a stray CopyDone ahead of a COPY": "> P B E c E c E S < 1 2 C G C C Z",
    "copy data sent blindly": "> Q c < G C Z",
    "copy data sent blindly, no such table": "> Q c < E:42P01 Z",
    "blind copy with a query behind": "> Q c Q < G C Z T C Z",
    "two copies in one query": "> Q < G > c < C G > c < C Z",
    "copy in, extended": "> P B D E S < 1 2 n G > c S < C Z",
    "copy in, extended, Sync only at the end": "> P B E < 1 2 G > c S < C Z",
    "copy in, extended, blind": "> P B E c S < 1 2 G C Z",
    "copy in, extended, failed by the client": "> P B E S < 1 2 G > f S < E:57014 Z",
    "copy in, extended, failed by the server": "> P B E S < 1 2 G > c S < E:22P04 Z > ! < 3 Z",
    "copy in, extended, fails before it starts": "> P B E S < 1 2 E:42P01 Z",
    "copy in, extended, Sync while copying": "> P B E < 1 2 G > S c S < C Z",
    "copy in, extended, Sync ahead of the data": "> P B E < 1 2 G > S d c S < C Z",
    "copy in, extended, Sync ahead of bad data": "> P B E < 1 2 G > S d c S < E:22P04 Z > ! < 3 Z",
    "copy in, extended, Sync ahead of bad data, another later": (
        "> P B E < 1 2 G > S d d < E:22P04 > S < Z > ! < 3 Z"
    ),
    "copy in, extended, Sync in the middle of the data": "> P B E < 1 2 G > d S d c S < C Z",
    "copy in, extended, bad data ahead of a Sync": "> P B E < 1 2 G > d S d c < E:22P04 Z",
    "copy in, extended, fails before it reads": "> P B D E S < 1 2 n G E:P0001 Z",
    "copy in, extended, fails before it reads, blind": "> P B E S d c S < 1 2 G E:P0001 Z Z",
    "stray copy data": "> d Q d < C Z > d P d S d < 1 Z",
    "copy in, extended, server fails and the client syncs": (
        "> P B E S < 1 2 G > d < E:22P04 > S < Z > ! < 3 Z"
    ),
    "copy in, extended, fails behind a Sync": "> P B E < 1 2 G > d S d c S < E:22P04 Z > ! < 3 Z",
    "copy in, extended, fails ahead of a Sync": "> P B E < 1 2 G > d S d c S < E:22P04 Z Z",
    "copy in, canceled ahead of a Sync": "> Q < G > d S d c S < E:57014 Z Z Z",
    "copy in, canceled ahead of a Sync, told late": "> Q < G > d S d c S < E:57014 Z Z > ! < Z 3 Z",
    "copy in, fails ahead of a Sync, a query behind": "> Q < G > d S d c Q < E:22P04 Z Z T C Z",
    "copy in, fails behind a Sync, a query behind": (
        "> Q < G > d S d c Q < E:22P04 Z T C Z > ! < 3 Z"
    ),
    "copy in, given up, ended once more": "> P B E f S c < 1 2 G E:57014 Z",
    "copy in, fails behind several Syncs": "> Q < G > d S S d S d c < E:22P04 Z > ! < 3 Z",
    "a query in the middle of a copy": "> Q < G > Q < E:08P01 Z",
    "a query in the middle of a copy, sent blindly": "> Q Q < G E:08P01 Z",
    "a Parse in the middle of a copy": "> P B E S < 1 2 G > P B E S < E:08P01 Z",
    "a Parse in the middle of a copy, sent blindly": "> P B E S P B E S < 1 2 G E:08P01 Z",
}


@pytest.mark.parametrize("playbook", AT_REST.values(), ids=AT_REST)
def test_is_at_rest_after(playbook: str) -> None:
    conversation = Play().run(playbook).conversation
    assert conversation.at_rest, conversation


NOT_AT_REST = {
    "query under way": "> Q < T C",
    "in a transaction": "> Q < C ZT",
    "in a failed transaction": "> Q < E:42601 ZE",
    "parsed, not synced": "> P < 1",
    "executed, not synced": "> P B E < 1 2 C",
    "suspended portal, not synced": "> P B E < 1 2 s",
    "failed, not synced": "> P B E < E:42601",
    "second segment begun": "> P B E S P B < 1 2 C Z 1 2",
    "copying": "> Q < G",
    "copy ended, not answered": "> Q < G > c",
    "copy, extended, answered but its Sync was ignored": "> P B E S < 1 2 G > c < C",
    "copy, extended, answered but its late Sync was ignored": "> P B E < 1 2 G > S d c < C",
    "copy, extended, failed behind a Sync": "> P B E < 1 2 G > d S d c S < E:22P04 Z",
}


@pytest.mark.parametrize("playbook", NOT_AT_REST.values(), ids=NOT_AT_REST)
def test_is_not_at_rest_after(playbook: str) -> None:
    conversation = Play().run(playbook).conversation
    assert not conversation.at_rest, conversation


def test_an_error_discards_until_sync_and_tells_what() -> None:
    """PostgreSQL manual, "Extended Query"."""
    play = Play().run("> P B D E S P B E S < 1 E:42601")
    assert kinds(play.last) == "Bind Describe Execute"
    assert play.run("< Z 1 2 C Z").conversation.at_rest


def test_a_message_that_a_copy_swallows_is_told_when_it_has_ended_it() -> None:
    """Not before: if the data are wrong they end it, and the message is answered."""
    assert kinds(Play().run("> P B E d P S < 1 2 G E:08P01").last) == "Execute Copy Parse"
    assert kinds(Play().run("> P B E S P S < 1 2 G E:08P01").last) == "Execute Sync Parse"
    assert kinds(Play().run("> Q d P S < G E:08P01").last) == "Copy Parse"
    assert kinds(Play().run("> Q d P S < G E:22P04").last) == ""
    assert kinds(Play().run("> Q d P S < G E:57014").last) == "Copy"


def test_a_server_is_fed_until_what_ends_the_copy_is_sent() -> None:
    assert Play().run("> Q < G").conversation.feeding
    assert Play().run("> Q S d < G").conversation.feeding
    for sent_blindly in ("> Q d c < G", "> Q d P < G", "> P B E f < 1 2 G"):
        conversation = Play().run(sent_blindly).conversation
        assert conversation.copying
        assert not conversation.feeding


def test_a_sync_that_a_failed_copy_may_have_read_past_is_remembered() -> None:
    """Nobody can tell whether it is answered before the next answer of all has come."""
    assert Play().run("> P B E S < 1 2 G > d < E:22P02").conversation.perhaps == 1
    assert Play().run("> P B E S d < 1 2 G E:22P02").conversation.perhaps == 1
    assert Play().run("> P B E S < 1 2 G E:P0001 Z").conversation.perhaps == 0
    assert Play().run("> P B E < 1 2 G > S d c S < E:22P02 Z").conversation.perhaps == 1
    assert Play().run("> P B E S < 1 2 G > f S < E:57014 Z").conversation.perhaps == 0
    assert Play().run("> P B E < 1 2 G > d c S < E:22P02 Z").conversation.perhaps == 0
    assert Play().run("> Q S c < G E:P0001 Z").conversation.perhaps == 1
    assert Play().run("> Q S < G E:P0001 Z Z").conversation.perhaps == 0
    assert Play().run("> Q S < G > d c < C Z").conversation.perhaps == 0
    assert Play().run("> Q S < G > d c < C Z > Q < E:42P01 Z").conversation.perhaps == 0


def test_what_is_behind_copy_data_is_answered_if_they_fail() -> None:
    """It would have ended the COPY; the data did before, and PostgreSQL goes on with it."""
    play = Play().run("> Q d Q < G E:22P04 Z")
    assert not play.conversation.at_rest
    assert play.run("< T C Z").conversation.at_rest
    assert Play().run("> Q d Q < G E:08P01 Z").conversation.at_rest
    assert Play().run("> Q d D S < G E:22P04 Z E:26000 Z").conversation.at_rest
    assert Play().run("> P B E d Q S < 1 2 G E:22P04 Z").conversation.at_rest
    assert Play().run("> Q d S Q < G E:22P04 Z Z T C Z").conversation.at_rest
    assert Play().run("> Q d S d c S P S < G E:22P04 Z Z Z 1 Z").conversation.at_rest
    assert Play().run("> P B E d S P S < 1 2 G E:22P04 Z 1 Z").conversation.at_rest
    assert Play().run("> P B E S d c S P S < 1 2 G E:22P04 Z 1 Z > ! < 3 Z").conversation.at_rest


@pytest.mark.parametrize("playbook", ["> P B E < 1 2", "> P B E S < 1 2 C", "> Q", "> Q < G"])
def test_an_answer_is_awaited_after(playbook: str) -> None:
    assert Play().run(playbook).conversation.awaits_answer


@pytest.mark.parametrize("playbook", ["", "> P B E < 1 2 C", "> P B E c < 1 2 C", "> Q < C Z"])
def test_no_answer_is_awaited_after(playbook: str) -> None:
    assert not Play().run(playbook).conversation.awaits_answer


OUT_OF_STEP = {
    "a Sync ahead of a COPY that has read nothing, a Bind behind": "> P B E S d B < 1 2 G E:P0001 Z",
    "the same, two Syncs": "> P B E S d B S < 1 2 G E:P0001 Z > ! < E:26000",
    "an error in the place of a probe's answer": "> ! < E:26000",
    "ReadyForQuery for nothing": "< Z",
    "ReadyForQuery for an Execute": "> P B E < 1 2 Z",
    "ParseComplete for nothing": "< 1",
    "BindComplete for a Parse": "> P < 2",
    "NoData for an Execute": "> E < n",
    "CopyInResponse for nothing": "< G",
    "CopyInResponse for a Bind": "> B < G",
}


@pytest.mark.parametrize("playbook", OUT_OF_STEP.values(), ids=OUT_OF_STEP)
def test_a_reply_that_is_not_owed_is_out_of_step(playbook: str) -> None:
    with pytest.raises(ProtocolError):
        Play().run(playbook)


def test_what_we_asked_is_hidden_and_the_rest_is_not() -> None:
    conversation = Conversation()
    conversation.query(HIDDEN_QUERY)
    conversation.extended(HIDDEN_CLOSE)
    conversation.sync()
    assert conversation.ready(IDLE).hidden
    assert conversation.complete(CLOSE).hidden
    assert not conversation.ready(IDLE).hidden


def test_a_row_description_inside_a_query_ends_nothing() -> None:
    play = Play().run("> Q < T")
    assert play.last is None


def test_settled_is_at_rest_whatever_the_transaction() -> None:
    conversation = Play().run("> Q < C ZT").conversation
    assert conversation.settled and not conversation.at_rest


def test_repr_shows_what_is_owed() -> None:
    conversation = Play().run("> P B").conversation
    assert repr(conversation) == "<Conversation I owed=[<Parse>, <Bind>] unsynced>"
    assert repr(Owed(SYNC, hidden=True)) == "<hidden Sync>"
    assert NAMES[QUERY] == "Query"


def test_the_next_sync_point_is_a_query_or_it_is_not() -> None:
    conversation = Conversation()
    assert not conversation.awaits_query
    conversation.extended(OWED_EXECUTE)
    assert not conversation.awaits_query
    conversation.query()
    assert conversation.awaits_query
    other = Conversation()
    other.sync()
    other.query()
    assert not other.awaits_query
