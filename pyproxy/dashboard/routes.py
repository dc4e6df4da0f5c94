"""What each path answers. No I/O: a `Request` in, a `Response` out.

| path | answers |
| --- | --- |
| `/metrics` | Prometheus text, or OpenMetrics for those who ask |
| `/healthz`, `/readyz` | alive; ready, or 503 and why not |
| `/api/v1/proxy` | `view.ProxySummary` |
| `/api/v1/{clients,servers,pools,pins,...}` | rows of `view`, see `listings` |
| `/api/v1/stream` | `feed.Listener` |
| `/` | the live page |

An error is JSON too, and says what would be right.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from typing import Final, NamedTuple

from pyproxy.dashboard.listings import LISTINGS, BadRequest, read_arguments, read_page, write_page
from pyproxy.dashboard.view import View

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What the page is made of: a file of the folder `static` with one of these endings."""

Render = Callable[[str], tuple[str, bytes]]
"""`metrics.exposition.Exposition.render`: Accept header in, content type and body out."""


class Request(NamedTuple):
    """What an answer may depend on."""

    method: str
    path: str
    query: str = ""
    accept: str = ""
    last_event_id: str = ""

    deliberate: bool = False
    """It has the header DELIBERATE."""


DELIBERATE: Final = "X-PyProxy-Deliberate"
"""The header, of any value, that a POST must have."""


class Response(NamedTuple):
    """A whole answer, or the beginning of a stream."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterator[bytes] | None = None
    """The body, still to be made; between two pieces others may run."""

    stream: bool = False
    """What follows are the frames of a `feed.Listener`."""


Action = Callable[[str], tuple[int, Mapping[str, object]]]
"""Something that a POST starts: its query in, status and answer out; raises BadRequest. It must not
block."""


Handler = Callable[[Request, View], Response]


class Routes:
    """The paths of one server."""

    def __init__(
        self, view: View, metrics: Render, actions: Mapping[str, Action] | None = None
    ) -> None:
        self._view: Final = view
        self._metrics: Final = metrics
        self._actions: Final = actions or {}
        self._paths: Final[dict[str, Handler]] = {
            "/metrics": self._scrape,
            "/healthz": _constant(json_response(200, {"status": "alive"})),
            "/readyz": self._readyz,
            "/api/v1/proxy": self._proxy,
            **{f"/api/v1/{name}": self._rows(name) for name in LISTINGS},
            "/api/v1/stream": self._stream,
            **_static_paths(),
        }

    def answer(self, request: Request, view: View | None = None) -> Response:
        """Answer a request; the body of an answer to HEAD is for the caller to leave out.

        What it shows is in `view`, if it had to be fetched.
        """
        if request.path in self._actions:
            return self._act(request)
        handler = self._paths.get(request.path)
        if handler is None:
            return self._not_found(request.path)
        if request.method not in ("GET", "HEAD"):
            message = f"{request.method} is not allowed on {request.path}: use GET or HEAD"
            return error(405, message)._replace(headers=(("Allow", "GET, HEAD"),))
        try:
            return handler(request, view or self._view)
        except BadRequest as wrong:
            return error(400, str(wrong))

    def _act(self, request: Request) -> Response:
        """Start something, for those whom no page of another site can imitate.

        A browser sends a header like ours to another site only after it has asked, by a method that
        is refused here.
        """
        if request.method != "POST":
            message = f"{request.method} is not allowed on {request.path}: use POST"
            return error(405, message)._replace(headers=(("Allow", "POST"),))
        if not request.deliberate:
            return error(403, f"a POST needs the header {DELIBERATE}")
        try:
            status, answer = self._actions[request.path](request.query)
        except BadRequest as wrong:
            return error(400, str(wrong))
        return json_response(status, answer if status < 400 else {"status": status, **answer})

    def _not_found(self, path: str) -> Response:
        pages = [known for known in self._paths if not known.startswith("/static/")]
        close = get_close_matches(path[:100], pages, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `paths` for what there is"
        return error(404, f"there is no {path[:100]} here: {hint}", paths=pages)

    def _scrape(self, request: Request, _view: View) -> Response:
        read_arguments(request.query, ())
        content_type, body = self._metrics(request.accept)
        return Response(200, content_type, body)

    def _readyz(self, _request: Request, view: View) -> Response:
        ready, why = view.ready()
        return json_response(200 if ready else 503, {"ready": ready, "why": why})

    def _proxy(self, request: Request, view: View) -> Response:
        read_arguments(request.query, ())
        return json_response(200, view.proxy())

    def _stream(self, request: Request, _view: View) -> Response:
        read_arguments(request.query, ())
        return Response(200, EVENT_STREAM, b"", stream=True)

    def _rows(self, name: str) -> Handler:
        listing = LISTINGS[name]

        def answer(request: Request, view: View) -> Response:
            page = read_page(request.query, listing, view)
            return Response(200, JSON, b"", pieces=write_page(listing.lists(name, view), page))

        return answer


def json_response(status: int, value: Mapping[str, object]) -> Response:
    """Return an answer with a JSON body."""
    return Response(status, JSON, json.dumps(value).encode() + b"\n")


def error(status: int, message: str, **more: object) -> Response:
    """Return an error, with a message for people."""
    return json_response(status, {"status": status, "error": message, **more})


def _static_paths() -> dict[str, Handler]:
    """Return the page at `/` and its parts below `/static/`, read once."""
    folder = resources.files(__package__).joinpath("static")
    headers = (("Content-Security-Policy", CONTENT_SECURITY_POLICY),)
    paths = {}
    for file in folder.iterdir():
        content_type = TYPES.get("." + file.name.rpartition(".")[2])
        if content_type is not None:
            path = "/" if file.name == "page.html" else f"/static/{file.name}"
            paths[path] = _constant(Response(200, content_type, file.read_bytes(), headers))
    return paths


def _constant(response: Response) -> Handler:
    return lambda _request, _view: response
