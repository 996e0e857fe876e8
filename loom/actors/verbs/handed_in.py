"""Inputs of `record_decision` that are given as results, and precedents that are given by their ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from loom.actors.keeping import keys_at_hand, names_of, plain_result, subject_of_turn
from loom.actors.turn import Turn
from loom.actors.verbs.protected_outcome import Outcome
from loom.actors.verbs.shared import expect
from loom.decisions.decision import DecisionInput, PrecedentReference, Relation
from loom.decisions.entries import DecisionJournalEntry
from loom.errors import AdmissionError
from loom.journal.admission import json_value
from loom.journal.entry import Step
from loom.sealing import Parts, declared_in, protect_with, subjects_in

__all__ = ["HANDED_IN", "inputs_of", "precedents_of"]

HANDED_IN = "handed in"
"""The system of an input that no look-up of the turn returned."""

_PREFIX = "decision_"
_LOOK_UP = frozenset({"system", "entity", "query"})


def inputs_of(turn: Turn, given: Sequence[Any]) -> tuple[Any, ...]:
    """Return inputs as a decision holds them.

    A result that a look-up of the turn returned is recorded as that look-up. Another value is marked as handed in: the
    time and the duration of its retrieval are unknown.
    """
    looked_up = [(each.entry(), each.plain) for each in turn.gathered.looked_up]
    known = {
        _text(entry.result if plain is None else plain[0]): entry.as_input()
        for entry, plain in looked_up
        if entry.failure is None
    }
    return tuple(_input(turn, value, number, known) for number, value in enumerate(given, start=1))


def repeated(looked_up: DecisionInput) -> DecisionInput:
    """Return a look-up as a decision that repeats it holds it; its failed attempts are in its own entry only."""
    return looked_up.model_copy(update={"failed_attempts": ()}) if looked_up.failed_attempts else looked_up


def _input(turn: Turn, value: Any, number: int, known: Mapping[str, DecisionInput]) -> Any:
    if isinstance(value, DecisionInput):
        return repeated(value)
    if isinstance(value, Mapping) and value.keys() >= _LOOK_UP:
        return {name: part for name, part in value.items() if name != "failed_attempts"}
    declared = declared_in(value)
    plain = json_value(value if declared is None else plain_result(value), limits=turn.services.limits)
    looked_up = known.get(_text(plain))
    if looked_up is not None:
        return repeated(looked_up)
    if declared is not None:
        subject, node, whole = subject_of_turn(turn), Parts({"result": declared}), {"result": plain}
        keys = keys_at_hand(turn, subjects_in(whole, node, subject=subject))
        once = f"{turn.command_id} input {number}"
        hidden: Any = protect_with(keys, whole, node, subject=subject, once=once, names=names_of(turn))
        plain = hidden["result"]
    return DecisionInput(system=HANDED_IN, entity=f"value {number}", query="", result=plain, source="handed_in")


async def precedents_of(turn: Turn, step: Step, given: Sequence[Any], outcome: Outcome) -> tuple[Any, ...]:
    """Return precedents as a decision holds them; those named by an id, or how one begins, are looked up.

    One with the same outcome is followed, any other one is distinguished. A resumed turn looks nothing up: the recorded
    decision names them. Raises `AdmissionError` for a decision that is unknown.
    """
    before = _recorded(turn, step)
    return tuple([await _named(turn, each, before, outcome) if isinstance(each, str) else each for each in given])


async def _named(
    turn: Turn,
    name: str,
    before: Sequence[PrecedentReference] | None,
    outcome: Outcome,
) -> PrecedentReference:
    wanted = name.removeprefix(_PREFIX)
    if before is not None:
        found = next((each for each in before if wanted and each.decision_id.startswith(wanted)), None)
        if found is not None or turn.counterfactual:
            return found or PrecedentReference(decision_id=wanted)
    seen = next((each for each in turn.gathered.precedents if each.decision_id == wanted), None)
    if seen is not None:
        return _related(seen.decision_id, seen.outcome, outcome)
    find = turn.services.find_decision
    if find is None:
        return PrecedentReference(decision_id=wanted)
    decision = await find(wanted)
    if decision is None:
        raise AdmissionError(
            f"precedent [{name:.80}] of turn [{turn}] is not known; expected the id of an earlier decision, or how one "
            "alone begins: see `loom decisions`"
        )
    return _related(decision.decision_id, decision.outcome, outcome)


def _related(decision_id: str, earlier: Mapping[str, JsonValue], outcome: Outcome) -> PrecedentReference:
    relation: Relation = "followed" if outcome.is_like(earlier) else "distinguished"
    return PrecedentReference(decision_id=decision_id, relation=relation)


def _recorded(turn: Turn, step: Step) -> tuple[PrecedentReference, ...] | None:
    """Return the precedents of the decision that this step recorded before; None where it did not."""
    recorded = None if turn.recorded_steps is None else turn.recorded_steps.peek(step, "end")
    return None if recorded is None else expect(recorded.entry, DecisionJournalEntry, turn).decision.precedents


def _text(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
