"""Names that people import and that were renamed: the old name gives the new thing, and warns."""

from __future__ import annotations

import importlib

import pytest

RENAMED = [
    ("loom.testing", "Happened", "ScenarioResult"),
    ("loom.replay", "Rehearsal", "TurnVerification"),
]


@pytest.mark.parametrize(("package", "old", "new"), RENAMED)
def test_a_renamed_name_can_be_imported_by_its_old_name_and_warns(package: str, old: str, new: str) -> None:
    module = importlib.import_module(package)

    with pytest.warns(DeprecationWarning, match=f"is called {new} now"):
        found = getattr(module, old)

    assert found is getattr(module, new)


@pytest.mark.parametrize("package", sorted({package for package, _, _ in RENAMED}))
def test_a_name_that_never_was_is_refused(package: str) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        importlib.import_module(package).Nothing  # noqa: B018
