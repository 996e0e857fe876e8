"""CONTRIBUTING.md lists what runs when as the Makefile and `.ci/run` have it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from tests.test_readme import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
AT_HAND = {"browser", "clean", "cluster-demo", "cluster-servers", "demo", "format", "help", "lock", "nightly"}
"""What a person calls, or another target, and what tests nothing."""


def recipe(target: str) -> str:
    """Return the lines of a target, joined where they go on."""
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n|\\t?[^\n]*\n)+)", MAKEFILE.replace("\\\n", " "), re.MULTILINE)
    assert found is not None, f"the Makefile has no recipe for [{target}]"
    return found[1]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE))


def called(line: str) -> set[str]:
    return {word for word in shlex.split(line, comments=True) if word in targets()}


def ran() -> Mapping[str, set[str]]:
    """Return where each target is run."""
    places = {
        ".ci/run": called((ROOT / ".ci" / "run").read_text(encoding="utf-8").replace("$(", "").replace("'", "")),
        "nightly": called(recipe("nightly")),
    }
    return {each: {place for place, those in places.items() if each in those} for each in targets()}


def test_what_runs_when_is_listed_as_it_is() -> None:
    listed = dict(re.findall(r"^\| `make ([\w-]+)` \|[^|]*\| ([^|]+) \|$", CONTRIBUTING, re.MULTILINE))
    parts = called(re.sub(r".*?^check:", "", MAKEFILE, flags=re.MULTILINE | re.DOTALL).splitlines()[0])
    assert parts == {"lint", "types", "layers"}
    assert set(listed) == targets() - AT_HAND - parts
    for target, where in listed.items():
        assert set(where.replace("by hand", "").replace("`", "").replace(",", " ").split()) == ran()[target], target


def test_no_target_is_taken_for_a_file() -> None:
    declared = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None
    assert set(declared[1].split()) == targets()


def test_both_ways_to_run_all_have_something_to_run() -> None:
    assert {"check", "test", "reliability"} <= {each for each, places in ran().items() if ".ci/run" in places}
    assert {"sabotage", "pythons", "lowest", "docs"} <= {each for each, places in ran().items() if "nightly" in places}
