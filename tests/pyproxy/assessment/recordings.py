"""Recordings that tests make up."""

from pyproxy.assessment.recording import Observed, Recording, SessionSeen


def session(
    *statements: tuple[float, float, str], begin: float = 0.0, end: float, application: str = ""
) -> SessionSeen:
    """Statements as (when, how long, text), of a session of its own."""
    return SessionSeen(
        id=f"s{begin}",
        application=application,
        begin=begin,
        end=end,
        statements=[Observed(text, 1, seconds, at) for at, seconds, text in statements],
    )


def recording(*sessions: SessionSeen) -> Recording:
    return Recording("a test", sessions=list(sessions))
