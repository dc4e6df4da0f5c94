"""What is only compared with the series before is what reading it would have found."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier
from pyproxy.postgres.series import Series, read_series
from pyproxy.postgres.statements import Catalog
from tests.support.messages import message
from tests.support.stage import SYNC, series

CATALOG = Catalog(Classifier(CompatibilityConfig()))

SERIES = [
    series(*what, described=described, value=value)
    for what in ((), (b"SELECT 2",), (None,), (None, b"s"), (None, b"st"), (None, b"D"))
    for described in (True, False)
    for value in (b"", b"x", b"xyz", SYNC)
]
# Its statement's name ends in the message behind it.
TOO_SHORT = message(b"B", b"\0") + series(None)[-22:]


def look(outline: Series) -> tuple[object, ...]:
    return outline.head, outline.parsed, outline.name, outline.name_end, outline.described


def changed(data: bytes, places: list[tuple[int, bytes]]) -> bytes:
    for place, replacement in places:
        at = place % (len(data) + 1)
        data = data[:at] + replacement + data[at + len(replacement) % 2 :]
    return data


places = st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=2)), max_size=3)


@given(st.sampled_from(SERIES), st.sampled_from([*SERIES, TOO_SHORT]), places)
@example(series(None, b"D"), TOO_SHORT, [])
def test_alike_is_what_reads_alike(
    before: bytes, base: bytes, edits: list[tuple[int, bytes]]
) -> None:
    outline = read_series(before, CATALOG)
    assert outline is not None
    data = changed(base, edits)
    found = read_series(data, CATALOG) if data[:1] in (b"P", b"B") and len(data) > 5 else None
    assert outline.is_like(data) == (found is not None and look(found) == look(outline))


def test_a_named_statement_gets_the_name_of_the_server() -> None:
    statement = CATALOG.intern(b"SELECT $1\0\0\0", True)
    for value in (b"x", b"xyz", b""):
        data = series(None, b"s", value=value)
        outline = read_series(data, CATALOG)
        assert outline is not None
        assert outline.renamed(data, statement) == series(None, statement.server_name, value=value)
