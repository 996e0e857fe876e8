"""Turns compared with their entries: what the view of turns omits or invents has no effect.

The entries of a turn give its requester and command, its end, and its pending requests. For the attempts and decisions
of an unfinished turn, lists use the view; a query for a single turn uses its entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry, TurnDivergedEntry
from loom.journal.store import JournalReader
from loom.projections import Differences, Projection, Row
from loom.projections.confirming import refolded

__all__ = ["TurnsInJournal"]

_OF_THE_VIEW = ("attempts", "pending_effects", "open_waits", "decisions", "last_position")
"""The columns of an unfinished turn that its marks do not give."""

_OPEN = frozenset({"received", "running", "stuck"})


class TurnsInJournal:
    """Reads turns out of the journal; `projection` is the one whose rows they are compared with."""

    def __init__(self, entries: JournalReader, projection: Projection, differences: Differences) -> None:
        self._entries = entries
        self._projection = projection
        self._differences = differences

    async def unfinished(self, *, journal: str | None, after: int, page: int) -> AsyncIterator[list[Recorded]]:
        """Yield the commands of turns without an end, oldest first, so many at a time."""
        found: list[Recorded] = []
        async for received in self._entries.unfinished():
            if received.position > after and journal in (None, received.journal):
                found.append(received)
            if len(found) == page:
                yield found
                found = []
        if found:
            yield found

    async def received(self, row: Row) -> Recorded | None:
        """Return the command of the turn that a row names, or None where the journal has no such turn."""
        position = row["received_position"]
        found = (await self._entries.at([position])).get(position)
        same = found is not None and _names(found) == (row["journal"], row["command_id"])
        return found if same else None

    async def whole(self, received: Recorded) -> dict[str, Any]:
        """Return the row of one turn, folded from all its entries."""
        marks = await self._entries.marks([(received.journal, str(received.command_id))])
        end = next((each.sequence for each in marks if each.kind in ENDINGS), None)
        entries = self._entries.read(received.journal, after=received.sequence - 1, until=end)
        mine = [each async for each in entries if each.command_id == received.command_id]
        late = [each for each in marks if end is not None and each.sequence > end]
        return self._refolded([*mine, *late])[received.position]

    async def confirmed(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return the rows as their entries give them; rows without a turn are left out, and noted."""
        listed = list(rows)
        found = await self._entries.at({row["received_position"] for row in listed})
        return await self._confirmed(listed, found)

    async def confirmed_unfinished(self, received: Iterable[Recorded], rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return the rows of turns without an end; a row that is missing in the view, or wrong, is folded again."""
        commands = {each.position: each for each in received}
        known = {row["received_position"]: row for row in await self._confirmed(rows, commands)}
        hidden = {at: await self.whole(each) for at, each in commands.items() if at not in known}
        return [row for at in sorted(commands) if (row := (known | hidden)[at])["ended_at_us"] is None]

    async def _confirmed(self, rows: Iterable[Row], found: Mapping[int, Recorded]) -> list[dict[str, Any]]:
        received = [each for each in found.values() if each.kind == CommandReceivedEntry.kind]
        marks = await self._entries.marks({_names(each) for each in received}) if received else ()
        listed = list(rows)
        made = self._refolded([*received, *marks, *await self._divergences(listed)])
        kept = []
        for row in listed:
            folded = made.get(row["received_position"])
            if folded is not None and (folded["journal"], folded["command_id"]) == (row["journal"], row["command_id"]):
                kept.append(_merged(row, folded))
            else:
                self._differences.add("turns", row["received_position"], "no entry gives it")
        return kept

    async def _divergences(self, rows: Iterable[Row]) -> list[Recorded]:
        """Return the divergences of unfinished turns; they are no marks, as few turns have one."""
        at = {
            row["diverged_position"]: (row["journal"], row["command_id"]) for row in rows if row["ended_at_us"] is None
        }
        found = await self._entries.at({position for position in at if position is not None})
        return [
            each
            for position, each in found.items()
            if each.kind == TurnDivergedEntry.kind and _names(each) == at[position]
        ]

    def _refolded(self, entries: Iterable[Recorded]) -> dict[int, dict[str, Any]]:
        return {row["received_position"]: dict(row) for row in refolded(self._projection, entries, "turns")}


def _merged(row: Row, folded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a turn as its entries give it, with the columns that only the view counts."""
    merged = dict(folded)
    if folded["ended"] is not None:
        return merged | {"decisions": row["decisions"]}
    merged |= {name: row[name] for name in _OF_THE_VIEW}
    if folded["status"] != "parked":
        waits = row["open_waits"] > 0 and row["status"] == "parked"
        merged["status"] = row["status"] if waits or row["status"] in _OPEN else "running"
    elif row["status"] == "stuck":
        merged["status"] = "stuck"
    return merged


def _names(received: Recorded) -> tuple[str, str]:
    return received.journal, str(received.command_id)
