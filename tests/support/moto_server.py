"""A moto server: AWS's Secrets Manager, IAM and STS on a port of loopback.

What moto knows belongs to the process, not to the server: tests share one, and take names of their
own (`unique`).
"""

import logging
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


@contextmanager
def moto_server() -> Iterator[str]:
    """Run one; gives its URL."""
    with warnings.catch_warnings():
        # Its own dependencies warn of each other.
        warnings.simplefilter("ignore")
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()

    def one_at_a_time(environ: Any, start_response: Any) -> Any:
        # moto's backends are dictionaries that it changes while another thread lists them.
        with turn:
            return application(environ, start_response)

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of the one that this worker's tests share."""
    pytest.importorskip("moto")
    with moto_server() as url:
        yield url


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def client(service: str, url: str) -> Any:
    """A boto3 client of it."""
    import boto3

    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **KEYS)
