"""The verb `record`: journals an entry of the user's own."""

from __future__ import annotations

from loom.actors.turn import Turn
from loom.actors.verbs.shared import once
from loom.errors import AdmissionError
from loom.journal.admission import json_value
from loom.journal.entry import Entry, PersonEntry

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
    with turn.step("record", key or type(entry).kind) as step:
        entry = entry.model_copy(update={"step": step})
        json_value(entry.model_dump(), limits=turn.services.limits)  # bytes and the like hide from a serialiser
        await once(turn, step, entry)
