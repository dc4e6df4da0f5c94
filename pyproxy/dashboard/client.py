"""The other end of the HTTP side: how a command asks a running proxy.

    rows = get_json("http://127.0.0.1:8432", "/api/v1/pins")

Plain `http.client` rather than `urllib`: the environment's `http_proxy` must not send a question
for this machine to another one. Whatever goes wrong is an `ApiError` of one line.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Final, NamedTuple

import pyproxy
from pyproxy.addresses import of_proxy
from pyproxy.dashboard.routes import DELIBERATE

DEFAULT_URL: Final = "http://127.0.0.1:8432"
TIMEOUT: Final = 5.0
# A whole answer may take so many times as long as any silence in it.
PATIENCE: Final = 10
# The ledger's largest answer has ten thousand digests; what is longer has no end.
LONGEST: Final = 256 * 1024 * 1024
READ_SIZE: Final = 256 * 1024


class ApiError(Exception):
    """The proxy could not be asked, or refused; str() is one line for people."""

    def __init__(self, message: str, status: int = 0, *, in_json: bool = False) -> None:
        super().__init__(message)
        # Of the answer, if there was one; and whether it was in JSON, as a proxy's is.
        self.status: Final = status
        self.in_json: Final = in_json


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    def json(self) -> object:
        """Return the body as JSON values, or None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def get(url: str, path: str, timeout: float = TIMEOUT) -> Answer:
    """Ask for `path` of the proxy at `url`, such as `http://127.0.0.1:8432`; any status is fine."""
    return _ask("GET", url, path, timeout)


def get_json(url: str, path: str, timeout: float = TIMEOUT) -> dict[str, object]:
    """Ask for `path` and return its JSON object; ApiError unless the status is 200."""
    return _object(url, path, get(url, path, timeout), 200)


def post(url: str, path: str, timeout: float = TIMEOUT) -> dict[str, object]:
    """Start what `path` stands for and return its JSON; ApiError unless the status is 202."""
    return _object(url, path, _ask("POST", url, path, timeout), 202)


@contextmanager
def understanding(url: str) -> Iterator[None]:
    """Read in here what was answered: of another shape than ours it is an ApiError."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ApiError(
            f"{url} answered otherwise than pyproxy {pyproxy.__version__} does: is it one, and of "
            "this version?"
        ) from None


def _object(url: str, path: str, answer: Answer, good: int) -> dict[str, object]:
    value = answer.json()
    place = url.rstrip("/") + path
    if not isinstance(value, dict):
        message = f"{place} answered {answer.status} without JSON: is this pyproxy?"
        raise ApiError(message, answer.status)
    if answer.status != good:
        why = value.get("error")
        text = " ".join(why.split())[:300] if isinstance(why, str) else "is this pyproxy?"
        message = f"{place} answered {answer.status}: {text}"
        raise ApiError(message, answer.status, in_json=True)
    return value


def _ask(method: str, url: str, path: str, timeout: float) -> Answer:
    try:
        host, port = of_proxy(url)
    except ValueError as problem:
        raise ApiError(str(problem)) from None
    connection = HTTPConnection(host, port, timeout=timeout)
    headers = {"Connection": "close"}
    if method == "POST":
        headers[DELIBERATE] = "yes"
    deadline = time.monotonic() + PATIENCE * timeout
    try:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            return Answer(response.status, _read(response, deadline))
    except TimeoutError:
        raise ApiError(f"{url} did not answer within {timeout:g} s") from None
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise ApiError(f"{url} cannot be reached ({why}): is pyproxy running there?") from None
    except (HTTPException, ValueError) as problem:
        # What it said instead may be anything, and of any length.
        why = ascii(str(problem) or type(problem).__name__)[:60]
        raise ApiError(f"{url} did not answer in HTTP ({why}): is this http.port?") from None
    finally:
        connection.close()


def _read(response: HTTPResponse, deadline: float) -> bytes:
    """The body, of a server that may drip, or never stop."""
    body = bytearray()
    announced = response.length
    while piece := response.read1(READ_SIZE):
        body += piece
        if len(body) > LONGEST:
            raise HTTPException("it goes on and on")
        if time.monotonic() > deadline:
            raise TimeoutError
    if announced is not None and len(body) < announced:
        raise IncompleteRead(bytes(body), announced - len(body))
    return bytes(body)
