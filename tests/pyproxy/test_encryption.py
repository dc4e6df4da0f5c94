"""Certificates that are read again, and made again, while the proxy runs."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pyproxy.auth import development_ca
from pyproxy.auth.certificates import CertificateError
from pyproxy.config import Config, EndpointConfig, ProxyConfig, TargetConfig, TargetGroupConfig
from pyproxy.encryption import Encryption
from tests.support.certificates import make_certificates


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def configuration(folder: Path, root: str = "", *, require_tls: bool = False) -> Config:
    target = TargetConfig(id="db-a", tls="verify-full" if root else "prefer", root_certificate=root)
    return Config(
        proxy=ProxyConfig(require_tls=require_tls),
        endpoints=(EndpointConfig(),),
        target_group=TargetGroupConfig(targets=(target,)),
        state_dir=str(folder),
    )


@pytest.mark.parametrize("ask", [Encryption.renew, Encryption.reload], ids=["renew", "reload"])
def test_a_development_certificate_is_made_anew_before_it_ends(tmp_path: Path, ask: object) -> None:
    assert callable(ask)
    clock = Clock()
    encryption = Encryption(configuration(tmp_path), clock)
    shown = encryption.clients["default"]
    first = shown.channel_binding
    clock.now += timedelta(days=366)
    assert ask(encryption) == []
    assert shown.channel_binding == first
    clock.now += timedelta(days=2)
    assert ask(encryption) == []
    assert shown.channel_binding != first
    # Who has its authority, and who holds the endpoint's, need to do nothing.
    assert encryption.clients["default"] is shown


def test_one_that_another_worker_has_made_is_taken(tmp_path: Path) -> None:
    clock = Clock()
    ours, theirs = (Encryption(configuration(tmp_path), clock) for _ in range(2))
    clock.now += timedelta(days=368)
    assert ours.renew() == theirs.renew() == []
    assert ours.clients["default"].channel_binding == theirs.clients["default"].channel_binding


def test_one_that_can_not_be_made_is_told_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where clients must use TLS: they have some, for another month."""
    encryption = Encryption(configuration(tmp_path, require_tls=True))
    context = encryption.clients["default"].context

    def fail(*_: object, **__: object) -> None:
        raise CertificateError("no room")

    monkeypatch.setattr(development_ca, "ensure", fail)
    expected = "The development certificate is not made anew: no room"
    assert encryption.renew() == [expected]
    assert encryption.reload() == [expected]
    assert encryption.clients["default"].context is context


def test_one_that_could_not_be_made_at_the_start_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CertificateError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(development_ca, "ensure", fail)
        encryption = Encryption(configuration(tmp_path))
    assert encryption.clients == {}
    assert encryption.renew() == []
    assert "default" in encryption.clients


def subjects(context: ssl.SSLContext | None) -> list[bytes]:
    assert context is not None
    return context.get_ca_certs(binary_form=True)


def test_a_root_certificate_is_read_again(tmp_path: Path) -> None:
    """An authority's successor, before databases show certificates of it."""
    old, new = (make_certificates(tmp_path / n).authority.read_bytes() for n in ("one", "two"))
    file = tmp_path / "root.pem"
    file.write_bytes(old)
    encryption = Encryption(configuration(tmp_path, str(file)))
    first = encryption.targets["db-a"]
    file.write_bytes(new)
    assert encryption.reload() == []
    known = [ssl.PEM_cert_to_DER_cert(pem.decode()) for pem in (old, new)]
    assert subjects(encryption.targets["db-a"]) == known[1:]
    # The monitor has asked for its own once: there the old one goes with the process.
    assert sorted(subjects(first)) == sorted(known)
    file.write_text("rubbish")
    (told,) = encryption.reload()
    assert told.startswith(f"Target db-a keeps its root certificate: {file} has no certificate")
    assert subjects(encryption.targets["db-a"]) == known[1:]
