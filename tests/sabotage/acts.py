"""The acts of sabotage: one guard of loom's taken away each, and the tests that have to miss it.

To add one: name the function that holds the guard, the line of it that goes and what is written instead, and the tests
of that room. `make sabotage` fails where an act survives, and where the line is not there any more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACTS", "Act"]


@dataclass(frozen=True)
class Act:
    """One guard taken away: in `function` of `file`, `line` is replaced by `instead`; `tests` have to fail."""

    name: str
    file: str
    function: str
    """The function, or `Class.function`."""
    line: str
    """What is in the function exactly once."""
    instead: str
    tests: tuple[str, ...]


ACTS: tuple[Act, ...] = (
    Act(
        "a limit below one is let through",
        "loom/identity.py",
        "check_limit",
        "if limit < 1:",
        "if limit < -100:",
        ("tests/test_limits.py",),
    ),
    Act(
        "NaN is admitted",
        "loom/journal/admission.py",
        "_number",
        "if not math.isfinite(value):",
        "if False:",
        ("tests/journal/test_admission.py",),
    ),
    Act(
        "a body is hashed without its salt",
        "loom/journal/chain.py",
        "body_digest",
        "hashlib.sha256(salt + body)",
        "hashlib.sha256(body)",
        ("tests/journal/test_chain.py",),
    ),
    Act(
        "another command under a known id is taken for the same one",
        "loom/actors/post.py",
        "_check_same",
        "elif _canonical(first) != _canonical(entry):",
        "elif False:",
        ("tests/actors/test_commands.py",),
    ),
    Act(
        "an actor may ask in a circle",
        "loom/actors/post.py",
        "Post._check_circle",
        "if at == sender.cell.journal:",
        "if False:",
        ("tests/actors/test_asking.py",),
    ),
    Act(
        "equal steps in flight are not told apart",
        "loom/actors/turn.py",
        "Turn.step",
        "if (verb, key) in self._in_flight and verb not in _IMMEDIATE:",
        "if False:",
        ("tests/actors/test_turn.py",),
    ),
    Act(
        "a version whose document does not give its hash is loaded",
        "loom/policies/registry.py",
        "_check",
        "if version_hash(entry.document) != entry.hash:",
        "if False:",
        ("tests/policies/test_registry.py",),
    ),
)
