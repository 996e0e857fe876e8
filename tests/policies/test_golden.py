"""Version hashes are final: what was registered under one must be found under it for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loom.policies import implicit_document, version_hash
from tests.policies.catalogue import CATALOGUE
from tests.policies.golden.add import read

GOLDEN = read()
ROOT = Path(__file__).parents[2]
HASHES = """
import json
from tests.policies.catalogue import CATALOGUE
print(json.dumps({name: policy.version_hash for name, policy in CATALOGUE.items()}))
"""


def test_every_policy_of_the_catalogue_is_in_the_golden_file() -> None:
    assert sorted(GOLDEN) == sorted(CATALOGUE), "run python -m tests.policies.golden.add"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_document_of_a_released_version_never_changes(name: str) -> None:
    assert CATALOGUE[name].document == GOLDEN[name]["document"]
    # Once more as text, in which True is not 1 and 1 is not 1.0.
    assert json.dumps(CATALOGUE[name].document, sort_keys=True) == json.dumps(GOLDEN[name]["document"], sort_keys=True)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_hash_of_a_released_version_never_changes(name: str) -> None:
    assert CATALOGUE[name].version_hash == GOLDEN[name]["hash"]
    assert version_hash(GOLDEN[name]["document"]) == GOLDEN[name]["hash"]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_code_at_hand_gives_every_released_version(name: str) -> None:
    assert CATALOGUE[name].departure(GOLDEN[name]["document"]) is None


def test_the_hash_of_an_implicit_version_never_changes() -> None:
    document = implicit_document("discount-agent")
    assert document == {"format": "loom.policy/1", "language": "none", "semantics": 1, "name": "discount-agent"}
    assert version_hash(document) == "b2c49e30906d214c243bfd4117c25c8e38e0868b32b05f6c537ce024384bd5ed"


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_hashes_are_the_same_under_every_hash_seed(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    found: dict[str, Any] = json.loads(
        subprocess.run(
            [sys.executable, "-c", HASHES], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout
    )
    assert found == {name: GOLDEN[name]["hash"] for name in GOLDEN}


def test_hashes_are_the_same_without_docstrings_and_asserts() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-OO", "-c", HASHES], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == {name: GOLDEN[name]["hash"] for name in GOLDEN}


def test_no_document_is_nested_deeper_than_a_journal_admits() -> None:
    def depth(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max((depth(item) for item in inner), default=0)

    assert max(depth(version["document"]) for version in GOLDEN.values()) <= 20
