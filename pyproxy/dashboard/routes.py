"""What each path answers. No I/O: a `Request` in, a `Response` out.

| path | answers |
| --- | --- |
| `/metrics` | Prometheus text, or OpenMetrics for those who ask |
| `/healthz`, `/readyz` | alive; ready, or 503 and why not |
| `/api/v1/proxy` | `view.ProxySummary` |
| `/api/v1/{clients,servers,pools,pins,targets,events}` | rows of `view`, at most `?limit=`; |
| | pins added up, and one by one under `sessions` |
| `/api/v1/stream` | `events.EventStream` |
| `/` | the status page |

An error is JSON too, and says what would be right.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from pyproxy.dashboard.events import EventStream
from pyproxy.dashboard.view import View

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

DEFAULT_LIMIT: Final = 200
MAX_LIMIT: Final = 2000
"""Rows of one answer. Building and writing 2000 client rows holds the loop for some 10 ms."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

STATIC: Final = {
    "/": ("status.html", "text/html; charset=utf-8"),
    "/static/status.css": ("status.css", "text/css; charset=utf-8"),
    "/static/status.js": ("status.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}

Render = Callable[[str], tuple[str, bytes]]
"""`metrics.exposition.Exposition.render`: Accept header in, content type and body out."""

Rows = Callable[[View], Iterable[Mapping[str, object]]]


class Request(NamedTuple):
    """What an answer may depend on."""

    method: str
    path: str
    query: str = ""
    accept: str = ""
    last_event_id: str = ""


class Response(NamedTuple):
    """A whole answer, or the beginning of a stream."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    stream: EventStream | None = None


class BadRequest(Exception):
    """The query asks for something that does not exist; str() says what does."""


class Listing(NamedTuple):
    """A path that answers with rows."""

    rows: Rows
    by_pool: bool
    """Whether rows have a `pool` to ask for."""

    beside: tuple[str, Rows] | None = None
    """The same told one by one: more rows in the same answer, under a name of their own."""


LISTINGS: Final = {
    "clients": Listing(lambda view: view.clients(), True),
    "servers": Listing(lambda view: view.servers(), True),
    "pools": Listing(lambda view: view.pools(), True),
    "pins": Listing(
        lambda view: view.pins(), False, ("sessions", lambda view: view.pinned_sessions())
    ),
    "targets": Listing(lambda view: view.targets(), False),
    "events": Listing(lambda view: view.events(), False),
}


class Routes:
    """The paths of one server."""

    def __init__(self, view: View, metrics: Render) -> None:
        self._view: Final = view
        self._metrics: Final = metrics
        self._paths: Final[dict[str, Callable[[Request], Response]]] = {
            "/metrics": self._scrape,
            "/healthz": _constant(json_response(200, {"status": "alive"})),
            "/readyz": self._readyz,
            "/api/v1/proxy": self._proxy,
            **{f"/api/v1/{name}": self._rows(name) for name in LISTINGS},
            "/api/v1/stream": self._stream,
            **{path: _static(*source) for path, source in STATIC.items()},
        }

    def answer(self, request: Request) -> Response:
        """Answer a request; the body of an answer to HEAD is for the caller to leave out."""
        handler = self._paths.get(request.path)
        if handler is None:
            return self._not_found(request.path)
        if request.method not in ("GET", "HEAD"):
            message = f"{request.method} is not allowed on {request.path}: use GET or HEAD"
            return error(405, message)._replace(headers=(("Allow", "GET, HEAD"),))
        try:
            return handler(request)
        except BadRequest as wrong:
            return error(400, str(wrong))

    def _not_found(self, path: str) -> Response:
        pages = [known for known in self._paths if not known.startswith("/static/")]
        close = get_close_matches(path[:100], pages, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `paths` for what there is"
        return error(404, f"there is no {path[:100]} here: {hint}", paths=pages)

    def _scrape(self, request: Request) -> Response:
        _arguments(request.query, ())
        content_type, body = self._metrics(request.accept)
        return Response(200, content_type, body)

    def _readyz(self, request: Request) -> Response:
        ready, why = self._view.ready()
        return json_response(200 if ready else 503, {"ready": ready, "why": why})

    def _proxy(self, request: Request) -> Response:
        _arguments(request.query, ())
        return json_response(200, self._view.proxy())

    def _stream(self, request: Request) -> Response:
        _arguments(request.query, ())
        return Response(
            200, EVENT_STREAM, b"", stream=EventStream(self._view, request.last_event_id)
        )

    def _rows(self, name: str) -> Callable[[Request], Response]:
        listing = LISTINGS[name]
        allowed = ("limit", "pool") if listing.by_pool else ("limit",)

        def answer(request: Request) -> Response:
            arguments = _arguments(request.query, allowed)
            limit = _limit(arguments.get("limit"))
            rows = _of_pool(listing.rows(self._view), arguments.get("pool"))
            # One more than asked for tells whether there are more, without counting them all.
            found = {name: list(islice(rows, limit + 1))}
            if listing.beside is not None:
                other, more = listing.beside
                found[other] = list(islice(more(self._view), limit + 1))
            truncated = any(len(taken) > limit for taken in found.values())
            shown = {key: taken[:limit] for key, taken in found.items()}
            return json_response(200, shown | {"limit": limit, "truncated": truncated})

        return answer


def json_response(status: int, value: Mapping[str, object]) -> Response:
    """Return an answer with a JSON body."""
    return Response(status, JSON, json.dumps(value).encode() + b"\n")


def error(status: int, message: str, **more: object) -> Response:
    """Return an error, with a message for people."""
    return json_response(status, {"status": status, "error": message, **more})


def _static(name: str, content_type: str) -> Callable[[Request], Response]:
    body = resources.files(__package__).joinpath("static", name).read_bytes()
    headers = (("Content-Security-Policy", CONTENT_SECURITY_POLICY),)
    return _constant(Response(200, content_type, body, headers))


def _constant(response: Response) -> Callable[[Request], Response]:
    return lambda _request: response


def _arguments(query: str, allowed: tuple[str, ...]) -> dict[str, str]:
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


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    # More than a handful of digits is wrong whatever it is, and need not be converted.
    if text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise BadRequest(f"limit is {text[:50]!r}: it must be a whole number from 1 to {MAX_LIMIT}")


def _of_pool(
    rows: Iterable[Mapping[str, object]], pool: str | None
) -> Iterator[Mapping[str, object]]:
    return iter(rows) if pool is None else (row for row in rows if row["pool"] == pool)
