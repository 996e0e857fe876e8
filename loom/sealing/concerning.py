"""What there is of subjects in the journals: whose values are sealed where, and every entry that concerns one of them.

It is read from the journals themselves, all of them: a view could hide something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from loom.identity import parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.export import Readable
from loom.sealing.markers import SealedValue, placeholder_of

__all__ = ["Found", "concerning", "count_subjects", "sealed_in", "sealed_values", "with_sealed"]

_MARK = b'"$sealed"'
_OF_LOOM = (
    "subject_erasure_begun",
    "subject_erased",
    "subject_hold_placed",
    "subject_hold_lifted",
    "subject_handed_out",
    "sealed_opened",
)


@dataclass(slots=True)
class Found:
    """What is sealed for a subject: how many values in how many entries, of which journals, and when the last was."""

    subject: str
    values: int = 0
    entries: int = 0
    journals: set[str] = field(default_factory=set)
    generation: int = 0
    """The newest generation of keys among them."""
    last: Recorded | None = None


async def count_subjects(source: Readable, *, until: int | None = None) -> dict[str, Found]:
    """Return what is sealed for each subject, by name."""
    found: dict[str, Found] = {}
    async for recorded in source.read_all(until=until):
        values = list(sealed_in(recorded))
        for subject in {each.subject for each in values}:
            mine = found.setdefault(subject, Found(subject))
            own = [each.generation for each in values if each.subject == subject]
            mine.values += len(own)
            mine.entries += 1
            mine.journals.add(recorded.journal)
            mine.generation = max(mine.generation, *own)
            mine.last = recorded
    return found


async def concerning(source: Readable, subject: str, *, until: int | None = None) -> AsyncIterator[Recorded]:
    """Stream every entry that concerns a subject, by position.

    Those are entries with a value that is sealed for it, all entries of the turns that have such a one, the journals
    of actors whose key is its name, and what loom wrote of its erasure, its holds and of handing it out.
    """
    turns = {
        (recorded.journal, recorded.command_id)
        async for recorded in source.read_all(until=until)
        if recorded.command_id is not None and any(each.subject == subject for each in sealed_in(recorded))
    }
    async for recorded in source.read_all(until=until):
        if (
            (recorded.journal, recorded.command_id) in turns
            or parse_journal_name(recorded.journal).key == subject
            or (recorded.kind in _OF_LOOM and _names(recorded.plain or {}, subject))
            or any(each.subject == subject for each in sealed_in(recorded))
        ):
            yield recorded


def _names(body: Mapping[str, Any], subject: str) -> bool:
    return body.get("subject") == subject or subject in body.get("subjects", ())


def sealed_in(recorded: Recorded) -> Iterator[SealedValue]:
    """Yield the sealed values in the body of an entry."""
    if recorded.body is not None and _MARK in recorded.body:
        yield from sealed_values(recorded.body_json())


def sealed_values(value: Any) -> Iterator[SealedValue]:
    """Yield the sealed values in JSON."""
    sealed = placeholder_of(value)
    if isinstance(sealed, SealedValue):
        yield sealed
    elif isinstance(value, dict):
        for each in value.values():
            yield from sealed_values(each)
    elif isinstance(value, list):
        for each in value:
            yield from sealed_values(each)


def with_sealed(value: JsonValue, give: Callable[[SealedValue], JsonValue]) -> JsonValue:
    """Return JSON with something else in the place of each sealed value."""
    sealed = placeholder_of(value)
    if isinstance(sealed, SealedValue):
        return give(sealed)
    if isinstance(value, dict):
        return {name: with_sealed(each, give) for name, each in value.items()}
    return [with_sealed(each, give) for each in value] if isinstance(value, list) else value
