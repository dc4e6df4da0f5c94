"""What is derived from a password is derived once."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from protocol.postgres import scram
from protocol.postgres.scram import ClientExchange, ServerExchange, Verifier
from pyproxy.auth import secret as secret_module
from pyproxy.auth.credentials import Credentials
from pyproxy.auth.secret import Secret
from tests.support.auth_entries import FakeStore, entry


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What PBKDF2 was asked for."""
    asked: list[str] = []
    original = hashlib.pbkdf2_hmac

    def counting(*arguments: Any) -> bytes:
        asked.append("PBKDF2")
        return original(*arguments)

    monkeypatch.setattr(scram.hashlib, "pbkdf2_hmac", counting)
    return asked


def log_in(secret: Secret, verifier: Verifier) -> None:
    """A client exchange with `secret` against a server that has `verifier`."""
    client = ClientExchange(secret.password, ("SCRAM-SHA-256",), salted=secret.salted)
    server = ServerExchange(verifier)
    first = server.first(client.mechanism, client.first())
    client.verify(server.final(client.respond(first)))


async def test_a_storm_of_clients_costs_no_derivation(derivations: list[str]) -> None:
    """AU-20: made when the secret is read, not when the first client comes; and once."""
    credentials = Credentials([entry("a")], FakeStore({"a": ("app", "x")}))
    for _ in range(3):
        await credentials.refresh()
    assert derivations == ["PBKDF2"]
    credential = credentials.lookup("app")
    assert credential is not None
    for _ in range(50):
        assert ServerExchange(credential.secret.verifier).mechanisms == ("SCRAM-SHA-256",)
    assert credential.secret.verifier.iterations == 4096
    assert derivations == ["PBKDF2"]


def test_a_storm_of_database_connections_costs_one_derivation(derivations: list[str]) -> None:
    secret = Secret("app", "corr3ct-horse")
    verifier = Verifier.from_password("corr3ct-horse")
    del derivations[:]
    for _ in range(20):
        log_in(secret, verifier)
    assert derivations == ["PBKDF2"]


def test_another_salt_is_another_key_and_few_are_kept(derivations: list[str]) -> None:
    """A password that was set anew in the database has a new salt."""
    secret = Secret("app", "corr3ct-horse")
    for number in range(50):
        log_in(secret, Verifier.from_password("corr3ct-horse", bytes([number]) * 16))
    assert len(secret._salted) <= secret_module._SALTS_KEPT


def test_database_connections_that_are_opened_at_once_cost_one_derivation(
    derivations: list[str],
) -> None:
    secret = Secret("app", "corr3ct-horse")
    all_there = threading.Barrier(8)

    def derive() -> bytes:
        all_there.wait(10)
        return secret.salted(b"corr3ct-horse", bytes(16), 100_000)

    with ThreadPoolExecutor(8) as threads:
        keys = {future.result() for future in [threads.submit(derive) for _ in range(8)]}
    assert (len(keys), derivations) == (1, ["PBKDF2"])


def test_a_stranger_has_a_password_that_nobody_knows() -> None:
    one, other = (Secret.stranger("nobody", b"k" * 32) for _ in range(2))
    assert one.password != other.password
    assert one.verifier == other.verifier
    assert "k" not in repr(one)
