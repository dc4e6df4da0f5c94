"""A proxy on a test bench of AWS: moto for Secrets Manager, IAM and STS, a real PostgreSQL behind.

    with aws_bench(postgres, moto) as bench:
        bench.token("iam_user")              # by boto3, for this proxy
        bench.login("iam_user", token)       # over TLS; raises LoginFailed

Users: `app` logs in by SCRAM, `md5` by MD5, `iam_user` and `other_user` by IAM.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.support.aws_oracle import boto3_token
from tests.support.moto_server import KEYS, client, unique
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire

RESOURCES = "arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-0123456789abcdef0/"
IAM_USERS = ("iam_user", "other_user")
# At the database; unlike the others one to look for in logs.
IAM_PASSWORD = "c0rrect-h0rse-battery"


class Key(NamedTuple):
    """What a token is signed with."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


def statement(effect: str, *users: str) -> dict[str, Any]:
    resources = [RESOURCES + user for user in users]
    return {"Effect": effect, "Action": "rds-db:connect", "Resource": resources}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def iam_user_key(moto: str, *statements: dict[str, Any]) -> Key:
    """A new IAM user with these permissions, and its access key."""
    aws, name = client("iam", moto), unique("user")
    aws.create_user(UserName=name)
    if statements:
        aws.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document(*statements))
    key = aws.create_access_key(UserName=name)["AccessKey"]
    return Key(key["AccessKeyId"], key["SecretAccessKey"])


def role_key(moto: str, *statements: dict[str, Any]) -> Key:
    """Temporary credentials of a new role with these permissions."""
    aws, name = client("iam", moto), unique("role")
    arn = aws.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    aws.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
    session = client("sts", moto).assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return Key(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])


class Bench:
    """The proxy, and who may do what."""

    # In the proxy's configuration, not in moto.
    configured = Key("AKIDCONFIGURED", "configured-secret-access-key")

    def __init__(self, proxy: Proxy, moto: str, arns: dict[str, str], keys: dict[str, Key]) -> None:
        self.proxy = proxy
        self.moto = moto
        # Of the users' secrets.
        self.arns = arns
        self.keys = keys
        self.tls = ssl.create_default_context(cafile=str(proxy.certificate_authority))

    def token(self, user: str = "iam_user", **changes: Any) -> str:
        """A token by boto3; `changes` are those of `boto3_token`."""
        wanted: dict[str, Any] = {
            "host": "localhost",
            "port": self.proxy.port,
            "key": self.keys["user"],
            "now": datetime.now(UTC),
        }
        return boto3_token(user, **wanted | changes)

    def login(self, user: str, password: str, *, tls: bool = True) -> Wire:
        """Log in as a client that says just this; raises LoginFailed."""
        wire = Wire(self.proxy.host, self.proxy.port)
        try:
            if tls:
                wire.start_tls(self.tls)
            return wire.login(user, password, "app")
        except BaseException:
            wire.close()
            raise

    def url(self, user: str, **options: str) -> str:
        """For libpq, without a password: verify-full against the authority that the proxy made."""
        wanted = {
            "sslmode": "verify-full",
            "sslrootcert": str(self.proxy.certificate_authority),
        } | options
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return f"postgresql://{user}@localhost:{self.proxy.port}/app?{query}"


def secret_text(user: str, password: str) -> str:
    """AWS's JSON, with keys that RDS Proxy ignores (AU-10)."""
    return json.dumps({"username": user, "password": password, "engine": "postgres", "port": 5432})


@contextlib.contextmanager
def aws_environment() -> Iterator[None]:
    """What boto3 finds in the environment of a process."""
    values = {
        "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with patch.dict(os.environ, values):
        yield


def make_iam_users(postgres: Postgres) -> None:
    """Roles for the users that log in to the proxy by IAM, and from it by password."""
    with postgres.admin("postgres") as admin:
        for user in IAM_USERS:
            admin.query(f"DROP ROLE IF EXISTS {user}")
            admin.query(f"CREATE ROLE {user} LOGIN PASSWORD '{IAM_PASSWORD}'")


@contextlib.contextmanager
def aws_bench(postgres: Postgres, moto: str, **changes: Any) -> Iterator[Bench]:
    """Run one; `changes` are those of `start_proxy`."""
    make_iam_users(postgres)
    manager = client("secretsmanager", moto)
    arns = {
        user: manager.create_secret(Name=unique(user), SecretString=secret_text(user, password))[
            "ARN"
        ]
        for user, password in (
            *((user, PASSWORD) for user in ("app", "md5")),
            *((user, IAM_PASSWORD) for user in IAM_USERS),
        )
    }
    keys = {
        "configured": Bench.configured,
        "user": iam_user_key(moto, statement("Allow", *IAM_USERS)),
        "anyone": iam_user_key(moto, statement("Allow", "*")),
        "role": role_key(moto, statement("Allow", "iam_*")),
        "nothing": iam_user_key(moto),
        "elsewhere": iam_user_key(moto, statement("Allow", "other_user")),
        "denied": iam_user_key(moto, statement("Allow", "*"), statement("Deny", "iam_user")),
    }
    settings: dict[str, Any] = {
        "proxy": {
            "auth": [
                {"secret_arn": arns["app"]},
                {"secret_arn": arns["md5"], "client_password_auth_type": "POSTGRES_MD5"},
                *({"secret_arn": arns[user], "iam_auth": "REQUIRED"} for user in IAM_USERS),
            ]
        },
        "secrets": {"provider": "aws", "endpoint_url": moto, "refresh_interval": 0.3},
        "iam": {
            "endpoint_url": moto,
            "access_keys": [
                {
                    "access_key_id": Bench.configured.access_key_id,
                    "secret_access_key": Bench.configured.secret_access_key,
                    "policies": [json.loads(document(statement("Allow", "iam_user")))],
                }
            ],
        },
    }
    for section, value in changes.items():
        settings[section] = settings.get(section, {}) | value if isinstance(value, dict) else value
    with (
        aws_environment(),
        temporary_folder() as folder,
        start_proxy(folder, postgres, **settings) as proxy,
    ):
        yield Bench(proxy, moto, arns, keys)
