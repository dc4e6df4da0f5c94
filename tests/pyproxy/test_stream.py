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


@pytest.mark.both_loops
async def test_what_cannot_be_a_name_is_told_as_one_that_is_not_known() -> None:
    """The resolver's interface raises UnicodeError for it, and nobody else knows what to do."""
    host = "d\u00e4" * 30
    with pytest.raises(OSError, match=f"^{host}: this is no host name$"):
        await dial(host, 5432, "disable", None)
