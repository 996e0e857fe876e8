"""The core, whose mutants are tried: each module, and the test files that judge it.

Which test of these runs a line is measured. Tests that start processes judge only what runs in their own.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CORE", "NOT_YET", "PLANTED"]

CORE: Mapping[str, tuple[str, ...]] = {
    "loom/absent.py": ("tests/test_absent.py",),
    "loom/actors/turn.py": ("tests/actors/test_turn_alone.py",),
    "loom/actors/turn_lock.py": ("tests/actors/test_turn_lock.py",),
    "loom/actors/turn_runner.py": ("tests/actors/test_turn_runner.py",),
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
    "loom/journal/sqlite/queue.py": ("tests/journal/test_queue.py",),
    "loom/journal/sqlite/heads.py": ("tests/journal/test_heads.py",),
    "loom/journal/sqlite/staging.py": ("tests/journal/test_sqlite_writer.py", "tests/journal/test_staging.py"),
    "loom/journal/sqlite/housekeeping.py": ("tests/journal/test_housekeeping.py",),
    "loom/journal/sqlite/writer_connection.py": (
        "tests/journal/test_writer_connection.py",
        "tests/journal/test_sqlite_writer.py",
    ),
    "loom/journal/sqlite/writer.py": ("tests/journal/test_sqlite_writer.py",),
    "loom/journal/sqlite/files.py": ("tests/journal/test_files.py",),
    "loom/journal/sqlite/connection.py": ("tests/journal/test_connection.py",),
    "loom/policies/canonical.py": ("tests/policies/test_canonical.py", "tests/policies/test_identity.py"),
    "loom/policies/evaluation.py": ("tests/policies/test_evaluation.py", "tests/policies/test_policy.py"),
    "loom/policies/registry.py": ("tests/policies/test_registry.py", "tests/policies/test_adoption.py"),
    "loom/proof/notes.py": ("tests/proof/test_notes.py",),
    "loom/proof/tree.py": ("tests/proof/test_tree.py",),
    "loom/projections/projector.py": ("tests/projections/test_following.py",),
    "loom/projections/writer.py": ("tests/projections/test_writer.py",),
    "loom/spend/guard.py": ("tests/spend/test_guard.py",),
}

NOT_YET: Mapping[str, str] = {
    "loom/actors/cell.py": "no score was taken",
    "loom/actors/parking.py": "no score was taken",
    "loom/actors/recovery.py": "no score was taken",
    "loom/actors/stalling.py": "no score was taken",
    "loom/actors/steps.py": "no score was taken",
    "loom/actors/verbs": "no score was taken",
    "loom/decisions": "no score was taken",
    "loom/journal/entry.py": "no score was taken",
    "loom/journal/following.py": "no score was taken",
    "loom/journal/sqlite/reader.py": "no score was taken",
    "loom/journal/sqlite/reading.py": "no score was taken",
    "loom/journal/sqlite/scan.py": "no score was taken",
    "loom/journal/sqlite/store.py": "no score was taken",
    "loom/journal/sqlite/upgrade.py": "no score was taken",
    "loom/journal/sqlite/verify.py": "no score was taken",
    "loom/projections/joining.py": "no score was taken",
    "loom/projections/source.py": "no score was taken",
    "loom/projections/verifying.py": "no score was taken",
}
"""What belongs to the core, and is not in it as its tests do not find enough, or are too slow: what was measured."""

PLANTED: Mapping[str, tuple[str, ...]] = {"tests/mutation/planted.py": ("tests/mutation/planted_tests.py",)}
"""Not part of the core: it shows that what no test asks for survives."""
