"""The other end of the HTTP side: how a command asks a running proxy.

    rows = get_json("http://127.0.0.1:8432", "/api/v1/pins")

Plain `http.client` rather than `urllib`: the environment's `http_proxy` must not send a question
for this machine to another one. Whatever goes wrong is an `ApiError` of one line.
"""

import json
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple

from pyproxy.addresses import of_proxy
from pyproxy.dashboard.routes import DELIBERATE

DEFAULT_URL: Final = "http://127.0.0.1:8432"
TIMEOUT: Final = 5.0


class ApiError(Exception):
    """The proxy could not be asked, or refused; str() is one line for people."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    def json(self) -> object:
        """Return the body as JSON values, or None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def get(url: str, path: str, timeout: float = TIMEOUT) -> Answer:
    """Ask for `path` of the proxy at `url`, such as `http://127.0.0.1:8432`; any status is fine."""
    return _ask("GET", url, path, timeout)


def post(url: str, path: str, timeout: float = TIMEOUT) -> dict[str, object]:
    """Start what `path` stands for and return its JSON; ApiError unless the status is 2xx."""
    answer = _ask("POST", url, path, timeout)
    value = answer.json()
    if answer.status // 100 != 2 or not isinstance(value, dict):
        why = value.get("error", "no reason") if isinstance(value, dict) else "no reason"
        raise ApiError(f"{url}{path} answered {answer.status}: {why}")
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
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
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


def get_json(url: str, path: str, timeout: float = TIMEOUT) -> dict[str, object]:
    """Ask for `path` and return its JSON object; ApiError unless the status is 200."""
    answer = get(url, path, timeout)
    value = answer.json()
    if not isinstance(value, dict):
        raise ApiError(f"{url}{path} answered {answer.status} without JSON: is this pyproxy?")
    if answer.status != 200:
        raise ApiError(f"{url}{path} answered {answer.status}: {value.get('error', 'no reason')}")
    return value
