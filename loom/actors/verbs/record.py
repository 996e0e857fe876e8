"""The verb `record`: journals an entry of the user's own."""

from __future__ import annotations

from loom.actors.keeping import names_of, subject_of_turn
from loom.actors.protected_entries import declared_entry, kept_entry
from loom.actors.turn import Turn
from loom.actors.verbs.shared import once
from loom.errors import AdmissionError
from loom.journal.admission import json_value
from loom.journal.entry import Entry, PersonEntry, Step
from loom.sealing import subjects_in, texts_in
from loom.sealing.declaring import Parts

__all__ = ["record"]

_OWN = ("loom.journal.", "loom.policies.", "loom.decisions.", "loom.actors.", "loom.standings.", "loom.reactors.")
_BASES = (Entry, PersonEntry)


async def record(turn: Turn, entry: Entry, *, key: str | None) -> None:
    """See `Actor.record`."""
    own = next((cls for cls in type(entry).__mro__ if cls.__module__.startswith(_OWN) and cls not in _BASES), None)
    if own is not None and issubclass(own, Entry):
        raise AdmissionError(
            f"kind [{getattr(type(entry), 'kind', '-')}] is loom's own [{own.__name__}]; expected an entry of yours: "
            "subclass Entry, or use the verb for it"
        )
    declared = declared_entry(type(entry))
    with turn.step("record", key or type(entry).kind, waits=False) as step:
        entry = entry.model_copy(update={"step": step})
        if declared:
            await _protected(turn, step, entry, declared)
            return
        json_value(entry.model_dump(), limits=turn.services.limits)  # bytes and the like hide from a serialiser
        await once(turn, step, entry)


async def _protected(turn: Turn, step: Step, entry: Entry, declared: Parts) -> None:
    """Journal an entry with declared fields: sealing gives the same result whenever the step runs."""
    kept = await kept_entry(
        entry,
        declared,
        vault=turn.services.vault,
        subject=subject_of_turn(turn),
        names=names_of(turn),
        once=f"{turn.command_id} {step.verb} {step.key} {step.occurrence}",
    )
    json_value(kept.plain, limits=turn.services.limits)
    turn.protected.add(
        subjects_in(kept.plain, declared, subject=kept.subject), texts_in(kept.plain, declared, subject=kept.subject)
    )
    await once(turn, step, kept.written, seen=kept.seen)
