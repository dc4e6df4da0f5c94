"""How the rules are applied: the rows of the catalogue that are about all statements."""

from __future__ import annotations

from typing import Final

from pyproxy.pinning.rule import Note, chosen, documented, observed

NOTES: Final = (
    Note(
        "PIN-PG-29",
        "A `SET` to the value that a setting has already pins as any other.",
        chosen("for PostgreSQL nothing is tracked, so nothing can be compared"),
    ),
    Note(
        "PIN-PG-30",
        "A statement that fails pins as one that succeeds: the text decides, before it runs.",
        chosen("AWS is silent"),
    ),
    Note(
        "PIN-PG-31",
        "Each statement of a text counts by itself, for the rules and for the 16,384 bytes, which "
        "are counted as they are sent, comments included. Of several that pin, the log and the "
        "ledger tell the first whose reason AWS's log is known to give, else the first.",
        observed("prisma/prisma#5866, an answer of AWS Support"),
    ),
    Note(
        "PIN-PG-32",
        "There is no way back but the end of the session: `ROLLBACK`, `DEALLOCATE`, `CLOSE` and "
        "`UNLISTEN` do not unpin.",
        documented('RDS User Guide, "Avoiding pinning an RDS Proxy" (C-09)'),
    ),
    Note(
        "PIN-PG-34",
        "Replication does not pin: it is refused at startup (E-PG-11).",
        documented('RDS User Guide, "Limitations"'),
    ),
    Note(
        "PIN-PG-35",
        "The text of a Parse counts towards the 16,384 bytes, values sent by Bind never do.",
        observed("getlago/lago-api#6062, rails/rails#57678"),
    ),
    Note(
        "PS-02",
        "Parse, Bind, Describe, Execute and Close do not pin as such.",
        documented("announcement of 2023-11-09"),
    ),
    Note(
        "PS-03",
        "A prepared statement follows its client: it is prepared again, unseen, on a database "
        "connection that has not got it yet.",
        documented("US patent 11,943,316"),
    ),
    Note(
        "PS-05",
        "Close, the message, does not pin; `DEALLOCATE`, the statement, does.",
        observed("psycopg/psycopg#1105"),
    ),
    Note(
        "PS-06",
        "Parse of a statement that pins only announces it, by an INFO line; Execute pins, with a "
        "reason that begins `Running a prepared statement`; what follows was never seen, and is "
        "marked as ours. A long text has the reason of a query (PS-07). Bind takes the verdict to "
        "the portal; Describe changes nothing.",
        observed("log lines that users have published"),
    ),
    Note(
        "PS-08",
        "A pipeline without its Sync, or an open portal, keeps the database connection until it is "
        "done, without a pin.",
        chosen("AWS is silent"),
    ),
)
