"""The reference page of the configuration, written from its keys.

`python -m pyproxy.config_reference > docs/reference/configuration.md` renews it; a test compares.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pyproxy.binder import without_none
from pyproxy.config import EXTENSIONS, Config

_HEAD: Final = """\
# Configuration

<!-- Written by `python -m pyproxy.config_reference`; change `pyproxy/config.py`. -->

One YAML file. Keys are the AWS API's names in snake case, durations are in seconds.

- `${NAME}` and `${NAME:-default}` in a value are read from the environment; `$$` is a dollar sign.
- Relative paths are relative to the file.
- `pyproxy check --config FILE` tells all problems at once, each with line, column, key and what
  would be right; it contacts nothing. A running proxy reads the file again on `SIGHUP`; a bad file
  changes nothing, and the log says which keys need a restart.
- *Ours* marks what the AWS API doesn't have.

`config/` has examples: [minimal](../../config/minimal.yaml),
[everything](../../config/pyproxy.yaml), [IAM](../../config/iam.yaml),
[failover](../../config/failover.yaml), [container](../../config/container.yaml).
"""

_TYPES: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    object: "any",
}


class Row(NamedTuple):
    """One key."""

    path: str
    kind: str
    default: str
    doc: str


def rows(cls: Any = Config, prefix: str = "") -> Iterator[Row]:  # noqa: ANN401 - any section
    """Every key, section by section."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        path = f"{prefix}{field.name}"
        kind = hints[field.name]
        items = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
        if dataclasses.is_dataclass(kind):
            yield from rows(kind, f"{path}.")
        elif items is not None and dataclasses.is_dataclass(items):
            yield from rows(items, f"{path}[].")
        else:
            yield Row(path, _kind(field, items or kind, items), _default(field), _doc(field))


def paths() -> list[str]:
    """The path of every key, lists as `[]`."""
    return [row.path for row in rows()]


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    section = None
    for row in rows():
        head = row.path.split(".")[0].removesuffix("[]")
        title = head if "." in row.path else "everything else"
        if title != section:
            section = title
            lines.append(
                f"\n## {title}\n\n| Key | Value | Default | Means |\n| --- | --- | --- | --- |\n"
            )
        lines.append(f"| `{row.path}` | {row.kind} | {row.default} | {row.doc} |\n")
    lines.append("\n## Extensions\n\n| Name | Adds |\n| --- | --- |\n")
    lines += [f"| `{name}` | {adds} |\n" for name, adds in EXTENSIONS.items()]
    return "".join(lines)


def _kind(field: dataclasses.Field[Any], kind: Any, items: Any) -> str:  # noqa: ANN401
    metadata = field.metadata
    kind, may_be_empty = without_none(kind)
    if metadata["choices"]:
        text = ", ".join(f"`{choice}`" if choice else "empty" for choice in metadata["choices"])
    else:
        text = _TYPES[kind]
    low, high = metadata["low"], metadata["high"]
    if low is not None:
        text += f" from {low:g} to {high:g}" if high is not None else f", {low:g} or more"
    text += ", or empty" if may_be_empty else ""
    return f"list of {text}" if items else text


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "*required*"
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value not in ("", (), None) else "empty"


def _doc(field: dataclasses.Field[Any]) -> str:
    text = str(field.metadata["doc"]).replace("|", "\\\\|")
    return text.replace("Ours: ", "*Ours:* ")


if __name__ == "__main__":
    sys.stdout.write(page())
