"""Compare rows of decisions with the decisions' own entries, and with the ends of their turns.

To read an entry costs some microseconds, so rows are confirmed by the page: one look-up for their entries, one for the
ends of their turns. A row that differs from the journal is left out: a view can hide rows, but not invent them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.decisions.imports import ImportEnds
from loom.decisions.referring import Referred
from loom.decisions.rows import ROW, Header, decision_row, decisions_at, written_decision
from loom.errors import ErasedError
from loom.journal.entry import Part, Recorded
from loom.journal.kinds import ENDINGS, OWN_IDS, CommandReceivedEntry
from loom.journal.store import JournalReader
from loom.projections import Queries, Row
from loom.projections.confirming import differing

__all__ = ["OF_COMMANDS", "Commands", "Confirmed", "DecisionStatus", "TurnEnds", "confirmed_decisions", "confirmed_one"]

DecisionStatus: TypeAlias = Literal["open", "settled", "failed", "abandoned"]

_STATUSES: Mapping[str, DecisionStatus] = {
    "turn_completed": "settled",
    "turn_failed": "failed",
    "turn_abandoned": "abandoned",
}
_SAME_FIELDS = (3, CommandReceivedEntry.schema_version)
"""Schemas of commands whose fields below are those of the present one."""

OF_COMMANDS = ("command_type", "by", "identity_source", "via", "correlation_id")


class Confirmed(NamedTuple):
    """A row as the journal gives it, the place of its decision, and the requested part of the decision."""

    row: dict[str, Any]
    header: Header
    decision: Mapping[str, Any]


class TurnEnds:
    """How turns ended, from the journal."""

    def __init__(self, endings: Iterable[Recorded], imports: ImportEnds | None = None) -> None:
        self._imports = imports or ImportEnds()
        self._of: dict[tuple[str, str | None], list[Recorded]] = {}
        for ending in endings:
            if ending.kind in ENDINGS:
                self._of.setdefault((ending.journal, ending.command_id), []).append(ending)

    @classmethod
    async def of(cls, queries: Queries, recorded: Iterable[Header]) -> TurnEnds:
        """Return the ends of the turns and imports that some entries belong to."""
        recorded = list(recorded)
        turns = {
            (each.journal, each.command_id)
            for each in recorded
            if each.command_id is not None and each.kind not in OWN_IDS
        }
        imports = await imports_of(queries) if any(each.kind in OWN_IDS for each in recorded) else None
        return cls(await queries.entries.marks(turns) if turns else (), imports)

    def status(self, recorded: Header, *, run_id: str | None = None) -> DecisionStatus:
        """Return the present status of a decision: that of its turn, or of the import that wrote it."""
        if recorded.kind in OWN_IDS:
            return self._imports.status(run_id)
        if recorded.command_id is None:
            return "settled"
        ends = [each.kind for each in self._later(recorded)]  # a later attempt may have succeeded
        return _STATUSES[ends[-1]] if ends else "open"

    def excluded(self, recorded: Header, *, run_id: str | None = None) -> str | None:
        """Return why a decision is no precedent: its turn `failed` or was `abandoned`, or its import is `unfinished`.

        None where it is a precedent.
        """
        if recorded.kind in OWN_IDS:
            return EXCLUDED[self._imports.status(run_id)]
        status = self.status(recorded)
        return status if status in ("failed", "abandoned") else None

    def ended_between(self, received: Header, recorded: Header) -> bool:
        """Tell whether a turn had ended already when an entry of it was written."""
        return any(
            received.position < each.position < recorded.position
            for each in self._of.get((recorded.journal, recorded.command_id), ())
        )

    def _later(self, recorded: Header) -> Iterable[Recorded]:
        turn = (recorded.journal, recorded.command_id)
        return (each for each in self._of.get(turn, ()) if each.position > recorded.position)


EXCLUDED: Mapping[DecisionStatus, str | None] = {
    "open": "unfinished",
    "settled": None,
    "failed": "failed",
    "abandoned": "abandoned",
}
"""Why imported decisions are no precedents, by the status of the import."""


async def imports_of(queries: Queries) -> ImportEnds:
    """Return how imports ended, as of now."""
    return await queries.kept(ImportEnds).load(queries.entries)


class Commands:
    """What decisions take over from the commands of their turns, from the journal."""

    def __init__(self, received: Mapping[tuple[str, str], Part]) -> None:
        self._of = received

    @classmethod
    async def of(cls, entries: JournalReader, turns: Collection[tuple[str, str]]) -> Commands:
        """Return the commands of some turns."""
        if not turns:
            return cls({})
        found = await entries.commands(turns, OF_COMMANDS)
        for turn, part in found.items():
            if part.schema_version not in _SAME_FIELDS and part.values is not None:
                recorded = await entries.find_command(*turn)
                plain = None if recorded is None else recorded.plain
                values = None if plain is None else tuple(plain.get(name) for name in OF_COMMANDS)
                found = {**found, turn: part._replace(values=values)}
        return cls(found)

    def values(self, header: Header, ends: TurnEnds) -> dict[str, object] | None:
        """Return what a decision takes over from the command of its turn; None where that is no longer readable."""
        received = None if header.kind in OWN_IDS else self._of.get((header.journal, str(header.command_id)))
        if received is None or received.position > header.position or ends.ended_between(received, header):
            return dict.fromkeys(OF_COMMANDS)
        return None if received.values is None else dict(zip(OF_COMMANDS, received.values, strict=True))


RowMaker: TypeAlias = Callable[[Header, Mapping[str, Any]], Mapping[str, object]]
"""Returns the expected row of a decision."""

_Found: TypeAlias = tuple[Header, Mapping[str, Any] | None]


async def confirmed_decisions(
    queries: Queries,
    rows: Sequence[Row],
    *,
    table: str = "trace_decisions",
    make_row: RowMaker = decision_row,
    names: Sequence[str] = ROW,
    joined: Collection[Referred] = (),
) -> list[Confirmed]:
    """Return the rows that match their entries, with their present status if they have that column.

    A row has its `position`. `make_row` makes the expected row from the `names` of its decision; those that are
    `joined` are read from the entries that it refers to. Columns that it does not return are passed on as they are.
    Two cases are left out without a difference: pruned decisions, which a rebuilt view does not have, and decisions
    that a view does not know to be `excluded` yet, because it lags.
    """
    if not rows:
        return []
    found, ends, commands = await _looked_up(queries, rows, names, joined)
    if "sealed_class" in names:
        found = await _with_classes(queries, found)
    kept: list[Confirmed] = []
    for row in rows:
        header, decision = found.get(row["position"], (None, None))
        if header is not None and decision is None:
            continue
        confirmed, problem = _confirm(row, header, decision, ends, commands, make_row)
        if confirmed is not None:
            kept.append(confirmed)
        elif problem is not None:
            queries.differences.add(table, row["position"], problem)
    return kept


async def _with_classes(queries: Queries, found: Mapping[int, _Found]) -> Mapping[int, _Found]:
    """Return decisions with their sealed classes opened, where this process has the keys."""
    opened = dict(found)
    for position, (header, decision) in found.items():
        if decision is not None and decision["sealed_class"] is not None and queries.opener is not None:
            alike = await queries.opener.opened(decision["sealed_class"])
            opened[position] = header, {**decision, "precedent_class": alike}
    return opened


async def confirmed_one(queries: Queries, row: Row) -> tuple[Confirmed, Recorded]:
    """Return the confirmed row of one decision, and its entry.

    Raises `ErasedError` where its body is pruned, `ViewsDifferError` where the row differs from its entry.
    """
    recorded = (await queries.entries.at([row["position"]])).get(row["position"])
    if recorded is not None and recorded.body is None:
        raise ErasedError(
            f"decision [{row['decision_id']}] has no body any more; expected one that was not pruned: read it in the "
            "archive that was made before"
        )
    read = [] if recorded is None else [recorded]
    ends = await TurnEnds.of(queries, read)
    commands = await Commands.of(queries.entries, _turns_of(read))
    decision = None if recorded is None else written_decision(recorded)
    confirmed, problem = _confirm(row, recorded, decision, ends, commands, decision_row)
    if confirmed is None or recorded is None:
        raise queries.differences.add("trace_decisions", row["position"], problem or "")
    return confirmed, recorded


async def _looked_up(
    queries: Queries, rows: Sequence[Row], names: Sequence[str], joined: Collection[Referred]
) -> tuple[Mapping[int, _Found], TurnEnds, Commands]:
    """Return the decisions of rows, the ends of their turns and imports, and their commands."""
    entries = queries.entries
    columns = frozenset(rows[0].keys())
    at = decisions_at(entries, [row["position"] for row in rows], names, joined=joined)
    of_commands = bool(columns & set(OF_COMMANDS))
    if not of_commands and not columns & {"status", "excluded"}:
        return await at, TurnEnds(()), Commands({})
    if not columns >= {"journal", "command_id"}:
        found = await at
        headers = [header for header, _ in found.values()]
        turns, ends = _turns_of(headers), await TurnEnds.of(queries, headers)
    else:
        turns = {(row["journal"], row["command_id"]) for row in rows if row["command_id"] is not None}
        found, marks = await asyncio.gather(at, entries.marks(turns))
        observed = any(header.kind in OWN_IDS for header, _ in found.values())
        ends = TurnEnds(marks, await imports_of(queries) if observed else None)
    return found, ends, await Commands.of(entries, turns) if of_commands else Commands({})


def _turns_of(headers: Iterable[Header]) -> set[tuple[str, str]]:
    return {
        (each.journal, each.command_id) for each in headers if each.command_id is not None and each.kind not in OWN_IDS
    }


def _confirm(
    row: Row,
    header: Header | None,
    decision: Mapping[str, Any] | None,
    ends: TurnEnds,
    commands: Commands,
    make_row: RowMaker,
) -> tuple[Confirmed | None, str | None]:
    if header is None or decision is None:
        return None, "there is no decision at its position"
    plain = dict(row)
    expected = dict(make_row(header, decision))
    if not plain.keys().isdisjoint(OF_COMMANDS):
        known = commands.values(header, ends)
        expected |= dict.fromkeys(OF_COMMANDS) if known is None else known
        plain |= dict.fromkeys(plain.keys() & set(OF_COMMANDS)) if known is None else {}
    if (problem := differing(plain, expected)) is not None:
        return None, problem
    if "status" in plain:
        status = ends.status(header, run_id=decision.get("run_id"))
        if plain["status"] not in ("open", status):  # a view that lags may still show an ended turn as open
            return None, f"its turn is {status}"
        plain["status"] = status
    if "excluded" in plain:
        excluded = ends.excluded(header, run_id=decision.get("run_id"))
        if excluded != plain["excluded"]:
            lags = plain["excluded"] in (None, "unfinished")
            return None, None if lags else f"its turn is not {plain['excluded']} but {excluded}"
    return Confirmed(plain, header, decision), None
