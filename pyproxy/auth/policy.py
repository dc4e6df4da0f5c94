"""Would IAM allow it? Identity policies, evaluated for `rds-db:connect`.

Pure. An explicit Deny wins, then an Allow is needed; nothing is allowed that no statement allows
(IAM User Guide, "Policy evaluation logic"). What differs from IAM in general is what RDS Proxy
leaves out: it supports no condition keys (AU-38), and what ${aws:username} stands for is not known
here. What can't be evaluated for either lets nobody in: an Allow with it allows nothing, a Deny
denies.

    policies = [parse(document) for document in documents]
    verdict = evaluate(policies, CONNECT, "arn:aws:rds-db:us-east-1:1234...:dbuser:prx-.../app")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from pyproxy.auth import wildcard

CONNECT: Final = "rds-db:connect"

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_POLICY_KEYS: Final = {"Version", "Id", "Statement"}
_STATEMENT_KEYS: Final = {
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip


class PolicyError(ValueError):
    """A document that IAM would not have accepted; says where and why."""


class Effect(Enum):
    """What a statement does when it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


class Patterns(NamedTuple):
    """An Action or Resource element, or its Not... form."""

    values: tuple[str, ...]
    negated: bool


class Statement(NamedTuple):
    """One statement of a policy."""

    effect: Effect
    actions: Patterns
    resources: Patterns
    unsupported: str
    """What it has that can't be evaluated, if anything."""

    name: str
    """Its Sid, or its place in the policy; for explanations."""

    variables: bool
    """Whether ${...} means something: from version 2012-10-17 on."""


class Policy(NamedTuple):
    """An identity policy."""

    statements: tuple[Statement, ...]


class Verdict(NamedTuple):
    """The answer, and for the operator why."""

    allowed: bool
    cause: str


def evaluate(policies: Iterable[Policy], action: str, resource: str) -> Verdict:
    """May somebody with these policies do `action` on `resource`?

    Actions are compared without regard to case, resources with it, as IAM does.
    """
    allowing = ""
    passed_over: list[str] = []
    for policy in policies:
        for statement in policy.statements:
            if not _covers(statement, action, resource):
                continue
            if statement.effect is Effect.DENY:
                why = f"; it has {statement.unsupported}" if statement.unsupported else ""
                cause = f"statement {statement.name} denies {action} on {resource}{why}"
                return Verdict(False, cause)
            if statement.unsupported:
                passed_over.append(f"statement {statement.name} has {statement.unsupported}")
            else:
                allowing = allowing or statement.name
    if allowing:
        return Verdict(True, f"statement {allowing} allows it")
    cause = f"no policy allows {action} on {resource}"
    return Verdict(False, "; ".join((cause, *passed_over)))


def parse(document: object) -> Policy:
    """Check a policy document (parsed JSON or YAML); raises PolicyError."""
    policy = _mapping(document, "a policy", _POLICY_KEYS)
    # Version may be left out, and is the old one then: IAM User Guide, "Version".
    version = policy.get("Version", _VERSIONS[1])
    if str(version) not in _VERSIONS:
        raise PolicyError(f'Version is {str(version)!r}; use "2012-10-17"')
    statements = policy.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list | tuple) or not statements:
        raise PolicyError("Statement must be a statement or a list of statements")
    variables = str(version) == _VERSIONS[0]
    return Policy(
        tuple(_statement(item, number, variables) for number, item in enumerate(statements, 1))
    )


def _statement(document: object, number: int, variables: bool) -> Statement:
    where = f"statement {number}"
    statement = _mapping(document, where, _STATEMENT_KEYS)
    try:
        effect = Effect(statement.get("Effect"))
    except ValueError:
        raise PolicyError(f"{where}: Effect must be Allow or Deny") from None
    resources = _patterns(statement, "Resource", where)
    return Statement(
        effect,
        _patterns(statement, "Action", where),
        resources,
        _unsupported(statement, effect, resources, variables),
        repr(statement["Sid"]) if statement.get("Sid") else str(number),
        variables,
    )


def _unsupported(
    statement: Mapping[str, object], effect: Effect, resources: Patterns, variables: bool
) -> str:
    if statement.get("Condition"):
        return "a Condition, and RDS Proxy supports no condition keys"
    # Something that is not known is not outside of what a NotResource excludes.
    unknown = any(
        wildcard.compile_resource(pattern, variables=variables) is None
        for pattern in resources.values
    )
    if unknown and resources.negated:
        return "a policy variable in its NotResource"
    return "a policy variable in its Resource" if unknown and effect is Effect.DENY else ""


def _mapping(document: object, where: str, known: set[str]) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise PolicyError(f"{where} must be a mapping")
    keys = {str(key) for key in document}
    if "Principal" in keys or "NotPrincipal" in keys:
        raise PolicyError(f"{where}: an access key's policies have no Principal")
    if unknown := sorted(keys - known):
        raise PolicyError(f"{where}: unknown element {unknown[0]}; known: {sorted(known)}")
    return document


def _patterns(statement: Mapping[str, object], element: str, where: str) -> Patterns:
    given = [name for name in (element, f"Not{element}") if name in statement]
    if len(given) != 1:
        raise PolicyError(f"{where} needs either {element} or Not{element}")
    value = statement[given[0]]
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not values:
        raise PolicyError(f"{where}: {given[0]} must be a string or a list of strings")
    if not all(isinstance(item, str) for item in values):
        raise PolicyError(f"{where}: {given[0]} must be a string or a list of strings")
    return Patterns(tuple(values), given[0] != element)


def _covers(statement: Statement, action: str, resource: str) -> bool:
    actions, resources = statement.actions, statement.resources
    # Whatever a variable stands for, a Deny's resource is met and none is outside of it.
    anything = statement.effect is Effect.DENY and not resources.negated
    return (
        any(_action_matches(pattern, action) for pattern in actions.values) is not actions.negated
        and any(
            _resource_matches(pattern, resource, statement.variables, anything)
            for pattern in resources.values
        )
        is not resources.negated
    )


def _action_matches(pattern: str, action: str) -> bool:
    # IAM User Guide, "Action": the prefix and the action name are case insensitive.
    return wildcard.matches(wildcard.compile_action(pattern.lower()), action.lower())


def _resource_matches(pattern: str, resource: str, variables: bool, anything: bool) -> bool:
    compiled = wildcard.compile_resource(pattern, variables=variables, anything=anything)
    return compiled is not None and wildcard.matches(compiled, resource)
