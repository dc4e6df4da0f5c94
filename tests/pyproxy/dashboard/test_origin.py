"""The guard against DNS rebinding."""

import pytest

from pyproxy.dashboard.origin import OriginGuard, is_loopback


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("proxy.localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.7", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_loopback_is_told_without_a_resolver(host: str, loopback: bool) -> None:
    """RFC 6761: localhost and the names below it."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "origin", "permitted"),
    [
        ("127.0.0.1:8432", None, True),
        ("localhost:8432", None, True),
        ("[::1]:8432", None, True),
        ("localhost", "http://localhost:8432", True),
        (None, None, True),
        ("rebound.evil.example:8432", None, False),
        ("127.0.0.1:8432", "https://evil.example", False),
        ("127.0.0.1:8432", "null", False),
        ("[::1", None, False),
        ("", None, False),
        ("localhost@evil.example", None, False),
        ("127.0.0.1:99999999", None, True),
    ],
)
def test_on_loopback_only_loopback_names_are_answered(
    host: str | None, origin: str | None, permitted: bool
) -> None:
    assert OriginGuard("127.0.0.1").permits(host, origin) is permitted


def test_elsewhere_every_name_is_answered() -> None:
    """A container or a scrape target has names that we cannot know."""
    assert OriginGuard("0.0.0.0").permits("proxy.internal:8432", "https://grafana.internal")
