"""Exercise: IAM tokens, and the ways in which they are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pyproxy.auth.certificates import database_context
from pyproxy.auth.sigv4 import SigningCredentials
from pyproxy.auth.token import generate
from pyproxy.lab.client import attempt
from pyproxy.lab.exercises.exercise import Exercise, Grade
from pyproxy.lab.exercises.room import USER, Room

_KEY: Final = SigningCredentials("AKIALAB", "lab-secret", "")
_STRANGER: Final = SigningCredentials("AKIALAB", "another-secret", "")
_POWERLESS: Final = SigningCredentials("AKIAPOWERLESS", "lab-secret", "")


def _config() -> dict[str, object]:
    allow = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "rds-db:connect",
                "Resource": f"arn:aws:rds-db:us-east-1:123456789012:dbuser:*/{USER}",
            }
        ],
    }
    keys = [
        {"access_key_id": "AKIALAB", "secret_access_key": "lab-secret", "policies": [allow]},
        {"access_key_id": "AKIAPOWERLESS", "secret_access_key": "lab-secret", "policies": []},
    ]
    return {
        "proxy": {
            "db_proxy_name": "lab",
            "auth": [{"secret_arn": "lab", "iam_auth": "REQUIRED"}],
        },
        "iam": {"access_keys": keys},
    }


async def run(room: Room, _short: bool) -> list[Grade]:
    """A good token, then bad ones."""
    now = datetime.now(UTC)
    async with room.stage(config=_config()) as stage:
        address = stage.proxied

        def token(key: SigningCredentials = _KEY, *, age: int = 0, user: str = USER) -> str:
            when = now - timedelta(seconds=age)
            place = {"host": address.host, "port": address.port, "region": "us-east-1"}
            return generate(key, user=user, now=when, **place)  # type: ignore[arg-type]

        tls = database_context("require")
        attempts = [
            ("a token of now", token(), tls, "logged in"),
            ("a token of 20 minutes ago", token(age=1200), tls, "28P01"),
            ("a token with another secret key", token(_STRANGER), tls, "28P01"),
            ("a token for another user", token(user="somebody"), tls, "28P01"),
            ("a token whose policy allows nothing", token(_POWERLESS), tls, "28P01"),
            ("the database's password", stage.direct.password, tls, "28P01"),
            ("a token without TLS", token(), None, "28000"),
        ]
        grades = []
        for what, password, context, wanted in attempts:
            outcome = await attempt(address._replace(password=password), tls=context)
            room.say(f"{what}: {outcome}")
            grades.append(Grade(what, outcome, wanted, outcome.startswith(wanted)))
    return grades


EXERCISE = Exercise(
    "iam",
    "IAM tokens: one that is good, and six that are refused as AWS refuses them",
    "A token is good for fifteen minutes, one user, one endpoint, over TLS, if a policy allows it.",
    run,
)
