"""The stop conditions: what must never be found in routing's own journal. Each engages the kill switch by itself.

1. `decision_missing`: an answer with another agent than the baseline's, without its durable decision.
2. `foreign_entry`: a turn of the router wrote something that is not of routing's own kinds.
3. `replay_diverged`: the same snapshot no longer gives the same choice; found by `Router.replay`.
4. `signal_refused`: a forbidden signal, or a value out of its signal's range; found where signals are read.
5. `switch_failed`: an optimised answer in a turn that began while the kill switch was engaged.
6. `not_explainable`: a decision whose timeline entry cannot be produced in full from its record.

Those that a journal shows are looked for here, in one turn at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from loom.decisions import ContextGatheredEntry, Decision, DecisionJournalEntry, EvaluatedEntry
from loom.journal.entry import KINDS, Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.routing.actor import Route
from loom.routing.entries import AnsweredWithBaselineEntry, OptimizationSetEntry, StopCondition
from loom.routing.views import DECISION_TYPE
from loom.routing.words import missing_in

__all__ = ["OWN_KINDS", "Stop", "stop_in"]

OWN_KINDS = frozenset(
    each.kind
    for each in (
        ContextGatheredEntry,
        EvaluatedEntry,
        DecisionJournalEntry,
        OptimizationSetEntry,
        AnsweredWithBaselineEntry,
    )
)
"""The kinds of entries that a turn of the router writes, apart from those that frame every turn."""

_FRAME = CommandReceivedEntry.__module__


class Stop(NamedTuple):
    """A stop condition that was met, why in words, and on which request."""

    condition: StopCondition
    reason: str
    request_id: str


def stop_in(turn: Sequence[Recorded], held: Callable[[int, int], bool]) -> Stop | None:
    """Return the first stop condition that the entries of one turn meet, from its command to its end.

    `held` says whether the kill switch was engaged before a position and not re-armed up to another. Nearly all turns
    have no decision: of these nothing is decoded but the JSON of their ends.
    """
    request_id = str(turn[0].command_id)
    foreign = sorted({each.kind for each in turn if not _is_own(each.kind)})
    decided = [each.entry for each in turn if each.kind == DecisionJournalEntry.kind]
    decisions = [entry.decision for entry in decided if isinstance(entry, DecisionJournalEntry)]
    foreign += [f"decision {each.decision_type}" for each in decisions if each.decision_type != DECISION_TYPE]
    if foreign:
        return Stop("foreign_entry", f"the turn of {request_id} wrote {', '.join(foreign)}", request_id)
    if len(decisions) < len(decided) or any(each.body is None for each in turn):
        return None  # pruned, or written by a newer loom: what is not there says nothing
    received: Any = turn[0].body_json()
    if received.get("command_type") != Route.command_type:
        return None
    for decision in decisions:
        missing = missing_in(decision)
        if missing is not None:
            return Stop("not_explainable", f"decision {decision.decision_id} has no {missing}", request_id)
    if turn[-1].kind != TurnCompletedEntry.kind:
        return None
    completed: Any = turn[-1].body_json()
    return _stop_of(completed["reply"], turn, decisions, request_id, held)


def _is_own(kind: str) -> bool:
    cls = KINDS.get(kind)
    return kind in OWN_KINDS or (cls is not None and cls.__module__ == _FRAME)


def _stop_of(
    reply: Any,
    turn: Sequence[Recorded],
    decisions: Sequence[Decision],
    request_id: str,
    held: Callable[[int, int], bool],
) -> Stop | None:
    """Return what is wrong with an answer that is not the baseline's."""
    if reply["selected"] == "baseline_selected" and reply["agent"] == reply["baseline"]["agent"]:
        return None
    decided = {each.decision_id: each.context.get("optimized_agent") for each in decisions}
    if decided.get(reply["decision_id"]) != reply["agent"]:
        reason = f"{request_id} was answered with {reply['agent']}, and there is no decision that says so"
        return Stop("decision_missing", reason, request_id)
    began = next((each.position for each in turn if each.kind == "turn_started"), turn[0].position)
    looked = [each.position for each in turn if each.kind == ContextGatheredEntry.kind]
    if held(began, looked[-1] if looked else turn[-1].position):
        reason = f"{request_id} was answered with {reply['agent']}, in a turn that began under the kill switch"
        return Stop("switch_failed", reason, request_id)
    return None
