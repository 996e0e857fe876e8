"""Holding what views say of decisions against the decisions' own entries, and against what their turns came to.

Reading an entry costs some microseconds, so rows are confirmed by the page: one look-up for their entries, one for the
ends of their turns. A row that says something else than the journal is left out: a view can hide, but not invent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.decisions.rows import decision_row, written_decision
from loom.errors import ErasedError
from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS
from loom.projections import Entries, Queries, Row
from loom.projections.confirming import differing

__all__ = ["Confirmed", "DecisionStatus", "TurnEnds", "confirmed_decisions", "confirmed_one"]

DecisionStatus: TypeAlias = Literal["open", "settled", "failed", "abandoned"]

_STATUSES: Mapping[str, DecisionStatus] = {
    "turn_completed": "settled",
    "turn_failed": "failed",
    "turn_abandoned": "abandoned",
}
_OF_COMMANDS = ("command_type", "by", "correlation_id")


class Confirmed(NamedTuple):
    """A row as the journal gives it, and the entry of its decision."""

    row: dict[str, Any]
    recorded: Recorded

    @property
    def decision(self) -> Mapping[str, Any]:
        """The decision as it was written."""
        written = written_decision(self.recorded)
        assert written is not None  # noqa: S101 - it was confirmed
        return written


class TurnEnds:
    """How turns ended, out of the journal."""

    def __init__(self, endings: Iterable[Recorded]) -> None:
        self._of: dict[tuple[str, str | None], list[Recorded]] = {}
        for ending in endings:
            if ending.kind in ENDINGS:
                self._of.setdefault((ending.journal, ending.command_id), []).append(ending)

    @classmethod
    async def of(cls, entries: Entries, recorded: Iterable[Recorded]) -> TurnEnds:
        """Return how the turns ended that some entries belong to."""
        turns = {(each.journal, each.command_id) for each in recorded if each.command_id is not None}
        return cls(await entries.marks(turns) if turns else ())

    def status(self, recorded: Recorded) -> DecisionStatus:
        """Return what became of the turn of a decision, since."""
        if recorded.command_id is None:
            return "settled"
        return next((_STATUSES[each.kind] for each in self._later(recorded)), "open")

    def excluded(self, recorded: Recorded) -> str | None:
        """Return why a decision is no precedent: its turn `failed` or was `abandoned`; None where it is one."""
        kinds = (each.kind for each in self._later(recorded))
        return next((kind.removeprefix("turn_") for kind in kinds if kind in ("turn_failed", "turn_abandoned")), None)

    def ended_between(self, received: Recorded, recorded: Recorded) -> bool:
        """Tell whether a turn had ended already when an entry of it was written."""
        return any(
            received.position < each.position < recorded.position
            for each in self._of.get((recorded.journal, recorded.command_id), ())
        )

    def _later(self, recorded: Recorded) -> Iterable[Recorded]:
        turn = (recorded.journal, recorded.command_id)
        return (each for each in self._of.get(turn, ()) if each.position > recorded.position)


async def confirmed_decisions(
    queries: Queries,
    rows: Sequence[Row],
    *,
    table: str = "trace_decisions",
    told: Callable[[Recorded, Mapping[str, Any]], dict[str, object]] = decision_row,
) -> list[Confirmed]:
    """Return the rows that are what their entries say, with the status of now where they have one.

    A row has its `position`; `told` makes what it should say of its entry. Columns that nobody tells are passed on as
    they are. Left out without a word are what was pruned, which a view that is rebuilt knows nothing of, and what a
    view that lags does not know to be `excluded` yet.
    """
    if not rows:
        return []
    kept: list[Confirmed] = []
    for row, confirmed, problem in await _held(queries.entries, rows, told):
        if confirmed is not None:
            kept.append(confirmed)
        elif problem is not None:
            queries.differences.add(table, row["position"], problem)
    return kept


async def confirmed_one(queries: Queries, row: Row) -> Confirmed:
    """Return the row of one decision that is asked for.

    Raises `ErasedError` where its body is gone, `ViewsDifferError` where the row is not what its entry says.
    """
    [(_, confirmed, problem)] = await _held(queries.entries, [row], decision_row)
    if confirmed is not None:
        return confirmed
    if problem is not None:
        raise queries.differences.add("trace_decisions", row["position"], problem)
    raise ErasedError(
        f"decision [{row['decision_id']}] has no body any more; expected one that was not pruned: read it in the "
        "archive that was made before"
    )


async def _held(
    entries: Entries, rows: Sequence[Row], told: Callable[[Recorded, Mapping[str, Any]], dict[str, object]]
) -> list[tuple[Row, Confirmed | None, str | None]]:
    """Return each row as its entries give it, or what speaks against it; neither where its body is gone."""
    found, ends = await _looked_up(entries, rows)
    held: list[tuple[Row, Confirmed | None, str | None]] = []
    for row in rows:
        recorded = found.get(row["position"])
        if recorded is not None and recorded.body is None:
            held.append((row, None, None))
        else:
            held.append((row, *await _confirm(entries, row, recorded, ends, told)))
    return held


async def _looked_up(entries: Entries, rows: Sequence[Row]) -> tuple[Mapping[int, Recorded], TurnEnds]:
    """Return the entries of rows, and how their turns ended where the rows rest on that."""
    names, at = frozenset(rows[0].keys()), entries.at({row["position"] for row in rows})
    if not names & {"status", "excluded", *_OF_COMMANDS}:
        return await at, TurnEnds(())
    if not names >= {"journal", "command_id"}:
        found = await at
        return found, await TurnEnds.of(entries, found.values())
    turns = {(row["journal"], row["command_id"]) for row in rows if row["command_id"] is not None}
    found, marks = await asyncio.gather(at, entries.marks(turns))
    return found, TurnEnds(marks)


async def _confirm(
    entries: Entries,
    row: Row,
    recorded: Recorded | None,
    ends: TurnEnds,
    told: Callable[[Recorded, Mapping[str, Any]], dict[str, object]],
) -> tuple[Confirmed | None, str | None]:
    decision = None if recorded is None else written_decision(recorded)
    if recorded is None or decision is None:
        return None, "there is no decision at its position"
    plain = dict(row)
    said = told(recorded, decision)
    if not plain.keys().isdisjoint(_OF_COMMANDS):
        known = await _of_command(entries, recorded, ends)
        said |= dict.fromkeys(_OF_COMMANDS) if known is None else known
        plain |= dict.fromkeys(plain.keys() & set(_OF_COMMANDS)) if known is None else {}
    if (problem := differing(plain, said)) is not None:
        return None, problem
    if "status" in plain:
        status = ends.status(recorded)
        if plain["status"] not in ("open", status):  # a view that lags may still show what has ended as open
            return None, f"its turn is {status}"
        plain["status"] = status
    if "excluded" in plain and (excluded := ends.excluded(recorded)) != plain["excluded"]:
        return None, None if plain["excluded"] is None else f"its turn is not {plain['excluded']} but {excluded}"
    return Confirmed(plain, recorded), None


async def _of_command(entries: Entries, recorded: Recorded, ends: TurnEnds) -> dict[str, object] | None:
    """Return what a decision takes over from the command of its turn; None where that cannot be read any more."""
    received = (
        None if recorded.command_id is None else await entries.find_command(recorded.journal, recorded.command_id)
    )
    if received is None or received.position > recorded.position or ends.ended_between(received, recorded):
        return dict.fromkeys(_OF_COMMANDS)
    command = received.plain
    return None if command is None else {name: command.get(name) for name in _OF_COMMANDS}
