"""Rows, filtered and paged, in pieces."""

import json
from collections.abc import Iterator

import pytest

from pyproxy.dashboard.listings import SLICE, Page, Row, write_page


def rows(count: int) -> Iterator[Row]:
    for n in range(count):
        yield {
            "id": n,
            "tls": n % 2 == 0,
            "pin": None if n % 10 else "PIN-PG-01",
            "name": f"Job {n}",
        }


def page(count: int, **wanted: object) -> dict[str, object]:
    value = json.loads(b"".join(write_page([("rows", rows(count))], Page(**wanted))))  # type: ignore[arg-type]  # a test's own words
    assert isinstance(value, dict)
    return value


def found(count: int, **wanted: object) -> list[int]:
    listed = page(count, **wanted)["rows"]
    assert isinstance(listed, list)
    return [row["id"] for row in listed]


@pytest.mark.parametrize("count", [0, 1, 2, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 7])
@pytest.mark.parametrize("limit", [1, 2, SLICE, SLICE + 1, 10_000])
@pytest.mark.parametrize("offset", [0, 1, SLICE])
def test_a_page_is_a_slice_of_the_rows(count: int, limit: int, offset: int) -> None:
    assert page(count, limit=limit, offset=offset) == {
        "rows": list(rows(count))[offset : offset + limit],
        "limit": limit,
        "offset": offset,
        "truncated": count > offset + limit,
    }


def test_filters_compare_text() -> None:
    assert found(40, filters={"pin": "PIN-PG-01"}) == [0, 10, 20, 30]
    assert found(40, filters={"pin": "PIN-PG-01", "id": "20"}) == [20]
    assert found(4, filters={"tls": "true"}) == [0, 2]
    assert found(4, filters={"pin": ""}) == [1, 2, 3]


def test_a_search_finds_any_value_whatever_its_case() -> None:
    assert found(30, search="job 2") == [2, *range(20, 30)]
    assert found(30, search="pin-pg") == [0, 10, 20]


def test_filtered_rows_are_paged_as_well() -> None:
    assert found(1000, filters={"pin": "PIN-PG-01"}, limit=3, offset=50) == [500, 510, 520]


def test_no_piece_takes_long_even_when_nothing_is_found() -> None:
    assert len(list(write_page([("rows", rows(10 * SLICE))], Page(search="nobody")))) >= 10


def test_two_lists_have_their_names_and_one_page() -> None:
    both = [("few", rows(2)), ("many", rows(9))]
    value = json.loads(b"".join(write_page(both, Page(limit=4, offset=1))))
    assert [row["id"] for row in value["few"]] == [1]
    assert [row["id"] for row in value["many"]] == [1, 2, 3, 4]
    assert value["truncated"] is True
