"""Listings: rows of the view as JSON, filtered and paged, a slice at a time.

A listing may be ten thousand rows long, and the loop that makes it also serves the database: so it
is written in pieces, and between two of them others may run.
"""

import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from pyproxy.dashboard.view import (
    CLIENT_STATES,
    EVENT_CATEGORIES,
    SERVER_STATES,
    TARGET_ROLES,
    View,
)

DEFAULT_LIMIT: Final = 200
MAX_LIMIT: Final = 10_000
MAX_OFFSET: Final = 1_000_000

SLICE: Final = 200
"""Rows that are looked at in one go: about a millisecond."""

PAGING: Final = ("limit", "offset", "search")
"""Arguments of every listing."""

MAX_ID: Final = 2**32 - 1
"""Of a connection (LG-02)."""

Row = Mapping[str, object]


class BadRequest(Exception):
    """The query asks for something that does not exist; str() says what does."""


Values = Callable[[View], Collection[str]]
"""What a key of a row can be, whatever the rows are at the moment."""


def _one_of(*values: str) -> Values:
    return lambda _view: values


def _rules(_view: View) -> Collection[str]:
    # Who asks a running proxy needs this module, and no rules (`client`).
    from pyproxy.pinning.rules import RULES  # noqa: PLC0415

    return [rule.id for rule in RULES.values() if rule.reason]


def _rules_or_none(view: View) -> Collection[str]:
    return ("", *_rules(view))


def _endpoints(view: View) -> Collection[str]:
    return [endpoint["db_proxy_endpoint_name"] for endpoint in view.proxy()["endpoints"]]


def _targets(view: View) -> Collection[str]:
    return [target["id"] for target in view.targets()]


class Listing(NamedTuple):
    """A path that answers with rows."""

    rows: Callable[[View], Iterable[Row]]
    filters: Mapping[str, Values | range | None]
    """Keys of a row that can be asked for by value, and the values there can be: these, a whole
    number, or any (None)."""

    beside: tuple[str, Callable[[View], Iterable[Row]]] | None = None
    """The same told one by one: more rows in the same answer, under a name of their own."""

    def lists(self, name: str, view: View) -> Iterator[tuple[str, Iterable[Row]]]:
        """Yield the lists of the answer with their names."""
        yield name, self.rows(view)
        if self.beside is not None:
            other, rows = self.beside
            yield other, rows(view)


_IDS: Final = range(MAX_ID + 1)

LISTINGS: Final = {
    "clients": Listing(
        lambda view: view.clients(),
        {
            "id": _IDS,
            "endpoint": _endpoints,
            "pool": None,
            "application_name": None,
            "state": _one_of(*CLIENT_STATES),
            "pin": _rules_or_none,
        },
    ),
    "servers": Listing(
        lambda view: view.servers(),
        {
            "id": _IDS,
            "target": _targets,
            "pool": None,
            "application_name": None,
            "state": _one_of(*SERVER_STATES),
            "pin": _rules_or_none,
        },
    ),
    "pools": Listing(lambda view: view.pools(), {"pool": None, "target": _targets}),
    "pins": Listing(
        lambda view: view.pins(),
        {"rule": _rules, "application_name": None, "driver": None, "digest": None},
        ("sessions", lambda view: view.pinned_sessions()),
    ),
    "targets": Listing(
        lambda view: view.targets(), {"id": _targets, "role": _one_of(*TARGET_ROLES)}
    ),
    "events": Listing(
        lambda view: view.events(), {"event": None, "category": _one_of(*EVENT_CATEGORIES)}
    ),
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


def read_page(query: str, listing: Listing, view: View) -> Page:
    """Read the arguments of a listing; BadRequest if one of them is wrong."""
    arguments = read_arguments(query, (*PAGING, *listing.filters))
    filters = {
        key: _possible(key, arguments[key], allowed, view)
        for key, allowed in listing.filters.items()
        if key in arguments
    }
    return Page(
        _number(arguments, "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1)),
        _number(arguments, "offset", 0, range(MAX_OFFSET + 1)),
        arguments.get("search", "").lower(),
        filters,
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


def _number(arguments: Mapping[str, str], name: str, usual: int, allowed: range) -> int:
    text = arguments.get(name)
    return usual if text is None else _whole_number(name, text, allowed)


def _whole_number(name: str, text: str, allowed: range) -> int:
    # More than a handful of digits is wrong whatever it is, and need not be converted.
    handful = text.isascii() and text.isdecimal() and len(text) <= len(str(allowed[-1]))
    if handful and int(text) in allowed:
        return int(text)
    right = f"it must be a whole number from {allowed[0]} to {allowed[-1]}"
    raise BadRequest(f"{name} is {text[:50]!r}: {right}")


def _possible(name: str, text: str, allowed: Values | range | None, view: View) -> str:
    """A value as rows have it; BadRequest where none ever can: a slip, and no empty answer."""
    if isinstance(allowed, range):
        return str(_whole_number(name, text, allowed))
    if allowed is not None and text not in (values := allowed(view)):
        one_of = ", ".join(value or "empty" for value in values)
        raise BadRequest(f"{name} is {text[:50]!r}: it must be one of {one_of}")
    return text


def _text(value: object) -> str:
    """A value as it is asked for: `true` for True, empty for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
