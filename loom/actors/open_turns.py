"""Turns without an end, with all their entries, read from the journal: each journal once, however many it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from loom.actors.change_entries import VersionMarkedEntry
from loom.identity import parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader

__all__ = ["BranchInFlight", "branches_in_flight", "open_turns"]


class BranchInFlight(BaseModel):
    """One branch of a change of an actor's code, and the turns without an end that follow it.

    `version` is None for those that have not asked for the change, or not yet.
    """

    model_config = ConfigDict(frozen=True)

    actor_type: str
    change: str
    version: int | None
    turns: int
    oldest: datetime
    """When the oldest of them was received."""
    example: str
    """The command id of that one."""


async def open_turns(store: JournalReader) -> AsyncIterator[list[Recorded]]:
    """Yield the entries of each turn without an end, journal by journal; one that ends meanwhile is left out."""
    wanted: dict[str, dict[str, int]] = defaultdict(dict)
    async for received in store.unfinished():
        wanted[received.journal][str(received.command_id)] = received.sequence
    for journal, commands in sorted(wanted.items()):
        turns: dict[str, list[Recorded]] = {}
        async for recorded in store.read(journal, after=min(commands.values()) - 1):
            if recorded.command_id in commands and recorded.sequence >= commands[recorded.command_id]:
                turns.setdefault(recorded.command_id, []).append(recorded)
        for entries in turns.values():
            yield entries


async def branches_in_flight(store: JournalReader) -> list[BranchInFlight]:
    """Return the branches of changed code that turns without an end follow, by actor type, change and version."""
    received: dict[str, list[Recorded]] = defaultdict(list)
    marked: dict[tuple[str, str], dict[tuple[str, str], int]] = defaultdict(dict)
    async for entries in open_turns(store):
        first = entries[0]
        actor_type = parse_journal_name(first.journal).actor_type
        received[actor_type].append(first)
        for each in entries:
            if isinstance(each.entry, VersionMarkedEntry):
                marked[actor_type, each.entry.change][first.journal, str(first.command_id)] = each.entry.version
    found = []
    for (actor_type, change), versions in marked.items():
        by_version: dict[int | None, list[Recorded]] = defaultdict(list)
        for first in received[actor_type]:
            by_version[versions.get((first.journal, str(first.command_id)))].append(first)
        found += [_branch(actor_type, change, version, turns) for version, turns in by_version.items()]
    return sorted(found, key=lambda each: (each.actor_type, each.change, each.version or 0))


def _branch(actor_type: str, change: str, version: int | None, turns: list[Recorded]) -> BranchInFlight:
    oldest = min(turns, key=lambda each: each.position)
    return BranchInFlight(
        actor_type=actor_type,
        change=change,
        version=version,
        turns=len(turns),
        oldest=oldest.recorded_at,
        example=str(oldest.command_id),
    )
