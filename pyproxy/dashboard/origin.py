"""Who may talk to a server on loopback: a guard against DNS rebinding.

A web page on the internet can point its own name at 127.0.0.1 and then reads whatever listens
there, since for the browser it is all one origin. But the browser still sends the page's name as
Host (and its origin as Origin), so a server on loopback answers to loopback's names only.

Bound to another address the server is reached by names that we cannot know (a container's, a
scrape target's), and whoever bound it there decided to share it.
"""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit


class OriginGuard:
    """Judges requests to a server bound to `host`."""

    def __init__(self, host: str) -> None:
        # Nothing to guard when we are not on loopback.
        self._guarding: Final = is_loopback(host)

    def permits(self, host: str | None, origin: str | None) -> bool:
        """Whether a request with these headers may be answered.

        Without a Host it is no browser: only HTTP/1.0 may leave it out, and h11 sees to that.
        """
        if not self._guarding:
            return True
        return (host is None or is_loopback(_name(f"//{host}"))) and (
            origin is None or is_loopback(_name(origin))
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal means this machine, whatever a resolver says.

    RFC 6761, "The special-use domain name localhost": the name and those below it are loopback.
    """
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
