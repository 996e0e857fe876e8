"""Decisions for sums: read from their entries into private tables of a process, where SQL adds them up.

The views only say where the decisions are. The rows of these tables come from the journal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from loom.decisions.approvals_view import ApprovalsProjection
from loom.decisions.conduct import departure_in, verdict_in
from loom.decisions.confirming import OF_COMMANDS, Commands, TurnEnds
from loom.decisions.referring import Referred, filled, steps_of
from loom.decisions.rows import decided_at_us, written_decision
from loom.decisions.traces import CONFIRM_OUTCOMES
from loom.journal.entry import Recorded
from loom.journal.kinds import OWN_IDS
from loom.projections import Queries
from loom.projections.confirming import refolded
from loom.projections.private import PrivateViews
from loom.projections.views import Parameters

__all__ = ["MORE", "Held", "held_decisions", "hold_figures", "positions_of"]

MORE = ("has_facts", "asked")
"""The columns that `hold_figures` adds to those of `trace_decisions`."""


_PAGE = 1_000
_ANSWERS: tuple[Referred, ...] = ("approvals",)
_OBSERVED = "SELECT * FROM trace_outcomes WHERE decision_id IN (SELECT value FROM json_each(?))"


class Held(NamedTuple):
    """A decision, and the entry that it was read from."""

    recorded: Recorded
    decision: Mapping[str, Any]


async def positions_of(queries: Queries, statement: str, parameters: Parameters, *, names: Iterable[str]) -> list[int]:
    """Return the positions that a statement selects, in order, each once."""
    rows = await queries.fetch(statement, parameters, names=names)
    return sorted({row["position"] for row in rows})


async def held_decisions(queries: Queries, positions: Sequence[int]) -> AsyncIterator[Sequence[Held]]:
    """Yield the decisions at some positions page by page, in order.

    Pruned decisions are left out. A position without a decision is recorded among the differences.
    """
    for first in range(0, len(positions), _PAGE):
        some = positions[first : first + _PAGE]
        found = await queries.entries.at(some)
        page: list[Held] = []
        for position in some:
            recorded = found.get(position)
            decision = None if recorded is None else written_decision(recorded)
            if recorded is not None and decision is not None:
                page.append(Held(recorded, decision))
            elif recorded is None or recorded.body is not None:
                queries.differences.add("trace_decisions", position, "there is no decision at its position")
        yield await _with_answers(queries, page)


async def _with_answers(queries: Queries, page: list[Held]) -> list[Held]:
    """Return decisions, with the answers that they refer to filled in."""
    refers = [(each.recorded.journal, each.decision.get("refers")) for each in page]
    steps = await steps_of(queries.entries, refers, _ANSWERS)
    if not steps:
        return page
    return [
        each._replace(decision={**each.decision, "approvals": filled("approvals", journal, said, steps)})
        if said and said.get("approvals")
        else each
        for each, (journal, said) in zip(page, refers, strict=True)
    ]


async def hold_figures(queries: Queries, views: PrivateViews, page: Sequence[Held]) -> None:
    """Add the values of decisions that metrics sum up, with observations and answers of people."""
    rows = [_row(each) for each in page]
    observed = [each.recorded for each in page if each.recorded.kind in OWN_IDS]
    ends = await TurnEnds.of(queries, observed)  # nothing of an unfinished import counts
    for each, row in zip(page, rows, strict=True):
        row["status"] = ends.status(each.recorded, run_id=each.decision.get("run_id")) if observed else None
    departed = [each for each, row in zip(page, rows, strict=True) if row["departure"] is not None]
    by = await _asked_by(queries, departed) if departed else {}
    unasked = dict.fromkeys(OF_COMMANDS)
    await views.add("trace_decisions", [{**row, **by.get(row["position"], unasked)} for row in rows])
    await _hold_what_came_of(queries, views, page)


async def _asked_by(queries: Queries, page: Sequence[Held]) -> dict[int, dict[str, object]]:
    """Return by position what a decision takes over from the command of its turn, such as the name of the person."""
    turns = {(each.journal, each.command_id) for each, _ in page if each.command_id is not None}
    ends = await TurnEnds.of(queries, [each.recorded for each in page])
    commands = await Commands.of(queries.entries, turns)
    return {each.position: commands.values(each, ends) or dict.fromkeys(OF_COMMANDS) for each, _ in page}


async def _hold_what_came_of(queries: Queries, views: PrivateViews, page: Sequence[Held]) -> None:
    """Add the observed outcomes of decisions, and the requests for approval that they name, from their entries."""
    ids = json.dumps([each.decision["decision_id"] for each in page])
    observed = await queries.fetch(_OBSERVED, (ids,), names=("traces",), consistent=False)
    await views.add("trace_outcomes", await queries.confirmed(observed, CONFIRM_OUTCOMES))
    asked = [each.recorded for each in page if each.decision.get("approvals")]
    turns = {(each.journal, each.command_id) for each in asked if each.command_id is not None}
    marks = await queries.entries.marks(turns) if turns else ()
    await views.add("approvals", refolded(ApprovalsProjection(), marks, "approvals") if marks else ())


def _row(held: Held) -> dict[str, Any]:
    """Return the values of a decision that are summed up. A full row of the views would take twice as long."""
    recorded, decision = held
    policy, evaluation, approvals = decision.get("policy") or {}, decision.get("evaluation"), decision.get("approvals")
    return {
        "position": recorded.position,
        "decision_id": decision["decision_id"],
        "journal": recorded.journal,
        "actor_type": recorded.journal.partition("/")[0],
        "decision_type": decision["decision_type"],
        "is_exception": int(decision.get("is_exception") or 0),
        "policy_name": policy.get("name"),
        "policy_version": policy.get("version"),
        "effect": None if evaluation is None else evaluation["effect"],
        "recorded_at_us": recorded.recorded_at_us,
        "decided_at_us": decided_at_us(recorded, decision.get("decided_at")),
        "origin": decision.get("origin") or "original",
        "confidence": decision.get("confidence"),
        "verdict": verdict_in(decision),
        "departure": departure_in(decision),
        "has_facts": decision.get("facts") is not None,
        "asked": json.dumps(approvals) if approvals else "[]",
    }
