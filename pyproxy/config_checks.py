"""What keys of the configuration may not be together: each check yields the problems it finds."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyproxy.addresses import split
from pyproxy.auth.policy import PolicyError, parse
from pyproxy.binder import Place, Problem
from pyproxy.config import Config

Found = Iterator[tuple[str, str]]

# API-01: [a-zA-Z](?:-?[a-zA-Z0-9]+)*, written so that nothing is tried twice.
_NAME: Final = re.compile(r"[a-zA-Z](?:-?[a-zA-Z0-9])*+")
_NAME_LENGTH: Final = 63
_NO_NAME: Final = (
    f"it must be letters, digits and single hyphens, at most {_NAME_LENGTH},"
    " beginning with a letter"
)
# Wider, for it may be the name that Patroni knows a member by.
_ID: Final = re.compile(r"[\w.:-]+")
_DEFAULT: Final = "default"
_MOST_ENDPOINTS: Final = 20
_MOST_SECRETS: Final = 200
# Which addresses each of these is all of.
_EVERYWHERE: Final = {"0.0.0.0": 4, "::": 6}  # noqa: S104 - to be recognised


def check(config: Config, places: Mapping[str, Place]) -> Iterable[Problem]:
    """Every problem, at the place of the key that it is about."""
    found = [problem for find in CHECKS for problem in find(config)]
    for path, text in (*found, *_failover(config, places)):
        place = _nearest(path, places)
        yield Problem(place.line, place.column, path, text)


def check_reload(running: Config, new: Config, places: Mapping[str, Place]) -> Iterable[Problem]:
    """What a running proxy could not have been started with, once it takes over what it can."""
    kept = ", ".join(running.changes_to(new).need_restart)
    # Without places: of what a proxy keeps nothing stands in the file.
    for problem in check(running.reloaded(new), {}):
        place = _nearest(problem.path, places)
        text = f"{problem.text}; until a restart the proxy keeps its {kept}"
        yield Problem(place.line, place.column, problem.path, text)


def _targets(config: Config) -> Found:
    targets = config.target_group.targets
    if not targets:
        yield (
            "target_group.targets",
            "there is no database to connect to; add one: {id, host, port}",
        )
    ids: dict[str, int] = {}
    addresses: dict[tuple[str, int], int] = {}
    for index, target in enumerate(targets):
        path = f"target_group.targets[{index}]"
        if target.id and target.id in ids:
            yield f"{path}.id", f"{target.id} is also the id of targets[{ids[target.id]}]"
        ids.setdefault(target.id, index)
        # It would be counted, probed and promoted twice.
        first = addresses.setdefault((target.host, target.port), index)
        if first != index:
            yield path, f"the same database as targets[{first}]"
        if target.tls == "verify-ca" and not target.root_certificate:
            yield f"{path}.tls", "verify-ca needs root_certificate; or use verify-full"
        if not target.host:
            yield f"{path}.host", "it must not be empty: it says where the database is"
        elif target.host.count(":") == 1:
            yield f"{path}.host", "the port has a key of its own, `port`"
        elif not target.host.startswith("/") and not _is_host(target.host):
            yield (
                f"{path}.host",
                "it is neither an address, a host name nor the absolute path of a socket's folder",
            )


def _names(config: Config) -> Found:
    """They stand in log lines, where other characters would mean something."""
    # API-01.
    named = {"proxy.db_proxy_name": config.proxy.db_proxy_name}
    for index, endpoint in enumerate(config.endpoints):
        named[f"endpoints[{index}].db_proxy_endpoint_name"] = endpoint.db_proxy_endpoint_name
    for path, name in named.items():
        if not name:
            yield path, "it must not be empty"
        elif len(name) > _NAME_LENGTH or _NAME.fullmatch(name) is None:
            yield path, _NO_NAME
    for index, target in enumerate(config.target_group.targets):
        path = f"target_group.targets[{index}].id"
        if not target.id:
            yield path, "it must not be empty"
        elif _ID.fullmatch(target.id) is None:
            yield path, "it must be letters, digits and any of . _ : -"


def _endpoints(config: Config) -> Found:
    if not config.endpoints:
        yield "endpoints", "there is no endpoint to listen on"
    names: set[str] = set()
    for index, endpoint in enumerate(config.endpoints):
        path = f"endpoints[{index}]"
        name = endpoint.db_proxy_endpoint_name
        if name and name in names:
            yield f"{path}.db_proxy_endpoint_name", f"{name} is the name of two endpoints"
        names.add(name)
        # S-16.
        if len(names - {_DEFAULT}) > _MOST_ENDPOINTS:
            why = f"RDS Proxy has no more than {_MOST_ENDPOINTS} endpoints beside the default one"
            yield path, why
        if bool(endpoint.tls.certificate) != bool(endpoint.tls.private_key):
            yield f"{path}.tls", "certificate and private_key are given together, or neither"
        if endpoint.target_role != "READ_ONLY":
            continue
        if name == _DEFAULT:
            why = "the default endpoint is READ_WRITE; give this one a name of its own"
            yield f"{path}.target_role", why
        if len(config.target_group.targets) < 2:
            yield f"{path}.target_role", "READ_ONLY needs a second target, the reader"


def _listeners(config: Config) -> Found:
    others = [("http", config.http.host, config.http.port)]
    yield from _listening("http.host", config.http.host)
    for index, endpoint in enumerate(config.endpoints):
        path = f"endpoints[{index}]"
        yield from _listening(f"{path}.host", endpoint.host)
        yield from _public(f"{path}.public_host", endpoint.public_host)
        for who, host, port in others:
            if port and port == endpoint.port and _overlap(host, endpoint.host):
                yield f"{path}.port", f"{who} listens on {port} already"
                break
        name = f"endpoint {endpoint.db_proxy_endpoint_name}"
        others.append((name, endpoint.host, endpoint.port))


def _listening(path: str, host: str) -> Found:
    if not host:
        yield path, "it must not be empty: 0.0.0.0 is all addresses"
    elif not _is_host_of_certificates(host):
        yield path, "it is neither an address nor a host name"


def _public(path: str, name: str) -> Found:
    """What clients call it, with a port or without."""
    host, port = split(name, 1)
    if name and not (_is_host_of_certificates(host) and 0 < port < 65_536):
        why = "it is no host name or address, perhaps with a port: proxy.example:5432"
        yield path, why


def _is_host_of_certificates(text: str) -> bool:
    """Is it one that a certificate may name? Other letters than ASCII's are in their xn-- form."""
    return text.isascii() and _is_host(text)


def _overlap(one: str, other: str) -> bool:
    """Is a port of one host also one of the other? A name may stand for addresses of both kinds."""
    return one == other or any(
        everywhere in _EVERYWHERE and _version(host) in (_EVERYWHERE[everywhere], None)
        for everywhere, host in ((one, other), (other, one))
    )


def _pool(config: Config) -> Found:
    pool = config.target_group.connection_pool_config
    # S-03.
    if pool.idle_percent > pool.max_connections_percent:
        yield (
            "target_group.connection_pool_config.max_idle_connections_percent",
            "it must not be more than max_connections_percent; empty, it is half of that",
        )
    if pool.session_pinning_filters:
        yield (
            "target_group.connection_pool_config.session_pinning_filters",
            "RDS Proxy has filters for MySQL only; leave it empty",
        )


def _access_keys(config: Config) -> Found:
    ids: set[str] = set()
    for index, access_key in enumerate(config.iam.access_keys):
        path = f"iam.access_keys[{index}]"
        if access_key.access_key_id in ids:
            yield f"{path}.access_key_id", f"{access_key.access_key_id} is given twice"
        ids.add(access_key.access_key_id)
        if not access_key.access_key_id:
            yield f"{path}.access_key_id", "it must not be empty: tokens name the key by it"
        if not access_key.secret_access_key:
            yield (
                f"{path}.secret_access_key",
                "it must not be empty: anybody could sign with it; give the key's secret",
            )
        for number, document in enumerate(access_key.policies):
            try:
                parse(document)
            except PolicyError as error:
                yield f"{path}.policies[{number}]", str(error)


def _iam(config: Config) -> Found:
    role = config.iam.role_credentials
    if bool(role.access_key_id) != bool(role.secret_access_key):
        yield "iam.role_credentials", "access_key_id and secret_access_key are given together"
    nobody = not config.iam.access_keys and not config.iam.endpoint_url
    wanted = [i for i, entry in enumerate(config.proxy.auth) if entry.iam_auth == "REQUIRED"]
    by_default = config.proxy.default_auth_scheme == "IAM_AUTH"
    if config.iam.endpoint_url and not _is_url(config.iam.endpoint_url):
        yield "iam.endpoint_url", _NO_URL.format(5000)
    if nobody and (wanted or by_default):
        yield (
            f"proxy.auth[{wanted[0]}].iam_auth" if wanted else "proxy.default_auth_scheme",
            "nobody could sign a token: give iam.access_keys or iam.endpoint_url",
        )
    if by_default:
        for index, target in enumerate(config.target_group.targets):
            if target.tls == "disable" or target.host.startswith("/"):
                yield (
                    f"target_group.targets[{index}].tls",
                    "with IAM_AUTH the proxy sends tokens to the database; they need TLS",
                )


def _auth(config: Config) -> Found:
    seen: dict[str, int] = {}
    for index, entry in enumerate(config.proxy.auth):
        path = f"proxy.auth[{index}].secret_arn"
        if not entry.secret_arn:
            yield path, "it must not be empty"
        elif entry.secret_arn in seen:
            yield path, f"the same secret as in auth[{seen[entry.secret_arn]}]"
        seen.setdefault(entry.secret_arn, index)
    if len(config.proxy.auth) > _MOST_SECRETS:
        # AU-01.
        path = f"proxy.auth[{_MOST_SECRETS}]"
        yield path, f"RDS Proxy takes no more than {_MOST_SECRETS} secrets"
    if not config.proxy.auth and config.proxy.default_auth_scheme == "NONE":
        yield "proxy.auth", "nobody could log in: add {secret_arn: …}"


def _secrets(config: Config) -> Found:
    secrets = config.secrets
    if secrets.provider == "file" and not secrets.file:
        yield "secrets.file", "it must not be empty"
    if secrets.provider != "aws" and secrets.endpoint_url:
        yield "secrets.endpoint_url", f"it means nothing to provider {secrets.provider}"
    elif secrets.endpoint_url and not _is_url(secrets.endpoint_url):
        yield "secrets.endpoint_url", _NO_URL.format(4566)


def _paths(config: Config) -> Found:
    """A ~ that leads nowhere."""
    # Empty, it is in the user's home: a user that a container has made up may have none.
    state_dir = config.state_dir or ("" if os.environ.get("XDG_STATE_HOME") else "~")
    found = {"secrets.file": config.secrets.file, "state_dir": state_dir}
    for index, endpoint in enumerate(config.endpoints):
        found[f"endpoints[{index}].tls.certificate"] = endpoint.tls.certificate
        found[f"endpoints[{index}].tls.private_key"] = endpoint.tls.private_key
    for index, target in enumerate(config.target_group.targets):
        found[f"target_group.targets[{index}].root_certificate"] = target.root_certificate
    for path, value in found.items():
        try:
            Path(value).expanduser()
        except RuntimeError:
            yield path, "whose home ~ stands for here is not known; give an absolute path"


def _extensions(config: Config) -> Found:
    for index, name in enumerate(config.extensions):
        if name in config.extensions[:index]:
            yield f"extensions[{index}]", f"{name} is given twice"


def _failover(config: Config, places: Mapping[str, Place]) -> Found:
    failover = config.failover
    if failover.patroni and failover.promote and "failover.promote" in places:
        yield "failover.promote", "Patroni promotes: leave this out, or say false"
    for index, url in enumerate(failover.patroni):
        if not _is_url(url):
            yield f"failover.patroni[{index}]", _NO_URL.format(8008)


_NO_URL: Final = "it is no URL: give http://host:{}, or https"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # A port that is no number is told when it is looked at.
        usable = parts.port != 0
    except ValueError:
        return False
    return usable and parts.scheme in ("http", "https") and _is_host(parts.hostname or "")


def _is_host(text: str) -> bool:
    if _version(text) is not None:
        return True
    # RFC 1035, "Size limits"; a resolver is not even asked for others.
    labels = text.removesuffix(".").split(".")
    letters = text.replace("-", "").replace(".", "").replace("_", "")
    return letters.isalnum() and all(0 < len(label) < 64 for label in labels)


def _version(host: str) -> int | None:
    """Of an IP address; None for what is none."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _nearest(path: str, places: Mapping[str, Place]) -> Place:
    """The place of a key, or of the closest one around it that was given."""
    while path and path not in places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return places.get(path, Place(1, 1))


def _workers(config: Config) -> Found:
    if config.workers == 1:
        return
    if not sys.platform.startswith("linux"):
        yield "workers", f"{sys.platform} does not spread clients over processes; use 1"
    # Each worker would keep to them alone.
    proxy = config.proxy
    for name, value in (
        ("max_client_connections", proxy.max_client_connections),
        ("connection_rate_limit", proxy.connection_rate_limit),
        ("iam_connection_rate_limit", proxy.iam_connection_rate_limit),
    ):
        if value:
            yield f"proxy.{name}", "it needs workers: 1, for it is counted in one process"


CHECKS: Final[tuple[Callable[[Config], Found], ...]] = (
    _targets,
    _names,
    _endpoints,
    _listeners,
    _pool,
    _auth,
    _access_keys,
    _iam,
    _secrets,
    _paths,
    _extensions,
    _workers,
)
