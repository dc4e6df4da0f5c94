"""Invariant 9: whatever happens, no password, key, token or proof is in a log, error, page or answer."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import yaml

from pyproxy.dashboard.routes import LISTINGS
from tests.support.bench_of_aws import (
    IAM_PASSWORD,
    Bench,
    aws_bench,
    secret_text,
)
from tests.support.messages import Query
from tests.support.moto_server import client
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import ROOT
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.integration

PAGES = (
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/proxy",
    "/nowhere",
    *(f"/api/v1/{name}" for name in LISTINGS),
)
# Typed by clients: wrong, but perhaps right elsewhere.
TYPED = "typ3d-by-a-client"
ROTATED = "r0tated-password"


@pytest.fixture(scope="module")
def bench(postgres: Postgres, moto: str) -> Iterator[Bench]:
    # JSON has all that text has, and fields beyond it.
    with aws_bench(postgres, moto, log_format="json", proxy={"debug_logging": True}) as bench:
        yield bench


def refused(bench: Bench, user: str, password: str, *, tls: bool = True) -> str:
    with pytest.raises(LoginFailed) as caught:
        bench.login(user, password, tls=tls)
    return json.dumps(caught.value.fields)


def first_event(bench: Bench) -> str:
    """What the stream of events begins with."""
    with socket.create_connection((bench.proxy.host, bench.proxy.http_port), timeout=5) as sock:
        sock.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        with contextlib.suppress(TimeoutError):
            while len(data) < 4000 and (more := sock.recv(1 << 16)):
                data += more
    return data.decode(errors="replace")


def test_no_secret_is_told(postgres: Postgres, bench: Bench) -> None:
    """Logins of all kinds that fail and succeed, pins, rotation, reloads good and bad, and every page."""
    proxy = bench.proxy
    heard: list[str] = []
    tokens = [bench.token(key=key) for key in bench.keys.values()]
    tokens.append(bench.token("other_user", host="elsewhere"))
    with contextlib.ExitStack() as stack:
        for user in ("app", "md5"):
            wire = stack.enter_context(bench.login(user, PASSWORD))
            wire.query("SET work_mem = '1MB'")
            heard.append(refused(bench, user, TYPED))
        # A password whose quote never ends pins, and is a value all the same (LG-05).
        for start in ("'", "$a$", "/*", "E'\\'"):
            with bench.login("app", PASSWORD) as wire:
                wire.ask(Query(f"SET app.password = {start}{TYPED}"))
        for token in tokens:
            try:
                stack.enter_context(bench.login("iam_user", token))
            except LoginFailed as failed:
                heard.append(json.dumps(failed.fields))
        heard += [
            refused(bench, "iam_user", TYPED),
            refused(bench, "iam_user", f"{tokens[0]}{TYPED}"),
            refused(bench, "nobody", TYPED),
            refused(bench, "iam_user", tokens[0], tls=False),
            refused(bench, "app", tokens[0]),
        ]
        # Bytes where they do not belong.
        with Wire(proxy.host, proxy.port) as garbled:
            garbled.sock.sendall(f"{TYPED}{TYPED}".encode() * 8)
            with contextlib.suppress(OSError):
                heard.append(repr(garbled.sock.recv(4096)))
        # The database refuses the password of a secret; and it changes, to something that is none.
        manager = client("secretsmanager", bench.moto)
        for text in (secret_text("other_user", ROTATED), f'{{"username": "other_user" {ROTATED}'):
            manager.put_secret_value(SecretId=bench.arns["other_user"], SecretString=text)
        proxy.wait_for_log("must be JSON")
        with postgres.admin("postgres") as admin:
            admin.query("ALTER ROLE other_user PASSWORD 'changed'")
        heard.append(refused(bench, "other_user", bench.token("other_user")))
        # A configuration with a secret in a wrong place.
        good = proxy.config_file.read_text()
        proxy.config_file.write_text(f"{good}\n{TYPED}: [\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("was not reloaded")
        config: dict[str, Any] = yaml.safe_load(good)
        config["iam"]["access_keys"][0]["secret_access_key"] = 7
        config["proxy"]["debug_logging"] = TYPED
        proxy.config_file.write_text(yaml.safe_dump(config))
        for command in ("check", "token --user app"):
            name, *options = command.split()
            done = subprocess.run(
                [sys.executable, "-m", "pyproxy", name, "--config", proxy.config_file, *options],
                cwd=ROOT, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            heard.append(done.stdout + done.stderr)
        proxy.config_file.write_text(good)
        heard += [proxy.get(page)[1] for page in PAGES]
        heard.append(first_event(bench))
    said = "\n".join((*heard, proxy.log))
    assert len(said) > 20_000
    for secret in (TYPED, IAM_PASSWORD, ROTATED):
        assert secret not in said
        assert b64encode(secret.encode()).decode() not in said
    for key in bench.keys.values():
        assert key.secret_access_key not in said
        assert not key.session_token or key.session_token not in said
    for token in tokens:
        signature = re.search(r"X-Amz-Signature=(\w+)", token)
        assert signature
        assert signature[1] not in said
    assert not re.search(r"SCRAM-SHA-256\$|-----BEGIN .*PRIVATE KEY", said)


def test_a_database_error_is_passed_on_without_our_password(
    postgres: Postgres, bench: Bench
) -> None:
    """E-PG-17 has the database's words; what was asked of it is not among them."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(bench.url("app").replace("/app?", "/nowhere?"), password=PASSWORD)
    assert 'Request returned an error: database "nowhere" does not exist' in str(caught.value)
