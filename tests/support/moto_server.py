"""A moto server: AWS's Secrets Manager, IAM and STS on a port of loopback."""

import logging
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


@contextmanager
def moto_server() -> Iterator[str]:
    """Run one; gives its URL."""
    with warnings.catch_warnings():
        # Its own dependencies warn of each other.
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What moto knows belongs to the process, not to the server: begin with nothing.
        urllib.request.urlopen(f"{url}/moto-api/reset", b"", timeout=10).close()
        yield url
    finally:
        server.stop()


def client(service: str, url: str) -> Any:
    """A boto3 client of it."""
    import boto3

    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **KEYS)
