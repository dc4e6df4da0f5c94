"""The packages read as text: who imports whom, where, and how long each thing is.

Nothing is imported or run; a file that does not parse fails its test by itself.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Import(NamedTuple):
    """One imported module: its full name, and the place that imports it."""

    module: str
    importer: str
    place: str
    type_checking_only: bool


def sources(*folders: str) -> list[Path]:
    """Every Python file below the folders of this checkout, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def place(path: Path, line: int) -> str:
    """A place as editors and terminals understand it."""
    return f"{path.relative_to(ROOT)}:{line}"


def module_name(path: Path) -> str:
    """`pyproxy/auth/__init__.py` is `pyproxy.auth`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: frozenset[str]) -> Iterator[Import]:
    """Everything `path` imports, at its top or inside functions.

    `from pyproxy import errors` is an import of `pyproxy.errors` when that is one of the `known`
    modules, and of `pyproxy` when `errors` is only a name in there.
    """
    tree = ast.parse(path.read_bytes(), str(path))
    only_types = _type_checking_lines(tree)
    name = module_name(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, name, is_package=path.name == "__init__.py")
            modules = [
                full if (full := f"{base}.{alias.name}") in known else base for alias in node.names
            ]
        else:
            continue
        for module in modules:
            yield Import(module, name, place(path, node.lineno), node.lineno in only_types)


def _base(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    """The module after `from`, made absolute."""
    if not node.level:
        return node.module or ""
    parents = name.split(".")
    parents = parents[: len(parents) - node.level + is_package]
    return ".".join([*parents, node.module] if node.module else parents)


def _type_checking_lines(tree: ast.AST) -> set[int]:
    """The lines below `if TYPE_CHECKING:`, which never run."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }


class Function(NamedTuple):
    """A function or method: its name, its place and its lines without the docstring."""

    name: str
    place: str
    lines: int


def functions(path: Path) -> Iterator[Function]:
    """Every function in `path`, nested ones too."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield Function(node.name, place(path, node.lineno), lines)


def find_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A path that ends where it began, or nothing."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for following in sorted(graph.get(node, ())):
            if circle := visit(following, [*path, node]):
                return circle
        finished.add(node)
        return []

    for start in sorted(graph):
        if circle := visit(start, []):
            return circle
    return []
