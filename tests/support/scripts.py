"""Seeded random scripts: what several clients say, step by step.

    script = make_script(seed)              # the same seed, the same script
    for client in script.clients:
        client.startup, client.steps        # dict of parameters, list of Step

A step is what a client sends before it waits. Errors are welcome: a direct connection says what
is right. The one thing a script must not do is to wait for another client.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from tests.support import script_texts as texts
from tests.support.messages import (
    Bind,
    Bloated,
    Bogus,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    Query,
    Raw,
    Sendable,
    Sync,
)
from tests.support.script_safety import Guard


class Step(NamedTuple):
    """Messages that are sent at once."""

    messages: tuple[Sendable, ...]


class Client(NamedTuple):
    """One client's part of a script."""

    number: int
    startup: dict[str, str]
    steps: tuple[Step, ...]
    polite: bool
    """Does it say Terminate, or just hang up, perhaps in a transaction?"""
    cut: int = 0
    """Bytes that it sends at once, at most; 0 for all it has."""
    parting: tuple[Sendable, ...] = ()
    """What it says before it hangs up without waiting for an answer; changes nothing for long."""


class Script(NamedTuple):
    """What several clients do at the same time."""

    seed: int
    clients: tuple[Client, ...]

    def __str__(self) -> str:
        lines = [f"script {self.seed}"]
        for client in self.clients:
            cut = f" in pieces of {client.cut}" if client.cut else ""
            lines.append(f"  client {client.number} {client.startup}{cut}")
            for step in client.steps:
                lines.append("    - " + "\n      ".join(map(repr, step.messages)))
            if not client.polite:
                lines.append(f"    - hangs up {' '.join(map(repr, client.parting))}")
        return "\n".join(lines)


STARTUPS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"application_name": "one"},
    {"application_name": "two"},
    {"application_name": "three, with ünïcode and a tail longer than sixty-three bytes, to be cut"},
    {"DateStyle": "SQL, DMY"},
    {"TimeZone": "America/New_York", "application_name": "one"},
    {"extra_float_digits": "-3"},
    {"client_encoding": "LATIN1"},
    {"client_encoding": "utf-8"},
    {"search_path": "other, public"},
)

NAMES = ("", "", "", "s1", "s2", "s3")
PORTALS = ("", "", "", "p1", "p2")


class Author:
    """Writes the part of one client."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.rng = rng
        self.number = number
        # What this client may believe to have prepared; now and then it is wrong.
        self.prepared: dict[str, texts.Prepared] = {}
        # Clients that change their session differ from those that do not.
        self.pins = rng.random() < 0.4

    def write(self) -> Client:
        """The client's whole part."""
        rng = self.rng
        steps: list[Step] = []
        for _ in range(rng.randint(2, 9)):
            steps += self._something()
        startup = dict(rng.choice(STARTUPS)) if rng.random() < 0.5 else {}
        polite = rng.random() < 0.8
        cut = rng.choice((1, 2, 3, 5, 7, 11, 64)) if rng.random() < 0.25 else 0
        parting = self._parting() if not polite and rng.random() < 0.6 else ()
        if rng.random() < 0.08:
            return Client(self.number, startup, (*steps, self._bogus()), polite=False, cut=cut)
        return Client(self.number, startup, tuple(steps), polite, cut, parting)

    def _bogus(self) -> Step:
        """No message, behind requests that may lack their end."""
        messages = self._something()[-1].messages
        return Step((*messages[: self.rng.randint(0, len(messages))], Bogus()))

    def _parting(self) -> tuple[Sendable, ...]:
        """Somewhere in the middle: of a transaction, a message, a pipeline, a result, a COPY."""
        insert = self.fill("INSERT INTO t{k} VALUES (77, 'never', 1)")
        pipeline = (Parse("", insert), Bind(), Execute())
        copy = Query(self.fill("COPY t{k} FROM STDIN"))
        whole = b"".join(m.encode() for m in (*pipeline, Query("SELECT 1")))
        return self.rng.choice(
            (
                (Query("BEGIN"), Query(insert)),
                (Query("BEGIN"), Raw(whole[: self.rng.randrange(1, len(whole))])),
                (Query("BEGIN"), Query(insert), Query("SELECT 1/0"), Query(insert)),
                (*pipeline, Flush()),
                pipeline[:2],
                (copy, CopyData(b"77\tnever\t1\n")),
                (copy, CopyData(b"77\tnever\t1\n"), Raw(b"d\0\0\1\0half of it")),
                (Parse("", copy.sql), Bind(), Execute(), Flush(), CopyData(b"77\tnever\t1\n")),
                (Query("SELECT repeat('x', 999) FROM generate_series(1, 9999)"),),
                (Query("COPY (SELECT repeat('x', 999) FROM generate_series(1, 9999)) TO STDOUT"),),
                (Query("BEGIN; SELECT pg_sleep(0.05)"),),
                (Raw(b"Q\0\0\x27\x10SELECT"),),
                (Sync(), Sync(), Raw(b"\0")),
            )
        )

    def _something(self) -> list[Step]:
        kinds = KINDS if self.pins else QUIET_KINDS
        (kind,) = self.rng.choices([k for k, _ in kinds], [w for _, w in kinds])
        return kind(self)

    def fill(self, sql: str) -> str:
        """A text with this client's number and some numbers."""
        sql = sql.replace("{k}", str(self.number)).replace("{j}", str(self.rng.randint(1, 4)))
        return sql.replace("{i}", str(self.rng.randint(1, 12)))

    # -- simple queries ------------------------------------------------------------------------

    def _query(self, table: tuple[str, ...]) -> list[Step]:
        return [Step((Query(self.fill(self.rng.choice(table))),))]

    def plain(self) -> list[Step]:
        return self._query(texts.QUERIES)

    def odd(self) -> list[Step]:
        table = self.rng.choice((texts.EMPTY, texts.ERRORS, texts.COMMENTS, texts.SEVERAL))
        return self._query(table)

    def burst(self) -> list[Step]:
        """Several simple queries in one segment, as no driver does and the protocol allows."""
        tables = (texts.QUERIES, texts.ERRORS, texts.TRANSACTION, texts.EMPTY)
        count = self.rng.randint(2, 4)
        chosen = [self.rng.choice(self.rng.choice(tables)) for _ in range(count)]
        return [Step(tuple(Query(self.fill(sql)) for sql in chosen))]

    def transaction(self) -> list[Step]:
        steps = [Step((Query("BEGIN"),))] if self.rng.random() < 0.7 else []
        for _ in range(self.rng.randint(1, 5)):
            steps += self._query(self.rng.choice((texts.TRANSACTION, texts.QUERIES)))
        if self.rng.random() < 0.8:
            steps.append(Step((Query(self.rng.choice(("COMMIT", "ROLLBACK"))),)))
        return steps

    def setting(self) -> list[Step]:
        return [s for _ in range(self.rng.randint(1, 3)) for s in self._query(texts.SETTINGS)]

    def session(self) -> list[Step]:
        return [s for _ in range(self.rng.randint(1, 4)) for s in self._query(texts.SESSION)]

    # -- extended queries ----------------------------------------------------------------------

    def _text(self) -> texts.Prepared:
        session = self.pins and self.rng.random() < 0.25
        chosen = self.rng.choice(texts.PREPARED_SESSION if session else texts.PREPARED)
        return chosen._replace(sql=self.fill(chosen.sql))

    def _parse(self, name: str) -> Parse:
        chosen = self._text()
        self.prepared[name] = chosen
        return Parse(name, chosen.sql, chosen.types)

    def _bind(self, portal: str, name: str) -> Bind:
        rng = self.rng
        known = self.prepared.get(name)
        values, formats = rng.choice(known.bindings) if known else texts.NONE
        number = str(rng.randint(1, 12)).encode()
        filled = tuple(None if v is None else v.replace(b"{i}", number) for v in values)
        results = rng.choice(((), (), (0,), (1,)))
        return Bind(portal, name, filled, formats, results)

    def _message(self) -> Sendable:
        """One message of a pipeline, without regard to what came before."""
        rng = self.rng
        name, portal = rng.choice(NAMES), rng.choice(PORTALS)
        kind = rng.choices("PBESDdCc", (4, 6, 6, 2, 1, 1, 1, 0.5))[0]
        if kind == "P":
            return self._parse(name)
        if kind == "B":
            return self._bind(portal, name)
        if kind == "E":
            return Execute(portal, rng.choice((0, 0, 0, 1, 2, 7)))
        if kind == "S":
            return Sync()
        if kind == "c":
            return Close("P", portal)
        if kind == "d":
            return Describe("P", portal)
        of_name = Describe("S", name) if kind == "D" else Close("S", name)
        if rng.random() < 0.05:
            return Bloated(of_name, rng.choice((b"\0", b"more", Query("SELECT 'more'").encode())))
        if kind == "C":
            self.prepared.pop(name, None)
        return of_name

    def _call(self, name: str, portal: str) -> list[Sendable]:
        """A whole call as drivers make it: Parse perhaps, Bind, Describe perhaps, Execute."""
        rng = self.rng
        messages: list[Sendable] = []
        if name not in self.prepared or rng.random() < 0.3:
            if name and rng.random() < 0.8:
                messages.append(Close("S", name))
            messages.append(self._parse(name))
            if rng.random() < 0.3:
                messages.append(Describe("S", name))
        messages.append(self._bind(portal, name))
        if rng.random() < 0.5:
            messages.append(Describe("P", portal))
        limit = rng.choice((0, 0, 0, 2, 3))
        messages.append(Execute(portal, limit))
        if limit and rng.random() < 0.7:
            messages.append(Execute(portal, rng.choice((0, 2))))
        return messages

    def driver(self) -> list[Step]:
        return [Step((*self._call(self.rng.choice(NAMES), self.rng.choice(PORTALS)), Sync()))]

    def prepare_then_use(self) -> list[Step]:
        """Parse and Sync; use in later round trips."""
        rng = self.rng
        name = rng.choice(NAMES)
        messages: list[Sendable] = [self._parse(name)]
        if rng.random() < 0.5:
            messages.append(Describe("S", name))
        steps = [Step((*messages, Sync()))]
        for _ in range(rng.randint(1, 3)):
            steps.append(Step((self._bind("", name), Execute(), Sync())))
        return steps

    def pipeline(self) -> list[Step]:
        """Several calls and several Syncs at once, errors among them."""
        rng = self.rng
        messages: list[Sendable] = []
        for _ in range(rng.randint(1, 5)):
            messages += self._call(rng.choice(NAMES), rng.choice(PORTALS))
            if rng.random() < 0.4:
                messages.append(Sync())
        return self._cut([*messages, Sync()])

    def muddle(self) -> list[Step]:
        """Any messages in any order."""
        messages = [self._message() for _ in range(self.rng.randint(2, 10))]
        if self.rng.random() < 0.3:
            messages.insert(0, Query("BEGIN"))
        if self.rng.random() < 0.15:
            messages.insert(self.rng.randrange(len(messages)), Query(self.fill("SELECT {i}")))
        return self._cut([*messages, Sync()])

    def _cut(self, messages: list[Sendable]) -> list[Step]:
        """Send at once, or with Flush and a pause somewhere in the middle."""
        if self.rng.random() < 0.6 or len(messages) < 3:
            return [Step(tuple(messages))]
        at = self.rng.randrange(1, len(messages) - 1)
        return [Step((*messages[:at], Flush())), *self._cut(messages[at:])]

    def portals(self) -> list[Step]:
        """A portal that lives over several round trips of a transaction."""
        rng = self.rng
        name, portal = rng.choice(NAMES), rng.choice(PORTALS)
        self.prepared[name] = texts.PREPARED[2]
        sql = texts.PREPARED[2].sql
        start = [Close("S", name), Parse(name, sql), Bind(portal, name), Execute(portal, 3)]
        steps = [Step((Query("BEGIN"),)), Step((*start, Sync() if rng.random() < 0.6 else Flush()))]
        for _ in range(rng.randint(1, 3)):
            steps.append(Step((Execute(portal, rng.choice((0, 4))), Sync())))
        if rng.random() < 0.5:
            steps.append(Step((Close("P", portal), Sync())))
        return [*steps, Step((Query(rng.choice(("COMMIT", "ROLLBACK"))),))]

    def large(self) -> list[Step]:
        rng = self.rng
        size = rng.choice((9_000, 17_000, 100_000, 1_000_000))
        self.prepared[""] = texts.PREPARED[0]
        chosen: list[Step] = [
            Step((Query(f"SELECT repeat('r', {size // 10}) FROM generate_series(1, 10)"),)),
            Step((Query("SELECT '" + "l" * size + "' = 'x'"),)),
            Step(
                (
                    Parse("", "SELECT length($1), md5($1), $1"),
                    Bind("", "", (b"v" * size,)),
                    Describe("P"),
                    Execute(),
                    Sync(),
                )
            ),
        ]
        return [rng.choice(chosen)]

    # -- COPY, function calls ------------------------------------------------------------------

    def _rows(self) -> list[Sendable]:
        """CopyData messages, the rows cut without regard to lines, mostly good."""
        rng = self.rng
        first = rng.randint(20, 60)
        data = b"".join(b"%d\tcopied\t%d\n" % (first + n, n) for n in range(rng.randint(0, 40)))
        flaw = rng.random()
        if flaw < 0.15:
            data += b"%d\tnegative\t-5\n" % first
        elif flaw < 0.3:
            data += b"too few\n"
        elif flaw < 0.4:
            data = b"1\tdup\t1\n" + data
        cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randint(0, 3)) if data)
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [CopyData(piece) for piece in pieces]

    def _end(self) -> Sendable:
        return CopyFail("no more") if self.rng.random() < 0.2 else CopyDone()

    def copy_in(self) -> list[Step]:
        rng = self.rng
        table = rng.choice(("t{k}", "t{k}", "t{k}", "nowhere", "t{k} (id, name, nothing)"))
        query = Query(self.fill(f"COPY {table} FROM STDIN"))
        if rng.random() < 0.5:
            return [Step((query, *self._rows(), self._end()))]
        late = [Step((CopyData(b"late"), CopyDone(), Query("SELECT 'after'")))]
        steps = [Step((query,)), Step((*self._rows(), self._end()))]
        return steps + (late if rng.random() < 0.3 else [])

    def copy_in_extended(self) -> list[Step]:
        rng = self.rng
        table = rng.choice(("t{k}", "t{k}", "t{k}", "nowhere"))
        sql = self.fill(f"COPY {table} FROM STDIN")
        start: list[Sendable] = [Parse("", sql), Bind(), Execute()]
        self.prepared.pop("", None)
        if rng.random() < 0.5:
            return [Step((*start, *self._rows(), self._end(), Sync()))]
        # As libpq does: a Sync at once, which a server in COPY mode passes over, and one after.
        between = Sync() if rng.random() < 0.5 else Flush()
        return [Step((*start, between)), Step((*self._rows(), self._end(), Sync()))]

    def copy_several(self) -> list[Step]:
        """COPY among the statements of one text, and more than one of them."""
        rng = self.rng
        copies = rng.choice((1, 1, 2))
        words = ["SELECT 1"] if rng.random() < 0.5 else []
        messages: list[Sendable] = []
        for _ in range(copies):
            words.append(self.fill(f"COPY {rng.choice(('t{k}', 't{k}', 'nowhere'))} FROM STDIN"))
            messages += [*self._rows(), self._end()]
        if rng.random() < 0.5:
            words.append(rng.choice(("SELECT 2", "COPY (SELECT 3) TO STDOUT", "SELECT 1/0")))
        query = Query("; ".join(words))
        behind = [Query("SELECT 'behind'")] if rng.random() < 0.3 else []
        if rng.random() < 0.5 and copies == 1:
            return [Step((query,)), Step((*messages, *behind))]
        return [Step((query, *messages, *behind))]

    def long_statement(self) -> list[Step]:
        """A named statement too long to be shared (PIN-ALL-01) or to be held."""
        rng = self.rng
        name = rng.choice(NAMES)
        length = rng.choice((16_000, 20_000, 270_000))
        sql = f"SELECT length('{'l' * length}'), $1::int4"
        self.prepared[name] = texts.Prepared(sql, (), (((b"4",), ()), ((b"x",), ())))
        start: list[Sendable] = [Close("S", name), Parse(name, sql)]
        if rng.random() < 0.3:
            start.append(Parse(name, sql))
        if rng.random() < 0.5:
            start.append(Describe("S", name))
        calls = [Step((self._bind("", name), Execute(), Sync())) for _ in range(rng.randint(1, 2))]
        return [Step((*start, Sync())), *calls]

    def flushed(self) -> list[Step]:
        """Each message waits for the answer to the one before it, as libpq's callers may do."""
        name = self.rng.choice(NAMES)
        portal = self.rng.choice(PORTALS)
        calls = self._call(name, portal)
        return [*(Step((message, Flush())) for message in calls), Step((Sync(),))]

    def copy_out(self) -> list[Step]:
        rng = self.rng
        sql = self.fill(
            rng.choice(
                (
                    "COPY (SELECT * FROM t{k} ORDER BY id) TO STDOUT",
                    "COPY (SELECT * FROM shared ORDER BY id) TO STDOUT (FORMAT csv, HEADER)",
                    "COPY (SELECT id, name FROM shared ORDER BY id) TO STDOUT (FORMAT binary)",
                    "COPY (SELECT 10 / (5 - i) FROM generate_series(1, 9) i) TO STDOUT",
                )
            )
        )
        self.prepared.pop("", None)
        if rng.random() < 0.5:
            return [Step((Query(sql),))]
        return [Step((Parse("", sql), Bind(), Execute(), Sync()))]

    def function_call(self) -> list[Step]:
        call = self.rng.choice(
            (
                FunctionCall(177, (b"40", b"2")),  # int4pl
                FunctionCall(177, (texts.int4(40), texts.int4(2)), (1,), 1),
                FunctionCall(154, (b"1", b"0")),  # int4div
                FunctionCall(1257, (b"length",)),  # textlen
                FunctionCall(1257, (None,)),
                FunctionCall(177, (b"1",)),
                FunctionCall(999_999, ()),
            )
        )
        return [Step((call,))]


Kind = Callable[[Author], list[Step]]

QUIET_KINDS: tuple[tuple[Kind, float], ...] = (
    (Author.plain, 6),
    (Author.odd, 4),
    (Author.burst, 2),
    (Author.transaction, 3),
    (Author.driver, 5),
    (Author.prepare_then_use, 3),
    (Author.pipeline, 3),
    (Author.muddle, 3),
    (Author.portals, 2),
    (Author.large, 0.25),
    (Author.flushed, 1),
    (Author.copy_in, 1.5),
    (Author.copy_several, 1),
    (Author.copy_in_extended, 1.5),
    (Author.copy_out, 1),
)
KINDS: tuple[tuple[Kind, float], ...] = (
    *QUIET_KINDS,
    (Author.setting, 4),
    (Author.session, 6),
    (Author.function_call, 1),
    (Author.long_statement, 0.5),
)


def make_script(seed: int) -> Script:
    """The script of this seed."""
    rng = random.Random(seed)
    count = rng.choices((2, 3, 4, 5, 6), (4, 4, 3, 2, 1))[0]
    return Script(seed, tuple(_safe(Author(rng, number).write()) for number in range(count)))


def _safe(client: Client) -> Client:
    guard = Guard()
    steps = [Step(tuple(guard.safe(step.messages))) for step in client.steps]
    return client._replace(steps=tuple(step for step in steps if step.messages))
