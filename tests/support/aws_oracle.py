"""What boto3 makes, at a time that the test chooses."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

import boto3

NOW = datetime(2026, 11, 23, 14, 9, 5, tzinfo=UTC)


@contextlib.contextmanager
def botocore_time(now: datetime) -> Iterator[None]:
    """Make botocore sign as of `now`."""
    with patch("botocore.auth.get_current_datetime", lambda: now.replace(tzinfo=None)):
        yield


def boto3_token(
    user: str,
    *,
    host: str = "my-proxy.proxy-abc.us-east-1.rds.amazonaws.com",
    port: int = 5432,
    key: tuple[str, str, str | None] = ("AKIDEXAMPLE", "secret", None),
    region: str = "us-east-1",
    now: datetime = NOW,
) -> str:
    """A token by boto3's own `generate_db_auth_token`, which the AWS command line calls too."""
    session = boto3.session.Session(*key, region_name=region)
    with botocore_time(now):
        return session.client("rds").generate_db_auth_token(host, port, user)
