"""Connections to databases: what is said when there is none."""

from __future__ import annotations

import socket

import pytest

from pyproxy.stream import dial


async def test_it_is_told_why_who_did_not_answer() -> None:
    """Operators read it in the log, and orchestrators show it as the reason of bad health."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(OSError, match=rf"^127\.0\.0\.1:{port}: Connection refused$"):
        await dial("127.0.0.1", port, "disable", None)
