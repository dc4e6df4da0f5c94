"""Access keys from a moto server: users' keys and those that `sts:AssumeRole` handed out.

For test benches whose IAM is moto (`iam.endpoint_url`). AWS has no way to ask for the secret of an
access key; a moto server publishes its state, secrets included, at `/moto-api/data.json`. What the
keys may do is asked through the IAM API. All is read by a timer (`refresh`) and kept, so that
`find` never waits: a new key is known a moment later, as in AWS.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from typing import Final, NamedTuple, Protocol, TypeAlias

from pyproxy.auth.access_key import AccessKey
from pyproxy.auth.policy import Policy, PolicyError, parse

# How long the moto server may take, in seconds.
_TIMEOUT: Final = 5.0

Record: TypeAlias = Mapping[str, object]


class MotoError(Exception):
    """The moto server could not be asked."""


class _Paginator(Protocol):
    def paginate(self) -> Iterable[Record]: ...


class _IamClient(Protocol):
    """As much of boto3's IAM client as is used."""

    def get_paginator(self, operation_name: str) -> _Paginator: ...


class Permissions(NamedTuple):
    """What users and roles may do, by name."""

    users: Mapping[str, tuple[Policy, ...]]
    roles: Mapping[str, tuple[Policy, ...]]


class MotoKeys:
    """A directory that follows a moto server."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url: Final = endpoint_url.rstrip("/")
        self._keys: Mapping[str, AccessKey] = {}
        self._trouble = ""

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with this id as of the last refresh, or None."""
        return self._keys.get(access_key_id)

    async def refresh(self) -> list[str]:
        """Read the server's state again; returns what is wrong, if that is news.

        When the server doesn't answer, what it said last stays good.
        """
        before = self._trouble
        try:
            self._keys = await asyncio.to_thread(self._read)
            self._trouble = ""
        except MotoError as error:
            self._trouble = f"The access keys of {self._endpoint_url} can't be read: {error}"
        return [self._trouble] if self._trouble not in ("", before) else []

    def _read(self) -> Mapping[str, AccessKey]:
        state = self._state()
        permissions = permissions_of(self._authorization_details())
        return {
            key.access_key_id: key
            for key in (*user_keys(state, permissions), *role_keys(state, permissions))
        }

    def _state(self) -> Record:
        url = f"{self._endpoint_url}/moto-api/data.json"
        if not url.startswith(("http://", "https://")):
            raise MotoError("iam.endpoint_url must begin with http:// or https://")
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310 - checked
                state: object = json.load(response)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise MotoError(str(error).strip() or type(error).__name__) from None
        if not isinstance(state, Mapping):
            raise MotoError("moto-api/data.json is not an object")
        return state

    def _authorization_details(self) -> list[Record]:
        """Every user, group, role and managed policy, in the shape of the IAM API."""
        try:
            import boto3  # noqa: PLC0415 - the extra `aws`
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            raise MotoError("boto3 is not installed") from None
        client: _IamClient = boto3.session.Session().client(
            "iam",
            region_name="us-east-1",
            endpoint_url=self._endpoint_url,
            # moto looks at the account of a key, and at no signature.
            aws_access_key_id="pyproxy",
            aws_secret_access_key="pyproxy",  # noqa: S106
        )
        try:
            return list(client.get_paginator("get_account_authorization_details").paginate())
        except (BotoCoreError, ClientError) as error:
            raise MotoError(str(error)) from None


def permissions_of(pages: Iterable[Record]) -> Permissions:
    """The policies of each user and role: its own, its groups', inline and managed."""
    details = list(pages)
    managed = {
        _text(policy, "Arn"): document
        for policy in _all(details, "Policies")
        for version in _records(policy, "PolicyVersionList")
        if version.get("IsDefaultVersion")
        for document in _parsed(version.get("Document"))
    }
    groups = {
        _text(group, "GroupName"): _policies(group, "GroupPolicyList", managed)
        for group in _all(details, "GroupDetailList")
    }
    users = {
        _text(user, "UserName"): (
            *_policies(user, "UserPolicyList", managed),
            *(policy for name in _names(user, "GroupList") for policy in groups.get(name, ())),
        )
        for user in _all(details, "UserDetailList")
    }
    roles = {
        _text(role, "Arn"): _policies(role, "RolePolicyList", managed)
        for role in _all(details, "RoleDetailList")
    }
    return Permissions(users, roles)


def user_keys(state: Record, permissions: Permissions) -> Iterator[AccessKey]:
    """The active keys of users."""
    for key in _records(_record(state, "iam"), "AccessKey"):
        user = _text(key, "user_name")
        if user and key.get("status") == "Active":
            yield AccessKey(
                _text(key, "access_key_id"),
                _text(key, "secret_access_key"),
                "",
                permissions.users.get(user, ()),
            )


def role_keys(state: Record, permissions: Permissions) -> Iterator[AccessKey]:
    """The temporary keys of assumed roles; a session policy narrows them further."""
    for session in _records(_record(state, "sts"), "AssumedRole"):
        document = session.get("policy")
        boundaries = tuple(_parsed(document)) if document else ()
        if document and not boundaries:
            # A session policy that can't be read allows nothing.
            continue
        yield AccessKey(
            _text(session, "access_key_id"),
            _text(session, "secret_access_key"),
            _text(session, "session_token"),
            permissions.roles.get(_text(session, "role_arn"), ()),
            boundaries=boundaries,
        )


def _policies(holder: Record, inline: str, managed: Mapping[str, Policy]) -> tuple[Policy, ...]:
    own = [
        policy
        for record in _records(holder, inline)
        for policy in _parsed(record.get("PolicyDocument"))
    ]
    attached = [
        managed[arn]
        for record in _records(holder, "AttachedManagedPolicies")
        if (arn := _text(record, "PolicyArn")) in managed
    ]
    return (*own, *attached)


def _parsed(document: object) -> Iterator[Policy]:
    """The policy in a document, or nothing: moto takes documents that IAM would refuse."""
    try:
        yield parse(json.loads(document) if isinstance(document, str) else document)
    except (ValueError, PolicyError):
        return


def _all(pages: Iterable[Record], key: str) -> list[Record]:
    return [record for page in pages for record in _records(page, key)]


def _records(record: Record, key: str) -> list[Record]:
    value = record.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _record(record: Record, key: str) -> Record:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _names(record: Record, key: str) -> list[str]:
    value = record.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(record: Record, key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""
