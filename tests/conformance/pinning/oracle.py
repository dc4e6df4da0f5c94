"""The oracle: PostgreSQL's own grammar, asked which rules a statement may meet.

It knows the rules by the names of grammar nodes, and nothing of our tables: two readers who were
never told the same thing. Source: PostgreSQL's parsenodes.h, as pgparse gives the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

# Built for most machines, not for all.
pgparse = pytest.importorskip("pgparse")

Node = Any
# Raised for a text that the grammar does not accept.
Refused: Final[type[Exception]] = pgparse.PGQueryError

_BY_NODE: Final = {
    "ConstraintsSetStmt": "PIN-PG-11",
    "PrepareStmt": "PIN-PG-02",
    "ExecuteStmt": "PIN-PG-02",
    "DeallocateStmt": "PIN-PG-02",
    "DiscardStmt": "PIN-PG-05",
    "ListenStmt": "PIN-PG-06",
    "LoadStmt": "PIN-PG-07",
}
_BY_FUNCTION: Final = {
    "nextval": "PIN-PG-08",
    "setval": "PIN-PG-08",
    "pg_advisory_lock": "PIN-PG-09",
    "pg_advisory_lock_shared": "PIN-PG-09",
    "pg_try_advisory_lock": "PIN-PG-09",
    "pg_try_advisory_lock_shared": "PIN-PG-09",
    "pg_advisory_unlock": "PIN-PG-22",
    "pg_advisory_unlock_shared": "PIN-PG-22",
    "pg_advisory_unlock_all": "PIN-PG-22",
}
# What makes an object, and the field in which its name stands.
_NAMED: Final = {
    "CreateStmt": "relation",
    "CreateForeignTableStmt": "base",
    "ViewStmt": "view",
    "CreateSeqStmt": "sequence",
    "CompositeTypeStmt": "typevar",
    "CreateFunctionStmt": "funcname",
    "CreateEnumStmt": "typeName",
    "CreateRangeStmt": "typeName",
    "CreateDomainStmt": "domainname",
    "DefineStmt": "defnames",
    "IndexStmt": "relation",
    "CreateTrigStmt": "relation",
    "RuleStmt": "relation",
    "CreatePolicyStmt": "table",
    "CreateStatsStmt": "defnames",
}
# Their expressions run.
_QUERIES: Final = frozenset(
    {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CallStmt", "CopyStmt"}
)
_HOLD: Final = 0x0020


def statements(text: str) -> list[tuple[Node, int, int]]:
    """The trees of a text, each with its place in bytes; raises Refused."""
    size = len(text.encode())
    found = []
    for raw in pgparse.parse(text):
        start = raw.get("stmt_location", 0)
        found.append((raw["stmt"], start, start + (raw.get("stmt_len") or size - start)))
    return found


def rules(tree: Node) -> frozenset[str]:
    """The rules that make a statement pin, by its tree; empty when none does."""
    ((kind, node),) = tree.items()
    return frozenset(_rules(kind, node))


def _rules(kind: str, node: Node) -> Iterator[str]:
    if kind in _BY_NODE:
        yield _BY_NODE[kind]
    elif kind in _QUERIES:
        yield from _into(node)
        yield from _calls(node)
    elif kind in _NAMED:
        yield from _definition(kind, node)
    elif kind in _READERS:
        yield from _READERS[kind](node)


def _definition(kind: str, node: Node) -> Iterator[str]:
    """Is it temporary what is made?"""
    name = node.get(_NAMED[kind], {})
    if kind == "CreateForeignTableStmt":
        name = name.get("relation", {})
    if isinstance(name, dict) and name.get("relpersistence") == "t" and kind != "IndexStmt":
        yield "PIN-PG-03"
    if _in_pg_temp(name):
        yield "PIN-PG-28"


def _cursor(node: Node) -> Iterator[str]:
    yield "PIN-PG-04b" if node.get("options", 0) & _HOLD else "PIN-PG-04"


def _extension(node: Node) -> Iterator[str]:
    options = [option["DefElem"] for option in node.get("options", [])]
    if any(o["defname"] == "schema" and "pg_temp" in str(o["arg"]) for o in options):
        yield "PIN-PG-28"


def _settings(node: Node) -> Iterator[str]:
    kind, name = node["kind"], node.get("name", "")
    if kind in ("VAR_RESET", "VAR_RESET_ALL"):
        yield "PIN-PG-10"
    elif kind == "VAR_SET_MULTI":
        yield "PIN-PG-13" if name == "SESSION CHARACTERISTICS" else "PIN-PG-14"
    elif node.get("is_local"):
        yield "PIN-PG-11"
    elif name in ("role", "session_authorization"):
        yield "PIN-PG-15"
        yield "PIN-PG-01"
    else:
        # SET TIME ZONE and SET timezone are one node.
        yield "PIN-PG-01"
        if name in ("timezone", "client_encoding"):
            yield "PIN-PG-16"


def _explained(node: Node) -> Iterator[str]:
    runs = False
    for option in node.get("options", []):
        element = option["DefElem"]
        if element["defname"] in ("analyze", "analyse"):
            runs = _is_on(element.get("arg"))
    ((kind, inner),) = node["query"].items()
    if kind == "DeclareCursorStmt":
        # ExplainOneUtility: the query is run or planned, no portal is made.
        ((kind, inner),) = inner["query"].items()
    if runs:
        yield from _rules(kind, inner)
    elif kind == "ExecuteStmt" or (kind == "CreateTableAsStmt" and "ExecuteStmt" in inner["query"]):
        yield "PIN-PG-02"


def _is_on(value: Node) -> bool:
    if value is None:
        return True
    ((_, inner),) = value.items()
    if "ival" in inner or not inner:
        return bool(inner.get("ival", 0))
    return str(inner.get("sval", inner.get("boolval", "off"))).lower() not in ("off", "false", "0")


def _filled(node: Node) -> Iterator[str]:
    """CREATE TABLE AS, SELECT INTO inside of EXPLAIN, CREATE MATERIALIZED VIEW."""
    into = node["into"]
    if into["rel"].get("relpersistence") == "t":
        yield "PIN-PG-03"
    if _is_temporary(into["rel"].get("schemaname")):
        yield "PIN-PG-28"
    if "ExecuteStmt" in node["query"]:
        yield "PIN-PG-02"
    if not into.get("skipData"):
        yield from _calls(node["query"])


def _retyped(node: Node) -> Iterator[str]:
    for command in node.get("cmds", []):
        if command["AlterTableCmd"]["subtype"] == "AT_AlterColumnType":
            yield from _calls(command["AlterTableCmd"].get("def", {}))


def _into(node: Node) -> Iterator[str]:
    """SELECT INTO of a query, or of the leftmost part of a set operation."""
    while node.get("larg"):
        node = node["larg"]
    relation = node.get("intoClause", {}).get("rel", {})
    if relation.get("relpersistence") == "t":
        yield "PIN-PG-21"
    if _is_temporary(relation.get("schemaname")):
        yield "PIN-PG-28"


def _calls(node: Node) -> Iterator[str]:
    """The functions anywhere below."""
    if isinstance(node, list):
        for item in node:
            yield from _calls(item)
    elif isinstance(node, dict):
        for kind, value in node.items():
            if kind == "FuncCall":
                yield from _function(value)
            yield from _calls(value)


def _function(call: Node) -> Iterator[str]:
    names = [part["String"]["sval"] for part in call["funcname"]]
    if len(names) > 1 and names[-2] != "pg_catalog":
        return
    if names[-1] == "set_config":
        arguments = call.get("args", [])
        # There is none of any other kind.
        if len(arguments) == 3 and not _is_true(arguments[2]):
            yield "PIN-PG-10"
    elif names[-1] in _BY_FUNCTION:
        yield _BY_FUNCTION[names[-1]]


def _is_true(argument: Node, *, cast: bool = False) -> bool:
    """A literal true, perhaps cast."""
    argument = argument.get("NamedArgExpr", {}).get("arg", argument)
    if "TypeCast" in argument:
        type_name = argument["TypeCast"]["typeName"]["names"][-1]["String"]["sval"]
        return type_name in ("bool", "boolean") and _is_true(argument["TypeCast"]["arg"], cast=True)
    constant = argument.get("A_Const", {})
    if "boolval" in constant:
        return bool(constant["boolval"].get("boolval", False))
    if cast and "ival" in constant:
        return bool(constant["ival"].get("ival", 0) == 1)
    text = constant.get("sval", {}).get("sval", "").strip().lower()
    return text in ("on", "1") or (text != "" and any(w.startswith(text) for w in ("true", "yes")))


def _in_pg_temp(name: Node) -> bool:
    """Is the schema of a name that of temporary objects?"""
    if isinstance(name, dict) and "names" in name:
        name = name["names"]
    if isinstance(name, list):
        parts = [part.get("String", {}).get("sval") for part in name]
        return len(parts) > 1 and _is_temporary(parts[-2])
    return isinstance(name, dict) and _is_temporary(name.get("schemaname"))


def _is_temporary(schema: object) -> bool:
    return re.fullmatch(r"pg_temp(_\d+)?", str(schema)) is not None


_READERS: Final[dict[str, Callable[[Node], Iterator[str]]]] = {
    "VariableSetStmt": _settings,
    "DeclareCursorStmt": _cursor,
    "ExplainStmt": _explained,
    "CreateTableAsStmt": _filled,
    "AlterTableStmt": _retyped,
    "CreateExtensionStmt": _extension,
}
