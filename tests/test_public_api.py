"""What `loom` exports is what it promises."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import loom


def test_all_is_sorted_and_every_name_in_it_is_there() -> None:
    assert list(loom.__all__) == sorted(loom.__all__)
    for name in loom.__all__:
        assert getattr(loom, name).__doc__, name


def test_nothing_else_is_public() -> None:
    public = {name for name in vars(loom) if not name.startswith("_")}
    modules = {each.name for each in pkgutil.iter_modules(loom.__path__)}
    allowed = {*loom.__all__, *modules, "annotations"}
    assert public <= allowed


def test_the_names_of_the_contract_are_there() -> None:
    contract = {
        "Actor",
        "Command",
        "ContextGatheredEntry",
        "DecisionJournalEntry",
        "Entry",
        "Loom",
        "PrecedentReferencedEntry",
        "Projection",
        "policy",
    }
    assert contract <= set(loom.__all__)


def test_importing_loom_does_not_open_configure_or_print_anything() -> None:
    code = (
        "import logging, sys; before = list(logging.root.handlers); import loom; assert logging.root.handlers == before"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ran.stderr == ""
