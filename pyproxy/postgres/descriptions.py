"""What a database says of a prepared statement: the types of its parameters, and its columns.

A client that has been told goes by it as long as the statement lives: it sends its parameters in
these formats, and reads the columns so. PostgreSQL keeps its word: on one connection the types of
the parameters stay what they were, and a result of other columns is an error (`plancache.c`,
"cached plan must not change result type"). So is it where a statement is prepared anew elsewhere.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from protocol.postgres import backend
from protocol.postgres.framing import HEADER, LENGTH_BYTES
from protocol.postgres.sqlstate import FEATURE_NOT_SUPPORTED

# A column in a RowDescription: name, table and number there, type and typmod, format. Which table
# it is may change (equalRowTypes in src/backend/access/common/tupdesc.c).
_COLUMN: Final = re.compile(rb"([^\0]*\0).{6}(.{10}).{2}", re.DOTALL)
# What a query begins with, behind blanks, comments and parentheses. The quantifiers are possessive:
# they try nothing twice, however a text is made.
_QUERY: Final = re.compile(
    rb"(?>\s++|--[^\r\n]*+|/\*.*?\*/|\()*+"
    rb"(?:SELECT|INSERT|UPDATE|DELETE|MERGE|VALUES|WITH|TABLE)\b",
    re.DOTALL | re.IGNORECASE,
)
_COUNT_SIZE: Final = 2
_TYPE_SIZE: Final = 4
_DIGEST_SIZE: Final = 16

# Whose error it is, the field R: pgjdbc and asyncpg know it by this, and prepare anew.
_ROUTINE: Final = b"RevalidateCachedQuery"
_SQLSTATE: Final = FEATURE_NOT_SUPPORTED.encode()
_CHANGED: Final = backend.ErrorResponse(
    (
        *backend.ErrorResponse.of(
            "ERROR", FEATURE_NOT_SUPPORTED, "cached plan must not change result type"
        ).fields,
        (ord("R"), _ROUTINE),
    )
).encode()


def keeps_columns(text: bytes) -> bool:
    """Is it a query? Of a utility command (FETCH, SHOW) PostgreSQL finds the columns when it runs.

    They are what they are then, and no error (plancache.c, StmtPlanRequiresRevalidation).
    """
    return _QUERY.match(text) is not None


def describe(parameters: bytes, row: bytes) -> bytes:
    """In short, what the bodies of a ParameterDescription and of a RowDescription say.

    `row` is empty for a NoData. Two results are equal if PostgreSQL would take them for equal; the
    types of the parameters stand in it as they came.
    """
    if not row:
        return parameters
    count, columns = row[:_COUNT_SIZE], row[_COUNT_SIZE:]
    told = count + _COLUMN.sub(rb"\1\2", columns)
    return parameters + blake2b(told, digest_size=_DIGEST_SIZE).digest()


def types_in(description: bytes) -> bytes:
    """The types of the parameters, as Parse has them behind the text."""
    count = int.from_bytes(description[:_COUNT_SIZE], "big")
    return description[: _COUNT_SIZE + count * _TYPE_SIZE]


def refusal(description: bytes, *, described: bool) -> bytes:
    """What PostgreSQL answers a Bind, or a Describe, of a statement with other columns now."""
    if not described:
        return _CHANGED
    parameters = types_in(description)
    header = HEADER.pack(backend.PARAMETER_DESCRIPTION, LENGTH_BYTES + len(parameters))
    return header + parameters + _CHANGED


def is_change(sqlstate: bytes, message: bytes) -> bool:
    """Is this ErrorResponse PostgreSQL's own such answer?"""
    return sqlstate == _SQLSTATE and _ROUTINE in message
