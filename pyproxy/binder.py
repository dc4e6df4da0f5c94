"""YAML into dataclasses, with an error that names line and key for everything that doesn't fit.

    value, problems = bind(text, Settings, environment={"HOME": "/root"})

A dataclass says what is right: its annotations give the types (`str`, `int`, `float`, `bool`,
`object` for any YAML, another dataclass, `tuple[X, ...]` for a list; `int | None` for one that may
be empty, as if it was not there), its fields made by `key` the choices, the range and the
description. `${NAME}` and `${NAME:-default}` in any value are read from the environment, `$$` is a
dollar sign. All problems are collected, none stops the search; a value is never shown in one, for
it may be a secret.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import yaml

T = TypeVar("T")

_VARIABLE: Final = re.compile(r"\$\$|\$\{(\w+)(?::-([^}\n]*))?\}")
# The braces of a variable would be a mapping to YAML in `{port: ${PORT}}`: while it reads they are
# private characters, as many of them, so that places stay right.
_OPENING: Final = "\ue000\ue000"
_CLOSING: Final = "\ue001"
_HIDDEN: Final = re.compile(r"\$\$|\ue000\ue000(\w+)(?::-([^\ue001]*))?\ue001")
_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
}
# A scalar that may be empty, and is.
_LEFT_OUT: Final = object()
# Aliases can make a small file huge (the "billion laughs"): no configuration needs so much.
_MAX_NODES: Final = 100_000


class Problem(NamedTuple):
    """What is wrong, where (counted from 1), and what would be right."""

    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: "
        return f"{place}{self.path}: {self.text}" if self.path else place + self.text


class Place(NamedTuple):
    """Where a key stands."""

    line: int
    column: int


class Bound(NamedTuple):
    """What a text was bound to: None when there are problems."""

    value: Any
    problems: list[Problem]
    # Path of a key, such as `endpoints[0].port`, to its place.
    places: dict[str, Place]


def key(
    default: Any = dataclasses.MISSING,
    doc: str = "",
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    secret: bool = False,
) -> Any:
    """A field of a dataclass that can be bound; required without a default.

    `low` and `high` bound a number, `choices` a string; a `secret` is hidden in representations.
    """
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def bind(text: str, cls: type[T], environment: Mapping[str, str]) -> Bound:
    """Read `text` into a `cls`."""
    binder = _Binder(environment)
    try:
        node = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        binder.report(place, "", f"not YAML: {error.problem or error.context}")
        return Bound(None, binder.problems, binder.places)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        binder.report(Place(1, 1), "", f"not YAML: {str(error).splitlines()[0]}")
        return Bound(None, binder.problems, binder.places)
    try:
        value = binder.bind(node, cls, "")
    except RecursionError:
        binder.report(Place(1, 1), "", "too deep to read")
        value = None
    return Bound(None if binder.problems else value, binder.problems, binder.places)


def bind_key(text: str, name: str, cls: type[T], environment: Mapping[str, str]) -> T | None:
    """Read one key of the top into a `cls`, its defaults if it is not there; None if it is wrong.

    What is wrong beside it does not matter, as long as the text is YAML.
    """
    binder = _Binder(environment)
    try:
        root = _composed(text)
        if not isinstance(root, yaml.MappingNode):
            return None
        node = next((value for key_node, value in root.value if key_node.value == name), _NOTHING)
        value: T = binder.bind(node, cls, name)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    return None if binder.problems else value


def _composed(text: str) -> yaml.Node:
    """The nodes of a text. Raises YAMLError, RecursionError and ValueError."""
    node = yaml.compose(_VARIABLE.sub(_hide, text), Loader=yaml.SafeLoader)
    return _NOTHING if node is None else node


_MARK: Final = yaml.Mark("", 0, 0, 0, None, 0)
_NOTHING: Final = yaml.MappingNode("tag:yaml.org,2002:map", [], _MARK, _MARK)


class _Binder:
    """One text's way into values."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._nodes = 0
        self.problems: list[Problem] = []
        self.places: dict[str, Place] = {}

    def report(self, place: Place, path: str, text: str) -> None:
        self.problems.append(Problem(place.line, place.column, path, text))

    def bind(self, node: yaml.Node, kind: Any, path: str, metadata: Mapping[str, Any] = {}) -> Any:
        """The value of a node; None, and a problem, when it is not one of `kind`."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise RecursionError
        self.places[path] = _place(node)
        if kind is object:
            return self._anything(node, path)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(node, kind, path)
        if typing.get_origin(kind) is tuple:
            return self._list(node, typing.get_args(kind)[0], path, metadata)
        return self._scalar(node, kind, path, metadata)

    # -- containers ----------------------------------------------------------------------------

    def _dataclass(self, node: yaml.Node, cls: Any, path: str) -> Any:
        if _is_null(node):
            node = yaml.MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.MappingNode):
            self.report(_place(node), path, f"{_name(node)} is not a mapping of keys to values")
            return None
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            inner = f"{path}.{name}" if path else name
            if name not in fields:
                self.report(_place(key_node), inner, _unknown(name, fields))
            elif name in seen:
                self.report(_place(key_node), inner, f"given twice, first in line {seen[name]}")
            else:
                seen[name] = _place(key_node).line
                value = self.bind(value_node, hints[name], inner, fields[name].metadata)
                if value is not _LEFT_OUT:
                    values[name] = value
        return self._made(node, cls, path, fields, values)

    def _made(
        self,
        node: yaml.Node,
        cls: Any,
        path: str,
        fields: Mapping[str, dataclasses.Field[Any]],
        values: dict[str, Any],
    ) -> Any:
        complete = True
        for name, field in fields.items():
            required = (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            )
            if required and name not in values:
                complete = False
                self.report(_place(node), path, f"the key {name} is missing")
        if not complete or any(value is None for value in values.values()):
            return None
        return cls(**values)

    def _list(
        self, node: yaml.Node, kind: Any, path: str, metadata: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        if _is_null(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.report(_place(node), path, f"{_name(node)} is not a list")
            return None
        values = tuple(
            self.bind(item, kind, f"{path}[{index}]", metadata)
            for index, item in enumerate(node.value)
        )
        return None if any(value is None for value in values) else values

    def _anything(self, node: yaml.Node, path: str) -> object:
        """Any YAML, with JSON's types: what a policy document is made of."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise RecursionError
        if isinstance(node, yaml.MappingNode):
            return {
                str(self._anything(name, path)): self._anything(value, path)
                for name, value in node.value
            }
        if isinstance(node, yaml.SequenceNode):
            return [self._anything(item, path) for item in node.value]
        text = self._text(node, path)
        if node.tag == "tag:yaml.org,2002:bool":
            return _BOOLEANS.get(text.lower(), text)
        if node.tag == "tag:yaml.org,2002:int" and text.lstrip("-").isdecimal():
            return int(text)
        return "" if _is_null(node) else text

    # -- scalars -------------------------------------------------------------------------------

    def _scalar(self, node: yaml.Node, kind: Any, path: str, metadata: Mapping[str, Any]) -> object:
        kind, may_be_empty = without_none(kind)
        if not isinstance(node, yaml.ScalarNode):
            self.report(_place(node), path, f"{_name(node)} is not {_NAMES[kind]}")
            return None
        before = len(self.problems)
        text = self._text(node, path)
        if len(self.problems) > before:
            return None
        if may_be_empty and (_is_null(node) or not text):
            return _LEFT_OUT
        if kind is str:
            return self._string(node, "" if _is_null(node) else text, path, metadata)
        value = _parse(kind, text)
        if value is None:
            self.report(_place(node), path, f"this is not {_NAMES[kind]}{_range(metadata)}")
            return None
        if kind is not bool and not _within(value, metadata):
            self.report(_place(node), path, f"out of range: it must be{_range(metadata)}")
            return None
        return value

    def _string(
        self, node: yaml.Node, text: str, path: str, metadata: Mapping[str, Any]
    ) -> str | None:
        choices: tuple[str, ...] = metadata.get("choices", ())
        if choices and text not in choices:
            near = difflib.get_close_matches(text, choices, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            right = ", ".join(choice or '""' for choice in choices)
            self.report(_place(node), path, f"it must be one of {right}{hint}")
            return None
        return text

    def _text(self, node: yaml.Node, path: str) -> str:
        """A scalar's text with the environment's values in it."""

        def value_of(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            value = self._environment.get(found[1])
            # As a shell does: an empty variable takes the default too.
            if value or (value is not None and found[2] is None):
                return value
            if found[2] is None:
                self.report(
                    _place(node),
                    path,
                    f"the environment variable {found[1]} is not set; set it, or give a default: "
                    f"${{{found[1]}:-...}}",
                )
            return found[2] or ""

        return _HIDDEN.sub(value_of, str(node.value))


def without_none(kind: Any) -> tuple[Any, bool]:
    """What a value is that is one, and whether there may be none."""
    kinds = typing.get_args(kind)
    return (kinds[0], True) if types.NoneType in kinds else (kind, False)


def _hide(found: re.Match[str]) -> str:
    text = found[0]
    return text if text == "$$" else f"{_OPENING}{text[2:-1]}{_CLOSING}"


_NAMES: Final[dict[Any, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def _parse(kind: Any, text: str) -> object:
    """The value that a text stands for; None when it stands for none."""
    text = text.strip()
    if kind is bool:
        return _BOOLEANS.get(text.lower())
    try:
        value = int(text) if kind is int else float(text)
    except ValueError:
        return None
    # An int may be larger than any float.
    return value if kind is int or math.isfinite(value) else None


def _within(value: Any, metadata: Mapping[str, Any]) -> bool:
    low, high = metadata.get("low"), metadata.get("high")
    return (low is None or value >= low) and (high is None or value <= high)


def _range(metadata: Mapping[str, Any]) -> str:
    low, high = metadata.get("low"), metadata.get("high")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" {low:g} or more"
    return ""


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; there are {', '.join(known)}"


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _name(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
