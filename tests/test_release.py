"""What the package says of itself: extras, Pythons, types, and what a release is made of."""

from __future__ import annotations

import json
import re
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from release.__main__ import audit, notes
from release.building import copied, digests
from tests.test_readme import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PACKAGES_PAGE = (ROOT / "docs" / "packages.md").read_text(encoding="utf-8")


def test_the_extra_all_has_every_extra_but_that_for_development() -> None:
    [everything] = EXTRAS["all"]
    named = re.fullmatch(r"loom-journal\[([\w,-]+)\]", everything)
    assert named is not None
    assert sorted(named[1].split(",")) == sorted(set(EXTRAS) - {"all", "dev"})


def test_every_extra_is_on_the_page_of_packages() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PACKAGES_PAGE, flags=re.MULTILINE)) == set(EXTRAS) - {"all", "dev"}


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    listed = [*PROJECT["dependencies"], *(each for name, extra in EXTRAS.items() if name != "all" for each in extra)]
    assert not [each for each in listed if not ({">=", "<"} <= set(re.findall(r">=|<", each)) or "==" in each)]


def test_the_pythons_of_the_classifiers_are_those_of_the_page() -> None:
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert all(each in PACKAGES_PAGE for each in versions)
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "loom" / "py.typed").exists()


def test_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    log = "# Changelog\n\n## [0.2.0]\n\n- two\n\n## [0.1.0] - unreleased\n\n- one\n"
    assert notes(log, "0.2.0") == "## [0.2.0]\n\n- two\n"
    with pytest.raises(SystemExit, match=r"no section \[0.3.0\]"):
        notes(log, "0.3.0")
    assert notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), PROJECT["version"])


def tool(at: Path, said: object) -> Path:
    path = at / "pip-audit"
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(said)!r})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_known_vulnerability_ends_a_release_and_an_audit_that_could_not_ask_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unasked = {"name": "b", "skip_reason": "not found"}
    audit(tool(tmp_path, {"dependencies": [unasked]}))
    assert "pip-audit SKIPPED: none of 1 packages" in capsys.readouterr().out
    audit(tool(tmp_path, {"dependencies": [unasked, {"name": "a", "vulns": []}]}))
    assert "1 of 2 packages were looked up" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="PYSEC-1"):
        audit(tool(tmp_path, {"dependencies": [{"name": "a", "vulns": [{"id": "PYSEC-1"}]}]}))


def test_a_copy_has_what_is_under_version_control_and_a_digest_sees_a_change(tmp_path: Path) -> None:
    copy = copied(tmp_path / "copy")
    assert (copy / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
    assert not (copy / ".venv").exists()
    before = digests([copy / "README.md"])
    (copy / "README.md").write_text("changed")
    assert digests([copy / "README.md"]) != before
