"""`loom docs`: pages that are there where loom is installed, and messages that point at no others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from loom.cli.commands.docs import pages
from loom.cli.reference import WRITTEN
from tests.cli.support import REPOSITORY, environment, invoke

BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
MODULES = sorted((REPOSITORY / "loom").rglob("*.py"))


def spoken(module: Path) -> list[str]:
    """Return the texts in a module that are not docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_every_page_is_listed_with_its_title_and_shown_whole() -> None:
    listed = invoke("docs", "--json").json

    assert set(listed) == {path.stem for path in (REPOSITORY / "docs").glob("*.md")} | set(WRITTEN)
    assert all(listed.values())
    for name in set(listed) - set(WRITTEN):
        assert invoke("docs", name).out.strip() == (REPOSITORY / "docs" / f"{name}.md").read_text("utf-8").strip()


def test_a_page_that_is_not_there_is_refused_with_those_that_are() -> None:
    said = invoke("docs", "../README")

    assert said.code == 2
    assert "policy-tables" in said.err


def test_a_message_points_only_at_pages_that_are_installed() -> None:
    known = {*pages(), *WRITTEN}
    for module in MODULES:
        for text in spoken(module):
            for name in re.findall(r"`loom docs ([\w-]+)`", text):
                assert name in known, f"{module} points at {name}"
            if "archive" not in module.parts:  # its README names the page for those who have loom's source
                assert not re.search(r"\bdocs/[\w-]+\.md", text), f"{module} points at a file: {text}"


def test_a_command_is_completed() -> None:
    completing = {**environment(), "COMP_WORDS": "loom prece", "COMP_CWORD": "1", "_LOOM_COMPLETE": "complete_bash"}
    loom = Path(sys.executable).with_name("loom")

    ran = subprocess.run([loom], env=completing, capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.split() == ["precedents"]


@pytest.mark.slow
def test_the_wheel_has_the_pages(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / built.stdout.strip()) as wheel:
        inside = {Path(name).name for name in wheel.namelist() if Path(name).parent == Path("loom/docs")}
    assert {name for name in inside if name.endswith(".md")} == {f"{page}.md" for page in pages()}
    assert "loom.config.yaml" in inside, "the config with all keys, which `loom docs config` shows"
