"""The SQLSTATE codes that we send or read.

PostgreSQL manual, "PostgreSQL Error Codes", under its condition names, shortened where they are
long.
"""

from __future__ import annotations

from typing import Final

SUCCESSFUL_COMPLETION: Final = "00000"
WARNING: Final = "01000"

# Class 08: connection exceptions.
CONNECTION_EXCEPTION: Final = "08000"  # E-PG-16, the borrow timeout
UNABLE_TO_CONNECT: Final = "08001"
CONNECTION_DOES_NOT_EXIST: Final = "08003"
CONNECTION_REJECTED: Final = "08004"
CONNECTION_FAILURE: Final = "08006"  # a server was lost mid-request
PROTOCOL_VIOLATION: Final = "08P01"

FEATURE_NOT_SUPPORTED: Final = "0A000"

INVALID_PARAMETER_VALUE: Final = "22023"
CHARACTER_NOT_IN_REPERTOIRE: Final = "22021"

# Class 25: transaction state.
ACTIVE_SQL_TRANSACTION: Final = "25001"
READ_ONLY_SQL_TRANSACTION: Final = "25006"  # a write met a standby
IN_FAILED_SQL_TRANSACTION: Final = "25P02"
IDLE_IN_TRANSACTION_SESSION_TIMEOUT: Final = "25P03"

INVALID_SQL_STATEMENT_NAME: Final = "26000"

# Class 28: who are you?
INVALID_AUTHORIZATION: Final = "28000"
INVALID_PASSWORD: Final = "28P01"  # noqa: S105 - a code

INVALID_CURSOR_NAME: Final = "34000"
INVALID_CATALOG_NAME: Final = "3D000"  # no such database

# Class 42: syntax, names and rights.
INSUFFICIENT_PRIVILEGE: Final = "42501"
SYNTAX_ERROR: Final = "42601"
UNDEFINED_OBJECT: Final = "42704"
DUPLICATE_PREPARED_STATEMENT: Final = "42P05"
CANT_CHANGE_RUNTIME_PARAM: Final = "55P02"

# Class 53: too much of something.
INSUFFICIENT_RESOURCES: Final = "53000"
OUT_OF_MEMORY: Final = "53200"
TOO_MANY_CONNECTIONS: Final = "53300"

# Class 54: program limits.
PROGRAM_LIMIT_EXCEEDED: Final = "54000"

# Class 57: somebody intervened.
QUERY_CANCELED: Final = "57014"
ADMIN_SHUTDOWN: Final = "57P01"
CRASH_SHUTDOWN: Final = "57P02"
CANNOT_CONNECT_NOW: Final = "57P03"  # starting, stopping or in recovery
DATABASE_DROPPED: Final = "57P04"
IDLE_SESSION_TIMEOUT: Final = "57P05"

# A database that is starting up or shutting down.
GOING: Final = frozenset({ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW})
# A login that may go well a moment later: also no place left, for others connect to it too.
PASSING: Final = GOING | {TOO_MANY_CONNECTIONS, OUT_OF_MEMORY}

CONFIG_FILE_ERROR: Final = "F0000"
INTERNAL_ERROR: Final = "XX000"  # E-PG-17, E-PG-18
