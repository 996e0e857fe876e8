"""The verbs that write down: `record_decision` and `record`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from loom.actors.handed_in import inputs_of, precedents_of
from loom.actors.lookups import expect, plain_facts
from loom.actors.turn import Turn
from loom.decisions.decision import (
    Decision,
    PolicyReference,
    PrecedentClass,
    PrecedentReference,
    decision_id,
)
from loom.decisions.entries import DecisionJournalEntry
from loom.errors import AdmissionError
from loom.identity import parse_journal_name
from loom.journal.admission import json_value
from loom.journal.entry import Entry, PersonEntry, Step
from loom.policies.evaluation import Evaluation
from loom.policies.registry import PolicyVersion
from loom.spans import count_decision


async def record_decision(turn: Turn, **given: Any) -> str:
    """See `Actor.record_decision`."""
    services = turn.services
    version = turn.policy if given["policy"] is None else services.policies.resolve(given["policy"])
    services.policies.resolve_hash(version.hash_bytes)  # law 3: no decision without a registered version
    evaluation = _evaluation(turn, given["evaluation"])
    is_exception = given["is_exception"]
    if is_exception is None:
        is_exception = evaluation is not None and evaluation.is_exception
    decision_type = given["decision_type"] or ("exception" if is_exception else "policy_application")
    with turn.step("record_decision", decision_type) as step:
        given |= {"is_exception": is_exception, "outcome": _outcome(turn, given["outcome"])}
        if given["precedents"] is not None:
            given["precedents"] = await precedents_of(turn, step, given["precedents"], given["outcome"])
        decision = _decision(turn, step, version, evaluation, given)
        entry = DecisionJournalEntry(step=step, decision=decision, enrich=given["enrich"])
        ready = turn.draft(entry, policy_hash=version.hash_bytes)
        if turn.counterfactual:
            return await _decided_again(turn, step, decision)
        if turn.script is None or not turn.script.has(step, "end"):
            await _check_parent(turn, decision.parent_decision_id)
        recorded = await turn.take(step)
        if recorded is None:
            turn.write(ready)
            effect = None if evaluation is None else evaluation.effect
            count_decision(decision_type=decision_type, effect=effect, is_exception=is_exception)
        else:
            decision = expect(recorded.entry, DecisionJournalEntry, turn).decision
            if turn.compare is not None:
                turn.compare(recorded, entry if recorded.schema_version > 1 else _as_it_was(entry))
        turn.gathered.decisions.append(decision.decision_id)
        return decision.decision_id


def _as_it_was(entry: DecisionJournalEntry) -> DecisionJournalEntry:
    """Return a decision as schema 1 had it: without what it says of look-ups that failed."""
    inputs = tuple(each.model_copy(update={"failure": None}) for each in entry.decision.inputs)
    return entry.model_copy(update={"decision": entry.decision.model_copy(update={"inputs": inputs})})


async def _decided_again(turn: Turn, step: Step, decision: Decision) -> str:
    """Tell what would be decided now; nothing is written, and what was decided then is not fed back."""
    if turn.script is not None and turn.script.has(step, "end"):
        await turn.script.take(step, "end")
    if turn.decided is not None:
        turn.decided(decision)
    turn.gathered.decisions.append(decision.decision_id)
    return decision.decision_id


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
        ready = turn.draft(entry)
        recorded = await turn.take(step)
        if recorded is None:
            turn.write(ready)
        elif turn.compare is not None:
            turn.compare(recorded, entry)


_OWN = ("loom.journal.", "loom.policies.", "loom.decisions.", "loom.actors.")
_BASES = (Entry, PersonEntry)


def _evaluation(turn: Turn, given: Evaluation | None) -> Evaluation | None:
    if given is not None:
        return given
    return None if turn.gathered.evaluated is None else turn.gathered.evaluated.evaluation


def _decision(
    turn: Turn, step: Step, version: PolicyVersion, evaluation: Evaluation | None, given: Mapping[str, Any]
) -> Decision:
    """Join what the caller gave with what the turn has gathered."""
    gathered = turn.gathered
    outcome = given["outcome"]
    facts = _facts(turn, given["facts"])
    reason = given["exception_reason"] or (None if evaluation is None else evaluation.exception_reason)
    try:
        return Decision(
            decision_id=decision_id(
                workspace=turn.services.store.workspace, journal=turn.cell.journal, command_id=turn.command_id,
                decision_type=step.key, occurrence=step.occurrence, policy_hash=version.hash,
            ),
            decision_type=step.key,
            rationale=given["rationale"],
            rationale_author=given["rationale_author"],
            reasoning=given["reasoning"],
            inputs=tuple(gathered.inputs) if given["inputs"] is None else inputs_of(turn, given["inputs"]),
            alternatives=given["alternatives"],
            policy=PolicyReference(
                name=version.name, version=version.version, hash=version.hash,
                rule=None if evaluation is None else evaluation.rule,
            ),
            facts=facts,
            evaluation=evaluation,
            outcome=outcome,
            precedents=_precedents(turn, given["precedents"], outcome),
            precedent_class=_class(turn, facts, outcome),
            is_exception=given["is_exception"],
            exception_reason=reason if given["is_exception"] else None,
            approvals=tuple(gathered.approvals if given["approvals"] is None else given["approvals"]),
            context=_context(turn, given["context"]),
            confidence=given["confidence"],
            parent_decision_id=given["parent"],
            causation_id=turn.command_id,
            run_id=turn.received.run_id,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AdmissionError(
            f"decision of turn [{turn}] is not whole at [{where}] [{first['msg']}]; expected a decision as "
            "record_decision describes it: mend that argument",
            path=f"$.{where}",
        ) from error


def _outcome(turn: Turn, given: Mapping[str, object] | None) -> dict[str, JsonValue]:
    plain = json_value(dict(given or {}), limits=turn.services.limits)
    assert isinstance(plain, dict)  # noqa: S101 - a dictionary is an object
    return plain


def _facts(turn: Turn, given: BaseModel | Mapping[str, object] | None) -> dict[str, JsonValue] | None:
    if given is not None:
        return plain_facts(given, turn)
    return None if turn.gathered.evaluated is None else turn.gathered.evaluated.facts


def _precedents(
    turn: Turn, given: Sequence[PrecedentReference] | None, outcome: dict[str, JsonValue]
) -> tuple[PrecedentReference, ...]:
    """Relate the precedents that the turn saw: one with the same outcome was followed, another one distinguished."""
    if given is not None:
        return tuple(given)
    return tuple(
        PrecedentReference(
            decision_id=found.decision_id, relation="followed" if found.outcome == outcome else "distinguished"
        )
        for found in turn.gathered.precedents
    )


def _class(turn: Turn, facts: dict[str, JsonValue] | None, outcome: dict[str, JsonValue]) -> PrecedentClass | None:
    rule = None if turn.actor is None else turn.actor.equivalence
    if rule is None or facts is None:
        return None
    turn.services.rules.resolve(rule.hash)  # a key by a rule that nobody can look up would say nothing later
    return rule.classify(facts, outcome)


def _context(turn: Turn, given: Mapping[str, object] | None) -> dict[str, JsonValue]:
    actor_type, key = parse_journal_name(turn.cell.journal)
    known = {} if turn.actor is None else turn.actor.context()
    merged: Any = json_value(
        {"actor_type": actor_type, "actor_key": key, **known, **(given or {})}, limits=turn.services.limits
    )
    return dict(merged)


async def _check_parent(turn: Turn, parent: str | None) -> None:
    """A parent is an earlier decision: that is why chains have no cycles."""
    find = turn.services.find_decision
    if parent is None or parent in turn.gathered.decisions or find is None:
        return
    known = await find(parent)
    if known is not None and known.decision_id == parent:
        return
    raise AdmissionError(
        f"parent decision [{parent}] of turn [{turn}] is unknown; expected the full id of an earlier decision: check it"
    )
