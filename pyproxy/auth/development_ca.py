"""A certificate for endpoints that have none: a private authority, made on the first start.

The authority stays in `state_dir` from then on, so that clients may verify us: `ca.pem` is what
they take as `sslrootcert`. The server's certificate is made anew when it is about to expire or a
name is missing in it. `cryptography` makes them, or else the `openssl` command does.

    files = ensure(state_dir, names)        # files.authority, .certificate, .private_key
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from pyproxy import addresses
from pyproxy.auth.certificate_maker import SERVER_DAYS, Maker, Pair
from pyproxy.auth.certificates import CertificateError
from pyproxy.auth.openssl_maker import OpensslMaker
from pyproxy.durable import replace_file

_RENEW_BEFORE: Final = timedelta(days=30)


class Files(NamedTuple):
    """Where the authority's certificate, the server's, and the server's key are."""

    authority: Path
    certificate: Path
    private_key: Path


def ensure(state_dir: Path, names: Iterable[str], *, now: datetime | None = None) -> Files:
    """Make what is missing in `state_dir`/tls; raises CertificateError.

    `names` are the endpoints' hosts and public hosts; those of loopback are always in.
    """
    moment = now if now is not None else datetime.now(UTC)
    folder = state_dir / "tls"
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    hosts = {addresses.split(name, 0)[0].lower() for name in names}
    # An endpoint that listens everywhere has no name of its own for the certificate.
    wanted = tuple(sorted({*addresses.LOOPBACK, *hosts} - set(addresses.EVERYWHERE)))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone_in(folder):
            if not _serves(folder, files, wanted, moment):
                _make(folder, files, wanted, moment)
    except OSError as error:
        raise CertificateError(
            "state_dir can't hold a development certificate: "
            f"{error.filename or folder}: {error.strerror}"
        ) from None
    return files


def _serves(folder: Path, files: Files, wanted: tuple[str, ...], now: datetime) -> bool:
    """Is there a certificate that has the names and will live?"""
    if not all(path.exists() for path in files):
        return False
    try:
        record = json.loads((folder / "server.json").read_text())
        expires = datetime.fromisoformat(record["not_after"])
        return set(wanted) <= set(record["names"]) and now < expires - _RENEW_BEFORE
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(folder: Path, files: Files, wanted: tuple[str, ...], now: datetime) -> None:
    maker = _maker(folder)
    authority_key = folder / "ca.key"
    if files.authority.exists() and authority_key.exists():
        authority = Pair(files.authority.read_bytes(), authority_key.read_bytes())
    else:
        authority = maker.authority()
        replace_file(authority_key, authority.private_key, 0o600)
        replace_file(files.authority, authority.certificate, 0o644)
    server = maker.server(authority, wanted)
    record = {
        "names": list(wanted),
        "not_after": (now + timedelta(days=SERVER_DAYS)).isoformat(),
    }
    replace_file(files.private_key, server.private_key, 0o600)
    replace_file(files.certificate, server.certificate, 0o644)
    replace_file(folder / "server.json", json.dumps(record).encode(), 0o644)


def _maker(folder: Path) -> Maker:
    """The way this machine can make certificates; all that may be written to is `folder`."""
    if importlib.util.find_spec("cryptography") is not None:
        from pyproxy.auth.cryptography_maker import CryptographyMaker  # noqa: PLC0415

        return CryptographyMaker()
    return OpensslMaker(folder)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder: workers start at the same time."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
