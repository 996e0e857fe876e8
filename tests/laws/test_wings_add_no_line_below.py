"""Wings are at the top of the house, as a package of a user's would be: nothing else of loom knows of one by name."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

import loom
from loom.extension import installed
from loom.journal.entry import KINDS

ROOT = Path(loom.__file__).parent
PACKAGES = {
    point.name: point.value.split(":")[0].split(".")[1]
    for point in distribution("loom-journal").entry_points
    if point.group == "loom.extensions"
}
LAYERS = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
TOP = set(re.findall(r"[a-z_]+", LAYERS["contracts"][0]["layers"][0]))
WINGS = {name: package for name, package in PACKAGES.items() if package in TOP}  # the others are edges of the house


def prefixes(package: str) -> set[str]:
    """Return what the kinds of entries of a wing begin with, and what it is called."""
    installed()
    kinds = {kind for kind, cls in KINDS._classes.items() if cls.__module__.startswith(f"loom.{package}.")}
    assert kinds, f"{package} has no kinds: the search would find nothing"
    return {package, *(kind.split(".")[0] for kind in kinds)}


def mentions(tree: ast.AST, package: str, names: set[str]) -> Iterator[int]:
    """Yield the lines that import a wing, or have its name or the prefix of its kinds as a string."""
    module, begins = f"loom.{package}", tuple(f"{name}{mark}" for name in names for mark in "./")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in names or node.value.startswith(begins):
                yield node.lineno
            continue
        else:
            continue
        if any(f"{each}.".startswith(f"{module}.") for each in found):
            yield node.lineno


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_nothing_outside_a_wing_imports_it_or_names_it_or_its_kinds(wing: str) -> None:
    package, names = WINGS[wing], prefixes(WINGS[wing])
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] != package
        for line in mentions(ast.parse(path.read_text()), package, names)
    ]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "from loom.gate import Gate",
        "import loom.gate.audit",
        "from loom import gate",
        "names = ('gate',)",
        "journals(after='gate/')",
        "KIND = 'gate.executed'",
    ],
)
def test_the_search_finds_each_way_to_know_of_a_wing(code: str) -> None:
    assert list(mentions(ast.parse(code), "gate", {"gate"})) == [1]


def test_the_wings_are_all_that_is_at_the_top() -> None:
    assert set(WINGS.values()) == TOP
