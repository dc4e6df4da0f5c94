"""The SQLSTATE codes that we send or read.

PostgreSQL manual, "PostgreSQL Error Codes", under its condition names, shortened where they are
long.
"""

from __future__ import annotations

from typing import Final

# Class 08: connection exceptions.
CONNECTION_EXCEPTION: Final = "08000"  # E-PG-16, the borrow timeout
CONNECTION_FAILURE: Final = "08006"  # a server was lost mid-request
PROTOCOL_VIOLATION: Final = "08P01"

FEATURE_NOT_SUPPORTED: Final = "0A000"

# Class 28: who are you?
INVALID_AUTHORIZATION: Final = "28000"
INVALID_PASSWORD: Final = "28P01"  # noqa: S105 - a code

# Class 53: too much of something.
OUT_OF_MEMORY: Final = "53200"
TOO_MANY_CONNECTIONS: Final = "53300"

# Class 57: somebody intervened.
ADMIN_SHUTDOWN: Final = "57P01"
CRASH_SHUTDOWN: Final = "57P02"
CANNOT_CONNECT_NOW: Final = "57P03"  # starting, stopping or in recovery

# A database that is starting up or shutting down.
GOING: Final = frozenset({ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW})
# A login that may go well a moment later: also no place left, for others connect to it too.
PASSING: Final = GOING | {TOO_MANY_CONNECTIONS, OUT_OF_MEMORY}

INTERNAL_ERROR: Final = "XX000"  # E-PG-17, E-PG-18
