"""Entries of `proxy.auth`, and a store of secrets that a test can break."""

import threading
from collections.abc import Mapping

from pyproxy.auth.secret import Secret, SecretError
from pyproxy.config import AuthConfig

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


def entry(
    name: str, iam_auth: str = "DISABLED", kind: str = "POSTGRES_SCRAM_SHA_256"
) -> AuthConfig:
    """An entry for the secret with this name."""
    return AuthConfig(
        auth_scheme="SECRETS",
        secret_arn=ARN + name,
        iam_auth=iam_auth,
        client_password_auth_type=kind,
    )


class FakeStore:
    """Secrets in a dictionary: name -> (user, password), or what is wrong with it."""

    def __init__(self, secrets: Mapping[str, tuple[str, str] | str]) -> None:
        self.secrets = dict(secrets)
        self.fetched: list[str] = []
        # Cleared, it lets every fetch wait.
        self.answering = threading.Event()
        self.answering.set()

    def fetch(self, name: str) -> Secret:
        self.fetched.append(name.removeprefix(ARN))
        assert self.answering.wait(10)
        value = self.secrets.get(name.removeprefix(ARN), "no such secret")
        if isinstance(value, str):
            raise SecretError(value)
        return Secret(*value)
