"""A wing from outside, installed as a package of its own: no line of loom knows of it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.test_readme import ROOT

PACKAGE = ROOT / "examples" / "consensus"
PUBLIC = ("loom", "loom.errors", "loom.ext", "loom.lazy", "loom.testing")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Install it into a folder of its own, and return an environment in which it is found."""
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
            *("--target", str(target), str(PACKAGE)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(target)}


def test_it_is_built_of_public_bricks_only() -> None:
    for path in sorted((PACKAGE / "consensus").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module is not None and module.split(".")[0] == "loom":
                assert module in PUBLIC or module.startswith("loom.ext."), f"{path.name} imports {module}"


def test_its_own_tests_pass(installed: Mapping[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(PACKAGE / "pyproject.toml")),
            *("--rootdir", str(tmp_path), str(PACKAGE / "tests")),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=installed,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_commands_are_commands_of_loom_and_its_error_ends_them(
    installed: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "loom.config.yaml").write_text("data: ./data\nconsensus: {chair: mira}\n")

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "loom.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=installed,
            cwd=tmp_path,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    assert "consensus" in run("--help").stdout
    run("consensus", "propose", "tea", "--title", "More tea", "--voters", "ada, bo", "--by", "mira")
    run("consensus", "vote", "tea", "for", "--by", "ada")
    assert "expected one of its voters" in run("consensus", "vote", "tea", "for", "--by", "eve", code=1).stderr
    run("consensus", "vote", "tea", "against", "--by", "bo")
    assert "waits for the chair" in run("consensus", "close", "tea", "--by", "bo").stdout
    [motion] = json.loads(run("consensus", "list", "--json").stdout)
    assert (motion["closed"], motion["carried"]) == (True, None)
    assert "takes no such thing now" in run("consensus", "vote", "tea", "for", "--by", "ada", code=1).stderr
    [request] = json.loads(run("approvals", "--json").stdout)
    assert request["approver"] == "mira"
