"""Where secrets are kept, and that they stay there."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth import secret as secret_module
from pyproxy.auth.secret import Secret, SecretError
from pyproxy.auth.secrets import EnvironmentSecrets, FileSecrets

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db-AbCdEf"
PASSWORD = "corr3ct-horse"


def file_with(path: Path, text: str) -> FileSecrets:
    path.write_text(text)
    return FileSecrets(path)


@pytest.mark.parametrize("key", [ARN, "app/db-AbCdEf", "app/db"])
def test_a_secret_is_found_by_arn_or_name(tmp_path: Path, key: str) -> None:
    """AU-10: other keys are ignored."""
    document = {key: {"username": "app", "password": PASSWORD, "host": "ignored", "port": 5432}}
    store = file_with(tmp_path / "secrets.yaml", json.dumps(document))
    assert store.fetch(ARN) == Secret("app", PASSWORD)


def test_the_arn_comes_before_the_name(tmp_path: Path) -> None:
    store = file_with(
        tmp_path / "secrets.yaml",
        f"app/db: {{username: b, password: b}}\n'{ARN}': {{username: a, password: a}}",
    )
    assert store.fetch(ARN).username == "a"


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yaml"
    store = file_with(path, "app: {username: app, password: old}")
    assert store.fetch("app").password == "old"
    path.write_text("app: {username: app, password: newer}")
    assert store.fetch("app").password == "newer"


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    """Also when size and time are the same: Kubernetes swaps a link."""
    path = tmp_path / "secrets.yaml"
    store = file_with(path, "app: {username: app, password: old}")
    stat = path.stat()
    assert store.fetch("app").password == "old"
    other = tmp_path / "other.yaml"
    other.write_text("app: {username: app, password: new}")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)
    assert store.fetch("app").password == "new"


def test_an_unchanged_file_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 secrets every five seconds are one look at the file's state each."""
    store = file_with(tmp_path / "secrets.yaml", "app: {username: app, password: x}")
    store.fetch("app")
    monkeypatch.setattr(FileSecrets, "_parse", lambda *_: pytest.fail("parsed again"))
    assert store.fetch("app").password == "x"


def test_a_password_is_taken_literally(tmp_path: Path) -> None:
    store = file_with(tmp_path / "secrets.yaml", "app: {username: app, password: '${HOME}'}")
    assert store.fetch("app").password == "${HOME}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("other: {}", "has no secret named 'app'", id="not there"),
        pytest.param("", "must map names of secrets", id="empty file"),
        pytest.param("- app", "must map names of secrets", id="a list"),
        pytest.param("app: corr3ct-horse", "must have the keys", id="no mapping"),
        pytest.param("app: {password: corr3ct-horse}", "has no username", id="no user"),
        pytest.param("app: {username: app}", "has no password", id="no password"),
        pytest.param("app: {Username: a, Password: corr3ct-horse}", "lower case", id="capitals"),
        pytest.param("app: {username: app, password: 12345}", "put it in quotes", id="a number"),
        pytest.param("app: {username: app, password: ''}", "is empty", id="empty password"),
        pytest.param('app: {username: app, password: "a\\0b"}', "NUL", id="NUL"),
        pytest.param("a: 1\nb: {password: corr3ct-horse: x", ":2 is not valid YAML", id="broken"),
        pytest.param("app: !!python/object:x {p: corr3ct-horse}", "not valid YAML", id="object"),
        pytest.param("app: {username: app, password: 2024-13-45}", "put passw", id="no such date"),
        pytest.param("app: {username: app, password: 0x_}", "put passwords in", id="no number"),
        pytest.param("app: !!int corr3ct-horse", "put passwords in quotes", id="no integer"),
        pytest.param("app: " + "[" * 2000, "not valid YAML", id="very deep"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(
    tmp_path: Path, text: str, complaint: str
) -> None:
    """Invariant 9."""
    store = file_with(tmp_path / "secrets.yaml", text)
    with pytest.raises(SecretError) as caught:
        store.fetch("app")
    assert complaint in str(caught.value)
    assert "secrets.yaml" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"none\.yaml can't be read: No such file"):
        FileSecrets(tmp_path / "none.yaml").fetch("app")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SecretError, match="binary can't be read: it is not UTF-8"):
        FileSecrets(tmp_path / "binary").fetch("app")


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("PYPROXY_SECRET_APP", "app"),
        ("PYPROXY_SECRET_APP_DB", "app/db"),
        ("PYPROXY_SECRET_APP_DB", ARN),
        ("PYPROXY_SECRET_APP_DB_ABCDEF", ARN),
    ],
)
def test_a_secret_is_found_in_its_variable(variable: str, name: str) -> None:
    environment = {variable: f'{{"username": "app", "password": "{PASSWORD}", "engine": "x"}}'}
    assert EnvironmentSecrets(environment).fetch(name) == Secret("app", PASSWORD)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "set PYPROXY_SECRET_APP"),
        ({"PYPROXY_SECRET_APP": PASSWORD}, "variable PYPROXY_SECRET_APP must be JSON"),
        ({"PYPROXY_SECRET_APP": f'["{PASSWORD}"]'}, "must have the keys"),
        ({"PYPROXY_SECRET_APP": '{"username": "app"}'}, "has no password"),
        (
            {"PYPROXY_SECRET_APP": '{"username": "app", "password": "a\\ud800"}'},
            "password is no text",
        ),
    ],
)
def test_what_is_wrong_with_a_variable_is_said(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(SecretError, match=complaint) as caught:
        EnvironmentSecrets(environment).fetch("app")
    assert PASSWORD not in str(caught.value)


def test_equality_is_of_user_and_password() -> None:
    assert Secret("a", "b") == Secret("a", "b")
    assert Secret("a", "b") != Secret("a", "c")
    assert Secret("a", "b") != Secret("b", "b")
    assert Secret("a", "b") != "a"
    assert hash(Secret("a", "b")) == hash(Secret("a", "b"))


@given(st.text(min_size=6))
def test_a_secret_shows_no_password(password: str) -> None:
    """Invariant 9."""
    shown = f"{Secret('app', password)!r} {Secret('app', password)}"
    assert shown == "<Secret of 'app'> <Secret of 'app'>"


def test_the_verifier_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """PBKDF2 never per client."""
    secret = Secret("app", PASSWORD)
    first = secret.verifier
    monkeypatch.setattr(
        secret_module.Verifier, "from_password", lambda *_: pytest.fail("made again")
    )
    assert secret.verifier is first
    assert first.iterations == 4096
