"""Secrets in AWS Secrets Manager, or in something that speaks its API (LocalStack, moto).

`BotoSecrets` asks through boto3, which knows profiles, SSO, instance and container roles; the extra
`aws` installs it. Without boto3, `SignedSecrets` signs the one request itself, with the
credentials in the environment variables that AWS's tools share.

Only the version AWSCURRENT is asked for, as RDS Proxy does (AU-12): a rotation that stores the
next password as AWSPENDING first changes nothing until it is done.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import re
import threading
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pyproxy.auth import sigv4
from pyproxy.auth.secret import Secret, SecretError, SecretStore, parse_secret

# Seconds for the TCP connection and for an answer. With the second attempt this stays below
# credentials.FETCH_TIMEOUT, so that no thread outlives its question by much.
CONNECT_TIMEOUT: Final = 2.0
READ_TIMEOUT: Final = 2.5
_ATTEMPTS: Final = 2
_SERVICE: Final = "secretsmanager"
_STAGE: Final = "AWSCURRENT"
_MAX_ANSWER: Final = 1 << 20


class _Client(Protocol):
    """As much of boto3's client as is used; its methods are made at run time."""

    def get_secret_value(
        self,
        *,
        SecretId: str,  # noqa: N803 - AWS's name
        VersionStage: str,  # noqa: N803
    ) -> Mapping[str, object]:
        """GetSecretValue of the Secrets Manager API."""
        ...


def open_secrets_manager(
    endpoint_url: str, region: str, environment: Mapping[str, str]
) -> SecretStore:
    """Secrets Manager by boto3 or without; raises SecretError when neither is possible.

    `region` is for secrets named without an ARN; an ARN has its own.
    """
    if importlib.util.find_spec("boto3") is not None:
        return BotoSecrets(endpoint_url, region)
    credentials = sigv4.SigningCredentials(
        environment.get("AWS_ACCESS_KEY_ID", ""),
        environment.get("AWS_SECRET_ACCESS_KEY", ""),
        environment.get("AWS_SESSION_TOKEN", ""),
    )
    if not (credentials.access_key_id and credentials.secret_access_key):
        raise SecretError(
            "secrets.provider is aws and boto3 is not installed: install it,"
            " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return SignedSecrets(endpoint_url, region, credentials)


class BotoSecrets:
    """Asks through boto3."""

    def __init__(self, endpoint_url: str, region: str) -> None:
        self._endpoint_url: Final = endpoint_url
        self._region: Final = region
        # By region; boto3's clients may be shared by threads, making one may not.
        self._clients: Final[dict[str, _Client]] = {}
        self._lock: Final = threading.Lock()

    def fetch(self, name: str) -> Secret:
        """Ask Secrets Manager. Blocks, for seconds at worst; raises SecretError."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - the extra

        try:
            client = self._client(region_of(name) or self._region)
            answer = client.get_secret_value(SecretId=name, VersionStage=_STAGE)
        except ClientError as error:
            raise _refused(name, error.response.get("Error", {})) from None
        except (BotoCoreError, ValueError) as error:
            # The latter of an endpoint whose host is none to botocore, as one with an underscore.
            raise SecretError(f"secret {name!r}: {error}") from None
        return _secret_in(answer, name)

    def _client(self, region: str) -> _Client:
        with self._lock:
            client = self._clients.get(region)
            if client is None:
                client = self._clients[region] = self._make_client(region)
        return client

    def _make_client(self, region: str) -> _Client:
        import boto3  # noqa: PLC0415 - the extra
        from botocore.config import Config  # noqa: PLC0415

        client: _Client = boto3.session.Session().client(
            _SERVICE,
            region_name=region or None,
            endpoint_url=self._endpoint_url or None,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            ),
        )
        return client


class SignedSecrets:
    """Asks by itself, with given credentials."""

    def __init__(
        self, endpoint_url: str, region: str, credentials: sigv4.SigningCredentials
    ) -> None:
        self._endpoint_url: Final = endpoint_url
        self._region: Final = region
        self._credentials: Final = credentials

    def fetch(self, name: str) -> Secret:
        """Ask Secrets Manager. Blocks, for seconds at worst; raises SecretError."""
        request = self.request(name, datetime.now(UTC))
        try:
            with urllib.request.urlopen(  # noqa: S310 - the scheme is checked
                request, timeout=CONNECT_TIMEOUT + READ_TIMEOUT
            ) as response:
                return _secret_in(_json(response.read(_MAX_ANSWER)), name)
        except HTTPError as error:
            answer = _json(_body_of(error))
            kind = str(answer.get("__type", f"HTTP status {error.code}")).rpartition("#")[2]
            message = answer.get("message", answer.get("Message", ""))
            raise _refused(name, {"Code": kind, "Message": message}) from None
        except (OSError, http.client.HTTPException) as error:
            why = error.reason if isinstance(error, URLError) else error
            raise SecretError(f"secret {name!r}: {why}") from None

    def request(self, name: str, now: datetime) -> urllib.request.Request:
        """The signed GetSecretValue."""
        region = region_of(name) or self._region
        url = self._endpoint_url or f"https://{_SERVICE}.{region}.amazonaws.com{_suffix(region)}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not region:
            raise SecretError(f"secret {name!r}: no region, or {url!r} is no http address")
        body = json.dumps({"SecretId": name, "VersionStage": _STAGE}).encode()
        headers = {
            "host": parts.netloc,
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "secretsmanager.GetSecretValue",
        }
        signed = sigv4.signed_headers(
            self._credentials,
            region=region,
            service=_SERVICE,
            method="POST",
            path=parts.path or "/",
            headers=headers.items(),
            body=body,
            now=now,
        )
        return urllib.request.Request(url, body, signed, method="POST")  # noqa: S310 - checked


def region_of(name: str) -> str:
    """The region in a secret's ARN; empty if it is no ARN."""
    parts = name.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) > 3 else ""


def _suffix(region: str) -> str:
    # AWS General Reference, "Service endpoints": China has a domain of its own.
    return ".cn" if region.startswith("cn-") else ""


def _secret_in(answer: Mapping[str, object], name: str) -> Secret:
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise SecretError(f"secret {name!r} is binary; RDS Proxy wants a JSON SecretString")
    return parse_secret(text, f"secret {name!r}")


def _body_of(error: HTTPError) -> bytes:
    """What it says; nothing if that does not arrive."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return error.read(_MAX_ANSWER)
    return b""


def _json(data: bytes) -> Mapping[str, object]:
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _refused(name: str, error: Mapping[str, object]) -> SecretError:
    """AWS's error, with the remedy where it is known."""
    code = str(error.get("Code", "unknown error"))
    text = f"secret {name!r}: {code}"
    as_on_aws = ""
    if code == "AccessDeniedException":
        # IAM's sentence: "User: <arn> is not authorized to perform: … on resource: …".
        user = re.search(r"User: (\S+) is not authorized", str(error.get("Message", "")))
        as_on_aws = (
            f'The IAM role "{user[1] if user else ""}" is not authorized to read the AWS Secrets '
            f'Manager secret with the ARN "{name}"'
        )
        text += ": allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key"
    elif code == "ResourceNotFoundException":
        text += ": no such secret, or it has no version AWSCURRENT"
    elif message := error.get("Message"):
        text += f": {message}"
    return SecretError(text, as_on_aws)
