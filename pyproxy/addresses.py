"""Hosts and ports as clients write them, in URLs, tokens and `public_host`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
EVERYWHERE: Final = ("", "*", "0.0.0.0", "::")  # noqa: S104 - hosts to recognise, not to bind
"""Hosts that mean all addresses of the machine."""

_WITH_PORT: Final = re.compile(r"(\[[^]]+\]|[^:]*):([0-9]{1,5})")


def join(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str, port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[address]:port`; `port` where there is none."""
    found = _WITH_PORT.fullmatch(text)
    if found is not None:
        text, port = found[1], int(found[2])
    return text.removeprefix("[").removesuffix("]"), port


def of_proxy(url: str) -> tuple[str, int]:
    """Host and port of a proxy's HTTP side; raises ValueError that says what would be right."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    nameable = host is not None and not re.search(r"[^!-~]", host) and len(host) < 254
    more = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme != "http" or not host or not nameable or port == 0 or more:
        raise ValueError(f"{url!r} is not the URL of a proxy: use http://host:port")
    return host, port or 80


def is_address(host: str) -> bool:
    """Is it an IP address rather than a host name?"""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def endpoint_names(
    host: str, port: int, public_host: str = "", also: tuple[str, ...] = ()
) -> frozenset[str]:
    """What clients may call an endpoint in their tokens: `host:port`, in lower case.

    A `public_host`, with a port or without, is then the only name: so it is in AWS (AU-35).
    Otherwise it is the host it listens on; for loopback, all names of loopback; where it listens
    on all addresses, these and the hosts in `also`: the machine's name, the address that the
    client has connected to.
    """
    if public_host:
        return frozenset({join(*split(public_host, port)).lower()})
    hosts = {host} - set(EVERYWHERE)
    if host in LOOPBACK or host in EVERYWHERE:
        hosts.update(LOOPBACK)
    if host in EVERYWHERE:
        hosts.update(name for name in also if name)
    return frozenset(join(name, port).lower() for name in hosts)
