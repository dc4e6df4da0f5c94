"""Whether a refused request has left anything behind, as a table; the real thing is in adversity."""

from __future__ import annotations

import pytest

from protocol.postgres import backend, frontend
from pyproxy.postgres.void_answers import counted, is_void, prepared_names

READY = backend.ReadyForQuery(0x49).encode()
PARSED = backend.ParseComplete().encode()
BOUND = backend.BindComplete().encode()
NO_DATA = backend.NoData().encode()
BEGUN = backend.CommandComplete(b"BEGIN").encode()
DONE = backend.CommandComplete(b"SELECT 1").encode()
PARSE = frontend.Parse(b"mine", b"INSERT", ()).encode()
BIND = frontend.Bind(b"", b"mine").encode()
EXECUTE = frontend.Execute(b"", 0).encode()
SYNC = frontend.Sync().encode()
FLUSH = frontend.Flush().encode()


def refusal(
    routine: str = "PreventCommandIfReadOnly", command: str = "INSERT", where: str = ""
) -> bytes:
    said = f"cannot execute {command} in a read-only transaction"
    fields = [("S", "ERROR"), ("V", "ERROR"), ("C", "25006"), ("M", said)]
    fields += [("W", where)] if where else []
    body = "".join(f"{letter}{value}\0" for letter, value in [*fields, ("R", routine)]) + "\0"
    return b"E" + (4 + len(body)).to_bytes(4, "big") + body.encode()


def query(text: str) -> bytes:
    return frontend.Query(text.encode()).encode()


NO = refusal()


@pytest.mark.parametrize(
    ("sent", "before", "answer", "owed", "void"),
    [
        (query("INSERT"), b"", NO + READY, 1, True),
        (query("INSERT;"), b"", NO + READY, 1, True),
        (query("BEGIN"), b"", BEGUN + READY, 1, True),
        (query("BEGIN; INSERT"), BEGUN, NO + READY, 1, True),
        (query("INSERT ';'"), b"", NO + READY, 1, True),
        (query("SELECT 1; INSERT"), b"", NO + READY, 1, False),
        (query("SELECT 1; INSERT"), DONE, NO + READY, 1, False),
        (query("SELECT 1; BEGIN; INSERT"), BEGUN, NO + READY, 1, False),
        (query("SELECT $$it's$$; INSERT 'a'"), b"", NO + READY, 1, False),
        (query("SELECT E'\\''; INSERT 'a'"), b"", NO + READY, 1, False),
        (query("SELECT 1"), b"", DONE + READY, 1, False),
        (query("SELECT f()"), b"", refusal(where="function f") + READY, 1, False),
        (query("SELECT f()"), b"", refusal("exec_stmt_raise") + READY, 1, False),
        (query("SELECT nextval('s')"), b"", refusal(command="nextval()") + READY, 1, False),
        (query("INSERT"), b"", NO, 1, False),
        (query("INSERT") + query("INSERT"), b"", NO + READY, 1, False),
        (PARSE + BIND + EXECUTE + SYNC, PARSED + BOUND, NO + READY, 2, True),
        (BIND + EXECUTE + SYNC, BOUND, NO + READY, 2, True),
        (BIND + EXECUTE + SYNC, b"", NO + READY, 3, True),
        # The BindComplete was seen by the client already: it must not come again.
        (BIND + EXECUTE + SYNC, b"", NO + READY, 2, False),
        (PARSE + BIND + EXECUTE, PARSED + BOUND, NO + READY, 1, False),
        (PARSE + BIND + EXECUTE + BIND + EXECUTE + SYNC, PARSED + BOUND + BEGUN + BOUND, NO + READY, 2, True),
        (PARSE + BIND + EXECUTE + BIND + EXECUTE + SYNC, PARSED + BOUND + DONE + BOUND, NO + READY, 2, False),
        (BIND + EXECUTE + SYNC, BOUND + BEGUN, READY, 1, True),
        (BIND + EXECUTE + SYNC, BOUND + DONE, READY, 1, False),
        (PARSE + BIND + EXECUTE + FLUSH, PARSED + BOUND, NO, 1, True),
        (PARSE + BIND + EXECUTE + FLUSH + BIND, PARSED + BOUND, NO, 2, True),
        (PARSE + FLUSH + BIND + EXECUTE, PARSED + BOUND, NO, 1, True),
        (PARSE + BIND + EXECUTE + FLUSH, b"", NO, 1, False),
        (PARSE + BIND + EXECUTE + FLUSH, PARSED + BOUND, DONE, 1, False),
        (b"", b"", NO + READY, 1, False),
        (b"\xff" * 9, b"", NO + READY, 1, False),
    ],
)  # fmt: skip
def test_the_table(sent: bytes, before: bytes, answer: bytes, owed: int, void: bool) -> None:
    """Invariant 5, FO-08."""
    assert is_void(sent, before, answer, owed) is void


def test_the_names_that_were_prepared() -> None:
    other = frontend.Parse(b"", b"INSERT", ()).encode()
    assert prepared_names(PARSE + other + SYNC, PARSED + PARSED + READY) == [b"mine", b""]
    assert prepared_names(PARSE + other + SYNC, PARSED + NO + READY) == [b"mine"]


def test_what_it_counts_for() -> None:
    """M-24, OWN-02."""
    assert counted(query("INSERT")) == (1, 0)
    assert counted(PARSE + BIND + EXECUTE + BIND + EXECUTE + SYNC) == (0, 2)
