"""★ Every pinning rule once: what it matches, why AWS says it pins, and how to avoid it.

The ids are those of the behaviour catalogue: PIN-* pins, NOPIN-* is an explicit "this does not".
The classifier decides which rule a statement meets; everything that is said about it (log line,
ledger, `pyproxy explain`, docs/reference/pinning-rules.md) is read from this table.

To add a rule: a row here, its match in `classifier.py`, its examples in
tests/conformance/test_pinning_rules.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# L-02, word for word; the digest is filled in.
SETTINGS: Final = (
    "SQL changed session settings that the proxy doesn't track. Consider moving session "
    'configuration to the proxy\'s initialization query. Digest: "{digest}".'
)
# L-03, word for word.
TOO_LONG: Final = "The connection ran a SQL query which exceeded the 16384 byte limit."
# L-04, as it was until November 2023.
PARSE: Final = "A parse message was detected."
# L-04b: only its beginning was ever seen.
RUNNING: Final = "Running a prepared statement that pins. "


def _ours(what: str) -> str:
    """A reason for which no text of AWS is known (Q-03)."""
    return f'SQL {what}. Digest: "{{digest}}". [pyproxy]'


class Rule(NamedTuple):
    """One row."""

    id: str
    matches: str
    """What it matches, in words."""

    reason: str
    """The text behind "Reason:", with {digest} to be filled in; empty for what does not pin."""

    source: str
    """documented: in AWS's user guide; observed: in logs; chosen: ours, AWS is silent."""

    remedy: str
    """How to avoid the pin, in one sentence."""

    @property
    def pins(self) -> bool:
        """Does the session keep its database connection?"""
        return bool(self.reason)

    @property
    def ours(self) -> bool:
        """Is the reason's wording not AWS's?"""
        return self.reason.endswith("[pyproxy]")


_INIT_QUERY: Final = (
    "Set it for everybody: in the init query, or with ALTER ROLE app SET name = value."
)
_TRANSACTION_LOCK: Final = (
    "Lock for the transaction only: SELECT pg_advisory_xact_lock(key) inside BEGIN … COMMIT."
)
_DRIVER_PREPARE: Final = (
    "Let the driver prepare by protocol (psycopg: prepare_threshold, JDBC: prepareThreshold): "
    "PyProxy and RDS Proxy multiplex that."
)

RULES: Final[dict[str, Rule]] = {
    rule.id: rule
    for rule in (
        Rule(
            "PIN-ALL-01",
            "a statement longer than 16,384 bytes",
            TOO_LONG,
            "documented",
            "Send values as parameters instead of in the text, or COPY, or smaller batches.",
        ),
        Rule("PIN-PG-01", "SET of a setting", SETTINGS, "documented", _INIT_QUERY),
        Rule(
            "PIN-PG-02",
            "SQL-level PREPARE, EXECUTE and DEALLOCATE",
            _ours("used a prepared statement by SQL"),
            "documented",
            _DRIVER_PREPARE,
        ),
        Rule(
            "PIN-PG-03",
            "CREATE of a temporary table, view or sequence",
            _ours("created a temporary object"),
            "documented",
            "Use a common table expression (WITH …), or an UNLOGGED table with a key per run.",
        ),
        Rule(
            "PIN-PG-04",
            "DECLARE of a cursor",
            _ours("declared a cursor"),
            "documented",
            "Page by key (WHERE id > $1 ORDER BY id LIMIT 1000), or fetch in one go.",
        ),
        Rule(
            "PIN-PG-05",
            "DISCARD",
            _ours("discarded session state"),
            "documented",
            "Turn off the reset query of the application's pool (Npgsql: No Reset On Close=true).",
        ),
        Rule(
            "PIN-PG-06",
            "LISTEN",
            _ours("listened on a notification channel"),
            "documented",
            "Listen on a connection of its own, past the proxy.",
        ),
        Rule(
            "PIN-PG-07",
            "LOAD of a library",
            _ours("loaded a library module"),
            "documented",
            "Load it for all sessions: session_preload_libraries in the parameter group.",
        ),
        Rule(
            "PIN-PG-08",
            "nextval() and setval()",
            _ours("manipulated a sequence"),
            "documented",
            "Let the column's default take the value: INSERT … RETURNING id.",
        ),
        Rule(
            "PIN-PG-09",
            "session-level advisory locks",
            _ours("took a session-level lock"),
            "documented",
            _TRANSACTION_LOCK,
        ),
        Rule(
            "PIN-PG-10",
            "RESET, and set_config() of a session setting",
            SETTINGS,
            "documented",
            _INIT_QUERY,
        ),
        Rule(
            "PIN-PG-11",
            "SET LOCAL, SET TRANSACTION and SET CONSTRAINTS (compatibility.set_local)",
            SETTINGS,
            "chosen",
            "Nothing outlives the transaction: compatibility.set_local: no_pin shows the other "
            "reading of AWS's documents.",
        ),
        Rule(
            "PIN-PG-12",
            "set_config(…, true) (compatibility.set_config_local)",
            SETTINGS,
            "chosen",
            "compatibility.set_config_local: no_pin shows the other reading of AWS's documents.",
        ),
        Rule(
            "PIN-PG-13",
            "SET SESSION CHARACTERISTICS",
            SETTINGS,
            "observed",
            "Say it per transaction: BEGIN ISOLATION LEVEL …",
        ),
        Rule(
            "PIN-PG-15",
            "SET ROLE and SET SESSION AUTHORIZATION",
            SETTINGS,
            "observed",
            "Log in as that role, with a secret of its own.",
        ),
        Rule("PIN-PG-16", "SET NAMES and SET TIME ZONE", SETTINGS, "observed", _INIT_QUERY),
        Rule(
            "PIN-PG-21",
            "SELECT … INTO TEMP",
            _ours("created a temporary object"),
            "chosen",
            "Use a common table expression (WITH …), or an UNLOGGED table with a key per run.",
        ),
        Rule(
            "PIN-PG-22",
            "pg_advisory_unlock() and its kind",
            _ours("released a session-level lock"),
            "observed",
            _TRANSACTION_LOCK,
        ),
        Rule(
            "PIN-PG-28",
            "CREATE of an object in pg_temp",
            _ours("created a temporary object"),
            "chosen",
            "Create it in a schema that is there for all sessions.",
        ),
        Rule(
            "PIN-PG-33",
            "the FunctionCall message",
            "A function call message was detected. [pyproxy]",
            "chosen",
            "Call the function by SQL: SELECT f($1). libpq's large objects use the message.",
        ),
        Rule(
            "PS-01",
            "any Parse (compatibility.preset: legacy_2023), or a named one (named_parse: pin)",
            PARSE,
            "observed",
            "Drop the switch: RDS Proxy multiplexes the extended protocol since November 2023.",
        ),
        Rule(
            "OWN-PIN-01",
            "startup settings beyond AWS's list (extension startup_parameters)",
            "The connection started with settings of its own: {digest}. [pyproxy]",
            "chosen",
            "RDS Proxy refuses them (E-PG-12); use ALTER ROLE app SET name = value.",
        ),
        Rule("NOPIN-PG-01", "pg_advisory_xact_lock() and its kind", "", "documented", ""),
        Rule("NOPIN-PG-02", "what functions and procedures do inside", "", "documented", ""),
        Rule("NOPIN-PG-03", "the extended query protocol as such", "", "documented", ""),
        Rule("NOPIN-PG-04", "startup parameters of AWS's list", "", "documented", ""),
        Rule("NOPIN-PG-05", "ALTER ROLE … SET, ALTER DATABASE … SET", "", "documented", ""),
        Rule("NOPIN-PG-06", "BEGIN, COMMIT, ROLLBACK", "", "documented", ""),
        Rule("PIN-PG-14", "BEGIN ISOLATION LEVEL …", "", "chosen", ""),
        Rule("PIN-PG-17", "NOTIFY, pg_notify()", "", "chosen", ""),
        Rule("PIN-PG-18", "UNLISTEN", "", "chosen", ""),
        Rule("PIN-PG-19", "currval(), lastval()", "", "chosen", ""),
        Rule("PIN-PG-20", "a default that takes nextval()", "", "chosen", ""),
        Rule("PIN-PG-23", "COPY", "", "chosen", ""),
        Rule("PIN-PG-24", "SAVEPOINT", "", "chosen", ""),
        Rule("PIN-PG-25", "DO", "", "chosen", ""),
        Rule("PIN-PG-26", "CALL", "", "chosen", ""),
        Rule("PIN-PG-27", "EXPLAIN without ANALYZE, SHOW, LOCK TABLE", "", "chosen", ""),
    )
}


class Compatibility(NamedTuple):
    """The switches of `compatibility:` that rules ask about; the defaults are AWS's, or ours."""

    set_local: str = "pin"
    set_config_local: str = "no_pin"
    named_parse: str = "no_pin"
    preset: str = ""
