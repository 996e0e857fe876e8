"""The verb `evaluate`: asks the policy version that is pinned for the turn."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, JsonValue

from loom.actors.turn import Evaluated, Turn
from loom.actors.verbs.shared import digest, expect
from loom.decisions.entries import EvaluatedEntry
from loom.errors import NoRuleError, PolicyCodeChangedError
from loom.journal.admission import Written, written
from loom.journal.plain import is_plain_model
from loom.journal.serialisation import EntryText, model_text, step_text
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import Evaluation
from loom.policies.tables import Table
from loom.policies.tables.document import LANGUAGE

__all__ = ["evaluate", "parameters", "plain_facts"]


def evaluate(turn: Turn, facts: BaseModel | Mapping[str, object]) -> Evaluation:
    """See `Actor.evaluate`. Synchronous: a rule is pure, so nothing is waited for."""
    encoded = _encoded_facts(facts, turn)
    plain = _object(encoded.value)
    with turn.step("evaluate", digest(plain)) as step:
        recorded = None if turn.recorded_steps is None else turn.recorded_steps.take_now(step)
        if recorded is not None and not turn.counterfactual:
            entry = expect(recorded.entry, EvaluatedEntry, turn)
            evaluated = Evaluated(entry.facts, entry.evaluation)
        else:
            if turn.compare is not None and not turn.counterfactual:
                raise turn.never_recorded(step)
            evaluated = Evaluated(plain, _judge(turn, facts, plain))
            if not turn.counterfactual:
                texts = {
                    "step": step_text(step),
                    "facts": encoded.text,
                    "evaluation": model_text(evaluated.evaluation),
                }
                turn.write_when_live(turn.draft(EntryText(EvaluatedEntry, texts)))
        turn.gathered.evaluated = evaluated
        return evaluated.evaluation


def parameters(turn: Turn) -> Mapping[str, object]:
    """See `Actor.parameters`."""
    return _pinned(turn).parameters


def _judge(turn: Turn, facts: BaseModel | Mapping[str, object], plain: Mapping[str, JsonValue]) -> Evaluation:
    """Return what the pinned version says; a table is asked about the facts as they are recorded."""
    pinned = _pinned(turn)
    return pinned.evaluate(plain if isinstance(pinned, Table) else facts)


def _table(turn: Turn) -> Table | None:
    """Return the table that the turn is judged by; None where it is a rule in Python, or there is none."""
    if turn.policy.document.get("language") != LANGUAGE:
        return None
    pinned = turn.services.policies.runnable(turn.policy)
    return pinned if isinstance(pinned, Table) else None


def _pinned(turn: Turn) -> AnyPolicy:
    if not turn.policy.has_rule:
        raise NoRuleError(
            f"actor [{turn.host.journal}] has no policy; expected one to evaluate facts with: set policy on its class"
        )
    try:
        return turn.services.policies.runnable(turn.policy)
    except PolicyCodeChangedError as error:  # other code is never run in its name, whatever agent code would make of it
        raise turn.halt(error) from error


def plain_facts(facts: BaseModel | Mapping[str, object], turn: Turn) -> dict[str, JsonValue]:
    """Return facts as the plain JSON that is journaled, with exact values in the form that the turn's table asks for.

    NaN and infinity are refused, and so is a float for a decimal of a table.
    """
    return _object(_encoded_facts(facts, turn).value)


def _encoded_facts(facts: BaseModel | Mapping[str, object], turn: Turn) -> Written:
    table = _table(turn)
    if table is None and isinstance(facts, BaseModel) and is_plain_model(type(facts)):
        return written(facts, limits=turn.services.limits)
    given = facts.model_dump(mode="json") if isinstance(facts, BaseModel) else dict(facts)
    return written(given if table is None else table.facts(given), limits=turn.services.limits)


def _object(plain: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(plain, dict)  # noqa: S101 - facts are an object
    return plain
