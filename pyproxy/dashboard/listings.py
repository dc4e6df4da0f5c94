"""Listings: rows of the view as JSON, filtered and paged, a slice at a time.

A listing may be ten thousand rows long, and the loop that makes it also serves the database: so it
is written in pieces, and between two of them others may run.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from pyproxy.dashboard.view import View

DEFAULT_LIMIT: Final = 200
MAX_LIMIT: Final = 10_000
MAX_OFFSET: Final = 1_000_000

SLICE: Final = 200
"""Rows that are looked at in one go: about a millisecond."""

PAGING: Final = ("limit", "offset", "search")
"""Arguments of every listing."""

Row = Mapping[str, object]


class BadRequest(Exception):
    """The query asks for something that does not exist; str() says what does."""


class Listing(NamedTuple):
    """A path that answers with rows."""

    rows: Callable[[View], Iterable[Row]]
    filters: tuple[str, ...] = ()
    """Keys of a row that can be asked for by value."""

    beside: tuple[str, Callable[[View], Iterable[Row]]] | None = None
    """The same told one by one: more rows in the same answer, under a name of their own."""

    def lists(self, name: str, view: View) -> Iterator[tuple[str, Iterable[Row]]]:
        """Yield the lists of the answer with their names."""
        yield name, self.rows(view)
        if self.beside is not None:
            other, rows = self.beside
            yield other, rows(view)


LISTINGS: Final = {
    "clients": Listing(
        lambda view: view.clients(),
        ("id", "endpoint", "pool", "application_name", "state", "pin"),
    ),
    "servers": Listing(
        lambda view: view.servers(), ("id", "target", "pool", "application_name", "state", "pin")
    ),
    "pools": Listing(lambda view: view.pools(), ("pool", "target")),
    "pins": Listing(
        lambda view: view.pins(),
        ("rule", "application_name", "driver", "digest"),
        ("sessions", lambda view: view.pinned_sessions()),
    ),
    "targets": Listing(lambda view: view.targets(), ("id", "role")),
    "events": Listing(lambda view: view.events(), ("event", "category")),
}


class Page(NamedTuple):
    """Which rows are wanted."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0
    search: str = ""
    """A text that some value of the row has in it, whatever the case."""

    filters: Mapping[str, str] = {}
    """Values of keys, as text."""

    def wants(self, row: Row) -> bool:
        """Whether the row is one of those asked for."""
        if any(_text(row[key]) != value for key, value in self.filters.items()):
            return False
        return not self.search or any(self.search in _text(v).lower() for v in row.values())


def read_page(query: str, listing: Listing) -> Page:
    """Read the arguments of a listing; BadRequest if one of them is wrong."""
    arguments = read_arguments(query, (*PAGING, *listing.filters))
    return Page(
        _number(arguments, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
        _number(arguments, "offset", 0, 0, MAX_OFFSET),
        arguments.get("search", "").lower(),
        {key: value for key, value in arguments.items() if key not in PAGING},
    )


def write_page(lists: Iterable[tuple[str, Iterable[Row]]], page: Page) -> Iterator[bytes]:
    """Yield the answer in pieces; joined they are its JSON. The page applies to each of the lists.

    No more rows are taken than are needed to fill the page and to tell whether there are more.
    """
    truncated = False
    yield b"{"
    for name, rows in lists:
        yield f'"{name}": ['.encode()
        more = yield from _write_rows(rows, page)
        truncated = truncated or more
        yield b"], "
    told = f'"limit": {page.limit}, "offset": {page.offset}, "truncated": {json.dumps(truncated)}'
    yield told.encode() + b"}\n"


def _write_rows(rows: Iterable[Row], page: Page) -> Generator[bytes, None, bool]:
    """Yield the rows of a list in pieces; returns whether there are more."""
    skip, left = page.offset, page.limit
    found: list[str] = []
    more = False
    for number, row in enumerate(rows, 1):
        if not number % SLICE:
            yield "".join(found).encode()
            found.clear()
        if not page.wants(row):
            continue
        if skip:
            skip -= 1
        elif left:
            found.append(("" if left == page.limit else ", ") + json.dumps(row))
            left -= 1
        else:
            more = True
            break
    yield "".join(found).encode()
    return more


def read_arguments(query: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Read the query; an argument that would be ignored is an error, and so is one given twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError:
        raise BadRequest("the query cannot be read: use ?name=value&name=value") from None
    right = f"allowed here: {', '.join(allowed)}" if allowed else "none is allowed here"
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise BadRequest(f"unknown argument {name[:50]!r}: {right}")
        if name in found:
            raise BadRequest(f"argument {name!r} is given twice: give it once")
        found[name] = value
    return found


def _number(arguments: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = arguments.get(name)
    if text is None:
        return usual
    # More than a handful of digits is wrong whatever it is, and need not be converted.
    if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} is {text[:50]!r}: it must be a whole number from {least} to {most}")


def _text(value: object) -> str:
    """A value as it is asked for: `true` for True, empty for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
