"""The layers that import-linter cannot see: nothing inside loom imports from the package root.

The root imports the runtime, and with it everything. The linter's contract is about what stands below the root, and to
it `from loom import errors` is an import of `loom.errors`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

LOOM = Path(__file__).parents[1] / "loom"


def imports_of_the_root(source: str) -> list[int]:
    """Return the lines on which the package root itself, or a name out of it, is imported."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any(alias.name == "loom" for alias in names):
                lines.append(node.lineno)
            case ast.ImportFrom(module="loom", level=0):
                lines.append(node.lineno)
    return lines


def test_nothing_inside_loom_imports_from_the_package_root() -> None:
    modules = [path for path in sorted(LOOM.rglob("*.py")) if path != LOOM / "__init__.py"]
    assert modules, f"no module was found below {LOOM}"
    offenders = [
        f"{path.relative_to(LOOM.parent)}:{line}"
        for path in modules
        for line in imports_of_the_root(path.read_text(encoding="utf-8"))
    ]
    assert offenders == [], "import from the module that defines the name, as loom.journal.entry: also in a wing"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import loom", [1]),
        ("import os, loom as root", [1]),
        ("def late():\n    from loom import Actor", [2]),
        ("if TYPE_CHECKING:\n    from loom import errors", [2]),
        ("import loom.errors", []),
        ("from loom.errors import LoomError", []),
        ("from loomis import Actor", []),
    ],
)
def test_an_import_of_the_root_is_found_wherever_it_stands(source: str, lines: list[int]) -> None:
    assert imports_of_the_root(source) == lines


def test_code_is_laid_out_by_the_formatter_alone() -> None:
    root = LOOM.parent
    paths = [
        path for part in ("loom", "tests", "examples", "benchmarks") for path in sorted((root / part).rglob("*.py"))
    ]
    directive = "fmt: " + "skip"
    assert [str(path.relative_to(root)) for path in paths if directive in path.read_text(encoding="utf-8")] == []


def test_the_page_of_the_architecture_names_every_layer_from_the_ground_up() -> None:
    config = tomllib.loads((LOOM.parent / "pyproject.toml").read_text(encoding="utf-8"))
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    height = {room: level for level, line in enumerate(reversed(layers)) for room in re.findall(r"[a-z_]+", line)}
    page = (LOOM.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([a-z_]+)`", row) for row in re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE)]
    rows = [row for row in rows if row and set(row) <= set(height)]

    assert {room for row in rows for room in row} == set(height), "docs/architecture.md has a row for each layer"
    lowest = [min(height[room] for room in row) for row in rows]
    assert lowest == sorted(lowest), "a layer is above those that it imports"
