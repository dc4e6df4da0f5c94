"""What clients may call an endpoint."""

import pytest

from pyproxy import addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db.example", ("db.example", 5432)),
        ("db.example:6432", ("db.example", 6432)),
        ("::1", ("::1", 5432)),
        ("[::1]", ("::1", 5432)),
        ("[::1]:6432", ("::1", 6432)),
        ("", ("", 5432)),
    ],
)
def test_host_and_port_are_split(text: str, expected: tuple[str, int]) -> None:
    assert addresses.split(text, 5432) == expected


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [
        pytest.param(
            ("127.0.0.1", 6432), {"localhost:6432", "127.0.0.1:6432", "[::1]:6432"}, id="loopback"
        ),
        pytest.param(("10.0.0.7", 6432), {"10.0.0.7:6432"}, id="one address"),
        pytest.param(("DB.Example", 6432), {"db.example:6432"}, id="case doesn't matter"),
        pytest.param(("0.0.0.0", 6432, "Proxy.Example"), {"proxy.example:6432"}, id="public host"),
        pytest.param(
            ("0.0.0.0", 6432, "proxy.example:5432"), {"proxy.example:5432"}, id="and public port"
        ),
        pytest.param(
            ("0.0.0.0", 6432, "", ("box", "172.17.0.2", "")),
            {"localhost:6432", "127.0.0.1:6432", "[::1]:6432", "box:6432", "172.17.0.2:6432"},
            id="everywhere",
        ),
        pytest.param(("10.0.0.7", 6432, "", ("box",)), {"10.0.0.7:6432"}, id="not everywhere"),
    ],
)
def test_the_names_of_an_endpoint(
    endpoint: tuple[str, int, str, tuple[str, ...]], names: set[str]
) -> None:
    """AU-35: the token is for the endpoint's own name, not for any other."""
    assert addresses.endpoint_names(*endpoint) == names
