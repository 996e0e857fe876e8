"""The verb `record_decision`: combines its arguments with what the turn has gathered, and journals the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, JsonValue, ValidationError

from loom.actors.keeping import without_texts
from loom.actors.turn import Turn
from loom.actors.verbs.evaluation import GivenFacts, given_facts
from loom.actors.verbs.handed_in import inputs_of, precedents_of, repeated
from loom.actors.verbs.keyed_class import Classified, classified, key_of_classes
from loom.actors.verbs.protected_facts import hold_keys_of_facts, without_facts
from loom.actors.verbs.protected_outcome import Outcome, protected_outcome
from loom.actors.verbs.shared import context_of, expect
from loom.decisions.decision import (
    Alternative,
    ApprovalGiven,
    Decision,
    DecisionInput,
    PolicyReference,
    PrecedentReference,
    References,
    decision_id,
)
from loom.decisions.entries import DecisionJournalEntry
from loom.errors import AdmissionError
from loom.journal.entry import Step
from loom.journal.following import followers_of
from loom.policies.evaluation import Evaluation
from loom.policies.registry import PolicyVersion
from loom.precedents.equivalence import KeyOf
from loom.spans import count_decision

__all__ = ["DecisionDraft", "record_decision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionDraft:
    """The arguments for a decision. Those that are None are taken from the turn: see `Actor.record_decision`."""

    rationale: str
    outcome: BaseModel | Mapping[str, object] | None
    protect: Mapping[str, str] | None
    decision_type: str | None
    reasoning: Sequence[str]
    alternatives: Sequence[Alternative | Mapping[str, str]]
    rationale_author: Literal["developer", "model", "human"]
    is_exception: bool | None
    exception_reason: str | None
    confidence: float | None
    context: Mapping[str, object] | None
    parent: str | None
    inputs: Sequence[DecisionInput | object] | None
    facts: BaseModel | Mapping[str, object] | None
    evaluation: Evaluation | None
    precedents: Sequence[PrecedentReference | str] | None
    approvals: Sequence[ApprovalGiven] | None
    policy: str | None
    enrich: Literal["always", "never"] | None


async def record_decision(turn: Turn, given: DecisionDraft) -> str:
    """See `Actor.record_decision`."""
    services = turn.services
    version = turn.policy if given.policy is None else services.policies.resolve(given.policy)
    services.policies.resolve_hash(version.hash_bytes)  # law 3: no decision without a registered version
    evaluation = _evaluation(turn, given.evaluation)
    is_exception = given.is_exception
    if is_exception is None:
        is_exception = evaluation is not None and evaluation.is_exception
    decision_type = given.decision_type or ("exception" if is_exception else "policy_application")
    with turn.step("record_decision", decision_type, waits=False) as step:
        outcome = await protected_outcome(turn, step, given.outcome, given.protect)
        if given.facts is not None:
            await hold_keys_of_facts(turn, given.facts)
        precedents = (
            _precedents_seen(turn, outcome)
            if given.precedents is None
            else await precedents_of(turn, step, given.precedents, outcome)
        )
        decision = _decision(
            turn,
            step,
            given,
            version=version,
            evaluation=evaluation,
            is_exception=is_exception,
            outcome=outcome,
            precedents=precedents,
            key_of=await key_of_classes(turn, None if turn.actor is None else turn.actor.equivalence),
        )
        entry = DecisionJournalEntry(step=step, decision=decision, enrich=given.enrich, controls=_controls(turn, step))
        ready = turn.draft(entry, policy_hash=version.hash_bytes)
        if turn.counterfactual:
            return await _decided_again(turn, step, decision)
        if turn.recorded_steps is None or not turn.recorded_steps.has(step, "end"):
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


def _controls(turn: Turn, step: Step) -> dict[str, int] | None:
    """Return how far the control journals are folded, or were when a recorded decision was made."""
    if not getattr(turn.services.store, "shared", False):  # what the one process has appended, it has folded
        return None
    recorded = None if turn.recorded_steps is None else turn.recorded_steps.peek(step, "end")
    if recorded is not None:
        return expect(recorded.entry, DecisionJournalEntry, turn).controls
    followers = followers_of(turn.services.store)
    return None if followers is None else followers.controls()


def _parent(turn: Turn, given: str | None) -> str | None:
    """Return the decision that led to this one: in a turn that takes up an earlier one, the last decision of that."""
    return turn.taken_up.decision if given is None and turn.taken_up is not None else given


def _refers(turn: Turn, step: Step) -> bool:
    """Tell whether a decision refers to what its turn has gathered; not if the recorded one does not."""
    if turn.counterfactual or turn.taken_up is not None:  # what it refers to is in one turn
        return False
    recorded = None if turn.recorded_steps is None else turn.recorded_steps.peek(step, "end")
    return recorded is None or expect(recorded.entry, DecisionJournalEntry, turn).decision.refers is not None


def _as_it_was(entry: DecisionJournalEntry) -> DecisionJournalEntry:
    """Return a decision as schema 1 had it: without the fields for failed look-ups."""
    inputs = tuple(each.model_copy(update={"failure": None}) for each in entry.decision.inputs)
    return entry.model_copy(update={"decision": entry.decision.model_copy(update={"inputs": inputs})})


async def _decided_again(turn: Turn, step: Step, decision: Decision) -> str:
    """Pass on the decision that would be made now; nothing is written, and the recorded decision is not used."""
    if turn.recorded_steps is not None and turn.recorded_steps.has(step, "end"):
        await turn.recorded_steps.take(step, "end")
    if turn.decided is not None:
        turn.decided(decision)
    turn.gathered.decisions.append(decision.decision_id)
    return decision.decision_id


def _evaluation(turn: Turn, given: Evaluation | None) -> Evaluation | None:
    if given is not None:
        return without_facts(turn, given, None)
    return None if turn.gathered.evaluated is None else turn.gathered.evaluated.evaluation


def _decision(
    turn: Turn,
    step: Step,
    given: DecisionDraft,
    *,
    version: PolicyVersion,
    evaluation: Evaluation | None,
    is_exception: bool,
    outcome: Outcome,
    precedents: tuple[Any, ...],
    key_of: KeyOf | None,
) -> Decision:
    """Combine the arguments with what the turn has gathered."""
    facts, context = _facts(turn, given.facts), context_of(turn, given.context)
    alike = _class(turn, step, facts, outcome, context, key_of)
    inputs, approvals, refers = _rests_on(turn, step, given)
    reason = given.exception_reason or (None if evaluation is None else evaluation.exception_reason)
    # The model checks them.
    texts: dict[str, Any] = {
        "rationale": given.rationale,
        "alternatives": given.alternatives,
        "reasoning": given.reasoning,
    }
    texts = without_texts(turn, {**texts, "exception_reason": reason if is_exception else None})
    try:
        return Decision(
            decision_id=decision_id(
                workspace=turn.services.store.workspace,
                journal=turn.host.journal,
                command_id=turn.command_id,
                decision_type=step.key,
                occurrence=step.occurrence,
                policy_hash=version.hash,
            ),
            decision_type=step.key,
            rationale_author=given.rationale_author,
            inputs=inputs,
            policy=_policy(
                version.name, version.version, version.hash, None if evaluation is None else evaluation.rule
            ),
            facts=None if facts is None else facts.written,
            evaluation=evaluation,
            outcome=outcome.written,
            precedents=precedents,
            precedent_class=alike.clear,
            sealed_class=alike.sealed,
            is_exception=is_exception,
            approvals=approvals,
            refers=refers,
            context=context,
            confidence=given.confidence,
            parent_decision_id=given.parent if turn.taken_up is None else _parent(turn, given.parent),
            causation_id=turn.command_id,
            run_id=turn.received.run_id,
            **texts,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AdmissionError(
            f"decision of turn [{turn}] is invalid at [{where}] [{first['msg']}]; expected a decision as "
            "record_decision describes it: correct that argument",
            path=f"$.{where}",
        ) from error


@lru_cache(maxsize=1_024)
def _policy(name: str, version: str, hash: str, rule: str | None) -> PolicyReference:
    return PolicyReference(name=name, version=version, hash=hash, rule=rule)


def _rests_on(
    turn: Turn, step: Step, given: DecisionDraft
) -> tuple[tuple[Any, ...], tuple[Any, ...], References | None]:
    """Return look-ups and approvals of a decision, and the steps to which it refers instead: see `References`."""
    gathered = turn.gathered
    looked_up = gathered.looked_up if given.inputs is None else []
    answered = gathered.answered if given.approvals is None else []
    if (looked_up or answered) and _refers(turn, step):
        refers = References(inputs=tuple([each.reference for each in looked_up]), approvals=tuple(answered))
    else:
        refers = None
    if given.inputs is not None:
        inputs = inputs_of(turn, given.inputs)
    else:
        inputs = tuple([repeated(each.entry().as_input()) for each in looked_up]) if refers is None else ()
    if given.approvals is not None:
        approvals = tuple(given.approvals)
    else:
        approvals = tuple(gathered.approvals) if refers is None else ()
    return inputs, approvals, refers


def _facts(turn: Turn, given: BaseModel | Mapping[str, object] | None) -> GivenFacts | None:
    if given is not None:
        return given_facts(given, turn)
    evaluated = turn.gathered.evaluated
    return None if evaluated is None else GivenFacts(evaluated.facts, b"", evaluated.kept)


def _precedents_seen(turn: Turn, outcome: Outcome) -> tuple[PrecedentReference, ...]:
    """Relate the precedents of the turn: one with the same outcome was followed, any other one was distinguished."""
    return tuple(
        PrecedentReference(
            decision_id=found.decision_id, relation="followed" if outcome.is_like(found.outcome) else "distinguished"
        )
        for found in turn.gathered.precedents
    )


def _class(
    turn: Turn,
    step: Step,
    facts: GivenFacts | None,
    outcome: Outcome,
    context: dict[str, JsonValue],
    key_of: KeyOf | None,
) -> Classified:
    rule = None if turn.actor is None else turn.actor.equivalence
    if rule is None or facts is None:
        return Classified()
    turn.services.rules.resolve(rule.hash)  # a key by a rule that is not registered would have no meaning later
    return classified(turn, rule, facts, outcome, context, key_of=key_of, once=str(step))


async def _check_parent(turn: Turn, parent: str | None) -> None:
    """Check that the parent is an earlier decision: so chains have no cycles."""
    find = turn.services.find_decision
    if parent is None or parent in turn.gathered.decisions or find is None:
        return
    known = await find(parent)
    if known is not None and known.decision_id == parent:
        return
    raise AdmissionError(
        f"parent decision [{parent}] of turn [{turn}] is unknown; expected the full id of an earlier decision: check it"
    )
