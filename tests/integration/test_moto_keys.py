"""A directory of access keys that follows a moto server."""

import importlib.util
import json
from typing import Any

import pytest

from pyproxy.auth import iam, policy
from pyproxy.auth.moto_keys import MotoKeys
from tests.support.aws_oracle import NOW, boto3_token
from tests.support.moto_server import client, moto_server, unique

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="moto is not installed"),
]
HOST = "my-proxy.proxy-abc.us-east-1.rds.amazonaws.com"
PREFIX = "arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-0123456789abcdef0/"


def document(user: str, effect: str = "Allow") -> str:
    statement = {"Effect": effect, "Action": "rds-db:connect", "Resource": PREFIX + user}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def may(keys: MotoKeys, key: dict[str, Any], user: str) -> bool:
    """May the owner of the key log in as the database user?"""
    parts = (key["AccessKeyId"], key["SecretAccessKey"], key.get("SessionToken"))
    expected = iam.Expected(user, frozenset({f"{HOST}:5432"}), "us-east-1", PREFIX + user)
    return iam.verify(boto3_token(user, key=parts), expected, keys, NOW).allowed


async def test_a_users_key_may_what_its_policies_say(moto: str) -> None:
    """AU-37: its own and its groups' policies, inline and managed."""
    aws = client("iam", moto)
    jane, group = unique("jane"), unique("group")
    aws.create_user(UserName=jane)
    key = aws.create_access_key(UserName=jane)["AccessKey"]
    aws.put_user_policy(UserName=jane, PolicyName="p", PolicyDocument=document("inline"))
    managed = aws.create_policy(PolicyName=unique("m"), PolicyDocument=document("managed"))
    aws.attach_user_policy(UserName=jane, PolicyArn=managed["Policy"]["Arn"])
    aws.create_group(GroupName=group)
    aws.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document("group"))
    aws.put_group_policy(GroupName=group, PolicyName="d", PolicyDocument=document("x*", "Deny"))
    aws.add_user_to_group(GroupName=group, UserName=jane)
    keys = MotoKeys(moto)
    assert keys.find(key["AccessKeyId"]) is None
    assert await keys.refresh() == []
    users = ["inline", "managed", "group", "xinline", "other"]
    assert [may(keys, key, user) for user in users] == [True, True, True, False, False]
    aws.update_access_key(UserName=jane, AccessKeyId=key["AccessKeyId"], Status="Inactive")
    await keys.refresh()
    assert keys.find(key["AccessKeyId"]) is None


async def test_an_assumed_roles_key_needs_its_session_token(moto: str) -> None:
    """AU-36; a session policy narrows what the role may."""
    aws, name = client("iam", moto), unique("app")
    role = aws.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    aws.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document("*"))
    sts = client("sts", moto)
    wide = sts.assume_role(RoleArn=role, RoleSessionName="wide")["Credentials"]
    narrow = sts.assume_role(RoleArn=role, RoleSessionName="narrow", Policy=document("reader"))[
        "Credentials"
    ]
    keys = MotoKeys(moto)
    assert await keys.refresh() == []
    assert may(keys, wide, "app")
    assert not may(keys, {**wide, "SessionToken": None}, "app")
    assert not may(keys, {**wide, "SessionToken": narrow["SessionToken"]}, "app")
    assert may(keys, narrow, "reader")
    assert not may(keys, narrow, "app")


async def test_a_server_that_is_away_takes_no_key_away() -> None:
    with moto_server() as address:
        aws, jane = client("iam", address), unique("jane")
        aws.create_user(UserName=jane)
        key = aws.create_access_key(UserName=jane)["AccessKey"]
        keys = MotoKeys(address)
        await keys.refresh()
    (told,) = await keys.refresh()
    assert told.startswith(f"The access keys of {address} can't be read: ")
    assert await keys.refresh() == []
    assert keys.find(key["AccessKeyId"]) is not None


async def test_only_http_is_spoken() -> None:
    (told,) = await MotoKeys("file:///etc/passwd").refresh()
    assert "must begin with http" in told


def test_a_policy_that_can_not_be_read_allows_nothing() -> None:
    from pyproxy.auth.moto_keys import Permissions, role_keys

    state = {
        "sts": {
            "AssumedRole": [{"access_key_id": "A", "policy": "{", "role_arn": "r"}, 7],
        }
    }
    anything = policy.parse({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    assert list(role_keys(state, Permissions({}, {"r": (anything,)}))) == []
