"""The verb `evaluate`: asks the policy version that is pinned for the turn."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, JsonValue

from loom.actors.turn import Turn
from loom.actors.verbs.shared import digest, expect
from loom.decisions.entries import EvaluatedEntry
from loom.errors import NoRuleError, PolicyCodeChangedError
from loom.journal.admission import json_value
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import Evaluation
from loom.policies.tables import Table
from loom.policies.tables.document import LANGUAGE

__all__ = ["evaluate", "parameters", "plain_facts"]


def evaluate(turn: Turn, facts: BaseModel | Mapping[str, object]) -> Evaluation:
    """See `Actor.evaluate`. Synchronous: a rule is pure, so nothing is waited for."""
    plain = plain_facts(facts, turn)
    with turn.step("evaluate", digest(plain)) as step:
        recorded = None if turn.recorded_steps is None else turn.recorded_steps.take_now(step)
        if turn.counterfactual:
            evaluated = EvaluatedEntry(step=step, facts=plain, evaluation=_judge(turn, facts, plain))
        elif recorded is not None:
            evaluated = expect(recorded.entry, EvaluatedEntry, turn)
        else:
            if turn.compare is not None:
                raise turn.never_recorded(step)
            evaluated = EvaluatedEntry(step=step, facts=plain, evaluation=_judge(turn, facts, plain))
            turn.write_when_live(turn.draft(evaluated))
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
    given = facts.model_dump(mode="json") if isinstance(facts, BaseModel) else dict(facts)
    table = _table(turn)
    plain = json_value(given if table is None else table.facts(given), limits=turn.services.limits)
    assert isinstance(plain, dict)  # noqa: S101 - a model dumps to an object
    return plain
