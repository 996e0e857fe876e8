"""Fill in what decisions refer to, as plain JSON: look-ups and answers from their own entries, a page at a time.

An entry that is missing or pruned, or that has another digest than the decision says, is marked as gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from loom.decisions.decision import ApprovalReference
from loom.decisions.entries import approval_at, input_at
from loom.journal.entry import Recorded, StepReference, Steps
from loom.journal.store import JournalReader

__all__ = ["Referred", "filled", "steps_of"]

Referred: TypeAlias = Literal["inputs", "approvals"]
"""The parts of a decision that may be references."""


async def steps_of(
    entries: JournalReader, refers: Iterable[tuple[str, Mapping[str, Any] | None]], names: Collection[Referred]
) -> Steps:
    """Return the entries that decisions refer to under some names; `refers` has the references with their journals."""
    wanted = {
        (journal, reference[0])
        for journal, references in refers
        if references is not None
        for name in names
        for reference in references.get(name) or ()
    }
    return await entries.steps(wanted) if wanted else {}


def filled(name: Referred, journal: str, refers: Mapping[str, Any], steps: Steps) -> list[dict[str, Any]]:
    """Return the look-ups or answers that a decision refers to, in the form of its own."""
    sound: dict[int, Recorded] = {}
    for at, digest, *_ in refers.get(name) or ():
        step = steps.get((journal, at))
        if step is not None and step.body_digest.hex() == digest:
            sound[at] = step
    if name == "inputs":
        inputs = [StepReference(*each) for each in refers.get(name) or ()]
        return [input_at(each, sound).model_dump(mode="json") for each in inputs]
    answers = [ApprovalReference(*each) for each in refers.get(name) or ()]
    return [
        approval_at(each, sound[each.sequence]).model_dump(mode="json") for each in answers if each.sequence in sound
    ]
