"""The core, whose mutants are tried: each module, and the test files that judge it.

Which test of these runs a line is measured. Tests that start processes judge only what runs in their own.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CORE", "NOT_YET", "PLANTED"]

CORE: Mapping[str, tuple[str, ...]] = {
    "loom/absent.py": ("tests/test_absent.py",),
    "loom/journal/admission.py": ("tests/journal/test_admission.py", "tests/journal/test_entry_text.py"),
    "loom/journal/chain.py": (
        "tests/journal/test_chain.py",
        "tests/journal/test_format_3.py",
        "tests/journal/test_verify.py",
    ),
    "loom/journal/merkle.py": (
        "tests/journal/test_merkle.py",
        "tests/journal/test_roots.py",
        "tests/proof/test_tree.py",
    ),
    "loom/journal/appending.py": ("tests/journal/test_appending.py",),
    "loom/journal/plain.py": ("tests/journal/test_plain.py",),
    "loom/journal/serialisation.py": (
        "tests/journal/test_admission.py",
        "tests/journal/test_entry.py",
        "tests/journal/test_entry_text.py",
    ),
    "loom/journal/singleton.py": ("tests/journal/test_singleton.py", "tests/journal/test_following.py"),
    "loom/policies/canonical.py": ("tests/policies/test_canonical.py", "tests/policies/test_identity.py"),
    "loom/policies/evaluation.py": ("tests/policies/test_evaluation.py", "tests/policies/test_policy.py"),
    "loom/policies/registry.py": ("tests/policies/test_registry.py", "tests/policies/test_adoption.py"),
    "loom/proof/notes.py": ("tests/proof/test_notes.py",),
    "loom/proof/tree.py": ("tests/proof/test_tree.py",),
    "loom/spend/guard.py": ("tests/spend/test_guard.py",),
}

NOT_YET: Mapping[str, str] = {
    "loom/journal/sqlite": "no score was taken",
    "loom/projections/projector.py": "22 of a sample of 30 were found out by the tests of its room",
    "loom/projections/writer.py": "169 of 228 were found out by the tests of its room",
}
"""What belongs to the core, and is not in it as its tests do not find enough, or are too slow: what was measured."""

PLANTED: Mapping[str, tuple[str, ...]] = {"tests/mutation/planted.py": ("tests/mutation/planted_tests.py",)}
"""Not part of the core: it shows that what no test asks for survives."""
