"""Filling in what decisions refer to, as plain JSON: look-ups and answers out of their own entries, a page at a time.

An entry that is not there, has no body any more or has another digest than the decision says is said to be gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from loom.decisions.decision import ApprovalReference
from loom.decisions.entries import approval_at, input_at
from loom.journal.entry import Recorded, StepReference, Steps
from loom.projections import Entries

__all__ = ["Referred", "filled", "steps_of"]

Referred: TypeAlias = Literal["inputs", "approvals"]
"""What of a decision may be referred to."""


async def steps_of(
    entries: Entries, refers: Iterable[tuple[str, Mapping[str, Any] | None]], names: Collection[Referred]
) -> Steps:
    """Return the entries that decisions refer to under some names, out of journals with what each refers to."""
    wanted = {
        (journal, reference[0])
        for journal, said in refers
        if said is not None
        for name in names
        for reference in said.get(name) or ()
    }
    return await entries.steps(wanted) if wanted else {}


def filled(name: Referred, journal: str, refers: Mapping[str, Any], steps: Steps) -> list[dict[str, Any]]:
    """Return the look-ups or answers that a decision refers to, as it would have them itself."""
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
