"""C-02, C-03: a database connection is held for a transaction, or for a statement alone."""

import pytest

from pyproxy.assessment.transactions import after, transactions
from tests.pyproxy.assessment.recordings import session


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        ("BEGIN", False, True),
        ("start transaction read only", False, True),
        ("/* x */ begin", False, True),
        ("COMMIT", True, False),
        ("end", True, False),
        ("ABORT", True, False),
        ("ROLLBACK", True, False),
        ("ROLLBACK TO SAVEPOINT a", True, True),
        ("rollback work to a", True, True),
        ("COMMIT AND CHAIN", True, True),
        ("COMMIT AND NO CHAIN", True, False),
        ("PREPARE TRANSACTION 'x'", True, False),
        ("PREPARE x AS SELECT 1", True, True),
        ("SELECT 'commit'", True, True),
        ("SELECT 1; BEGIN; SELECT 2", False, True),
        ("BEGIN; SELECT 1; COMMIT", False, False),
        ("", True, True),
    ],
)
def test_what_begins_and_ends_a_transaction(text: str, before: bool, expected: bool) -> None:
    assert after(text, before) is expected


def test_a_transaction_holds_from_its_first_statement_to_its_end() -> None:
    seen = session(
        (0, 1, "SELECT 1"), (2, 0.5, "BEGIN"), (5, 1, "SELECT 2"), (7, 1, "COMMIT"), end=9
    )
    spans = list(transactions(seen.statements))
    assert [(s.begin, s.end, s.statements) for s in spans] == [(0, 1, 1), (2, 8, 3)]


def test_one_that_never_ends_is_seen_as_far_as_it_goes() -> None:
    seen = session((0, 1, "BEGIN"), (2, 1, "SELECT 1"), end=9)
    assert [s.seconds for s in transactions(seen.statements)] == [3]
