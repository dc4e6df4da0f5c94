"""What is raised when the peer breaks the rules of the protocol."""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent what the protocol does not allow; the connection is of no further use.

    The text names the message and the field. It never quotes a body, which may hold a password.
    """
