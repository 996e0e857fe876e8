"""Other people's programs read the Dockerfile and the compose files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.production.container import DOCKERFILE
from tests.test_readme import ROOT

TOOLS = ROOT / ".venv-production" / "bin"
COMPOSE = [ROOT / "deploy" / name for name in ("compose.yaml", "compose/postgres.yaml", "compose/sqlite.yaml")]
READS = "import sys, compose_spec; compose_spec.PyCompose.from_json(sys.stdin.read())"
needs_tools = pytest.mark.skipif(
    not (TOOLS / "hadolint").exists(), reason="no hadolint here: make production installs it"
)


def linted(dockerfile: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / "hadolint", "-"], input=dockerfile, capture_output=True, text=True, check=False)


def read(compose: str) -> subprocess.CompletedProcess[str]:
    """Have a compose file read as the specification has it, with anchors and variables filled in as Compose does."""
    whole = json.dumps(yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", compose)))
    return subprocess.run([TOOLS / "python", "-c", READS], input=whole, capture_output=True, text=True, check=False)


@needs_tools
def test_a_linter_has_nothing_against_the_dockerfile() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    found = linted(text)
    assert found.returncode == 0, found.stdout
    assert linted(text.replace("python:3.13-slim", "python")).returncode == 1, "an image without a tag is found"


@needs_tools
@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = read(text)
    assert found.returncode == 0, found.stderr
    for before, after in (
        ("restart:", "restrat:"),
        ("tmpfs: [/tmp]", "tmpfs: {/tmp: 3}"),
        ("read_only: true", "read_only: 3"),
    ):
        assert before in text
        assert read(text.replace(before, after)).returncode == 1, after
