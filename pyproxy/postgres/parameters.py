"""What a startup message asks for, and what of it RDS Proxy grants (ST-01..ST-06)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from pyproxy import errors

# ST-01: run-time parameters that a client may set at startup. PostgreSQL compares their names
# without regard to case (ST-06); these are the names it reports.
POOLED: Final = ("client_encoding", "DateStyle", "TimeZone", "extra_float_digits", "search_path")
_ALLOWED: Final = {name.lower(): name for name in (*POOLED, "application_name")}

# NAMEDATALEN - 1: application_name is a name, and cut like one.
_NAME_BYTES: Final = 63


class Requested(NamedTuple):
    """A startup message, understood."""

    user: str
    database: str
    application_name: str | None
    pooled: tuple[tuple[str, str], ...]
    """Settings that servers are shared by (ST-05), under PostgreSQL's names, sorted."""

    beyond: tuple[str, ...]
    """Names among them that only the extension `startup_parameters` grants."""

    unknown_protocol_options: tuple[str, ...]
    """`_pq_.` options, none of which this proxy knows."""


def requested(parameters: Mapping[str, str], extensions: Collection[str] = ()) -> Requested:
    """Understand the parameters of a startup message.

    Raises ProxyError for what RDS Proxy refuses: no user (E-PG-04), replication (E-PG-11),
    command-line options (E-PG-12a), parameters not on its list (E-PG-12).
    """
    user = parameters.get("user", "")
    if not user:
        raise errors.user_missing()
    pooled: dict[str, str] = {}
    beyond: list[str] = []
    application_name: str | None = None
    protocol_options: list[str] = []
    for name, value in parameters.items():
        known = _ALLOWED.get(name.lower())
        if known == "application_name":
            application_name = value
        elif known is not None:
            pooled[known] = value
        elif name.startswith("_pq_."):
            protocol_options.append(name)
        elif name not in ("user", "database"):
            _check_beyond(name, extensions)
            pooled[name] = value
            beyond.append(name)
    return Requested(
        user,
        parameters.get("database") or user,
        application_name,
        tuple(sorted(pooled.items())),
        tuple(beyond),
        tuple(protocol_options),
    )


def _check_beyond(name: str, extensions: Collection[str]) -> None:
    """Refuse a parameter that is not on AWS's list, unless the extension grants it."""
    if name == "replication":
        raise errors.replication_unsupported()
    if "startup_parameters" in extensions:
        return
    if name == "options":
        raise errors.options_unsupported()
    raise errors.option_unsupported(name)


def settable_application_name(name: str, server_version: str) -> str:
    """The name as SQL can have it; the same, but for bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return reported_application_name(name, server_version)
    return name


def reported_application_name(name: str, server_version: str) -> str:
    """What PostgreSQL reports for an application_name: cut to 63 bytes, plain ASCII.

    Up to version 15 other bytes become `?`, later they are written in hexadecimal
    (pg_clean_ascii in src/common/string.c).
    """
    major = re.match(r"\d+", server_version)
    hexadecimal = major is None or int(major.group()) >= 16
    cut = name.encode("utf-8", "surrogateescape")
    if len(cut) > _NAME_BYTES:
        cut = cut[:_NAME_BYTES].decode(errors="ignore").encode()
    return "".join(
        chr(byte) if 32 <= byte < 127 else (f"\\x{byte:02x}" if hexadecimal else "?")
        for byte in cut
    )
