"""`pyproxy token`: an IAM token for an endpoint, as `aws rds generate-db-auth-token` prints it.

Signed with a key of `iam.access_keys`, so it is the proxy's own keys that it tries out; nothing
is contacted.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime

from pyproxy import addresses
from pyproxy.arguments import host, port, something
from pyproxy.auth.sigv4 import SigningCredentials
from pyproxy.auth.token import generate
from pyproxy.config import AccessKeyConfig, Config
from pyproxy.config_file import add_argument, load
from pyproxy.exit_codes import DONE, WRONG
from pyproxy.unusable import Unusable, plain_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_argument(parser)
    parser.add_argument(
        "--user", type=something, required=True, help="the database user, with its case"
    )
    parser.add_argument(
        "--host", type=host, help="default: the endpoint's public_host, or its host"
    )
    parser.add_argument("--port", type=port, help="default: the endpoint's port")
    parser.add_argument("--endpoint", metavar="NAME", help="default: the first one")
    parser.add_argument("--access-key-id", metavar="ID", help="default: the first one")


def run(arguments: argparse.Namespace) -> int:
    """Print the token; returns the exit code, 2 for wrong usage or configuration."""
    try:
        config = load(arguments.config, os.environ)
        print(make_token(config, arguments, datetime.now(UTC)))  # noqa: T201 - the answer
    except (Unusable, OSError) as error:
        print(f"pyproxy token: {plain_words(error)}", file=sys.stderr)  # noqa: T201
        return WRONG
    return DONE


def make_token(config: Config, arguments: argparse.Namespace, now: datetime) -> str:
    """The token that the arguments ask for; raises Unusable."""
    key = _key(config, arguments.access_key_id)
    host, port = _address(config, arguments.endpoint)
    return generate(
        SigningCredentials(key.access_key_id, key.secret_access_key, key.session_token),
        host=arguments.host or host,
        port=arguments.port or port,
        user=arguments.user,
        region=config.proxy.region,
        now=now,
    )


def _key(config: Config, wanted: str | None) -> AccessKeyConfig:
    for key in config.iam.access_keys:
        if wanted in (None, key.access_key_id):
            return key
    if not config.iam.access_keys:
        raise Unusable("iam.access_keys is empty: there is nothing to sign a token with")
    known = ", ".join(key.access_key_id for key in config.iam.access_keys)
    raise Unusable(f"iam.access_keys has no access key {wanted!r}; it has {known}")


def _address(config: Config, wanted: str | None) -> tuple[str, int]:
    """What clients call the endpoint: `public_host`, perhaps with a port, or where it listens."""
    for endpoint in config.endpoints:
        if wanted in (None, endpoint.db_proxy_endpoint_name):
            host, port = addresses.split(endpoint.public_host, endpoint.port)
            everywhere = endpoint.host in addresses.EVERYWHERE
            return host or ("localhost" if everywhere else endpoint.host), port
    known = ", ".join(endpoint.db_proxy_endpoint_name for endpoint in config.endpoints)
    raise Unusable(f"there is no endpoint {wanted!r}; there is {known}")
