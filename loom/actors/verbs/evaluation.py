"""The verb `evaluate`: evaluates facts by the policy version that is pinned for the turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from loom.actors.gathered import Evaluated, KeptFacts
from loom.actors.turn import Turn
from loom.actors.verbs.protected_facts import declared_facts, kept_facts, without_facts
from loom.actors.verbs.shared import digest, expect
from loom.decisions.entries import EvaluatedEntry
from loom.errors import AdmissionError, NoRuleError, PolicyCodeChangedError
from loom.journal.admission import Written, written
from loom.journal.plain import is_plain_model
from loom.journal.serialisation import EntryText, model_text, step_text
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import Evaluation
from loom.policies.tables import Table
from loom.policies.tables.document import LANGUAGE
from loom.sealing import SealedValue, plain_of
from loom.sealing.markers import placeholder_of

__all__ = ["GivenFacts", "evaluate", "given_facts", "parameters"]

_MARK = b'"$sealed"'


class GivenFacts(NamedTuple):
    """Facts as they are journaled, with their text; and their plain values, where these differ."""

    written: dict[str, JsonValue]
    text: bytes
    kept: KeptFacts | None = None

    @property
    def plain(self) -> dict[str, JsonValue]:
        """The facts that the rule evaluates."""
        return self.written if self.kept is None else self.kept.plain

    @property
    def digest(self) -> str:
        """Their digest in the key of a step: of sealed facts, no values can be tried against it without a key."""
        keyed = None if self.kept is None else self.kept.digest
        return digest(self.written) if keyed is None else keyed


def evaluate(turn: Turn, facts: BaseModel | Mapping[str, object]) -> Evaluation:
    """See `Actor.evaluate`. Synchronous: a rule is pure, so nothing is waited for."""
    given = given_facts(facts, turn)
    with turn.step("evaluate", given.digest, waits=False) as step:
        recorded = None if turn.recorded_steps is None else turn.recorded_steps.take_now(step)
        if recorded is not None and not turn.counterfactual:
            entry = expect(recorded.entry, EvaluatedEntry, turn)
            evaluated = Evaluated(entry.facts, entry.evaluation, given.kept, facts)
        else:
            if turn.compare is not None and not turn.counterfactual and not turn.is_open:
                raise turn.never_recorded(step)
            evaluation = without_facts(turn, _judge(turn, facts, given.plain), given.kept)
            evaluated = Evaluated(given.written, evaluation, given.kept, facts)
            if not turn.counterfactual:
                texts = {
                    "step": step_text(step),
                    "facts": given.text,
                    "evaluation": model_text(evaluated.evaluation),
                }
                turn.write_when_live(turn.draft(EntryText(EvaluatedEntry, texts)))
        turn.gathered.evaluated = evaluated
        return evaluated.evaluation


def parameters(turn: Turn) -> Mapping[str, object]:
    """See `Actor.parameters`."""
    return _pinned(turn).parameters


def _judge(turn: Turn, facts: BaseModel | Mapping[str, object], plain: Mapping[str, JsonValue]) -> Evaluation:
    """Return the evaluation by the pinned version; a table evaluates the facts as they are recorded."""
    pinned = _pinned(turn)
    return pinned.evaluate(plain if isinstance(pinned, Table) else facts)


def _table(turn: Turn) -> Table | None:
    """Return the table of the pinned version; None where that is a rule in Python, or there is no rule."""
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
    except PolicyCodeChangedError as error:  # other code is never run in its name, also if agent code catches the error
        raise turn.halt(error) from error


def given_facts(facts: BaseModel | Mapping[str, object], turn: Turn) -> GivenFacts:
    """Return facts as the JSON that is journaled, with exact values in the form that the turn's table asks for.

    NaN and infinity are refused, and so is a float for a decimal of a table. A value that looks sealed is refused too:
    otherwise a copy of a sealed value could be opened. Declared fields are sealed, with the keys that the turn holds.
    """
    declared = declared_facts(type(facts)) if isinstance(facts, BaseModel) else None
    if declared is None:
        encoded = _encoded_facts(facts, turn)
        if _MARK in encoded.text:
            _refuse_copies(encoded.value)
        return GivenFacts(_object(encoded.value), encoded.text)
    assert isinstance(facts, BaseModel)  # noqa: S101 - nothing else declares
    plain, table = plain_of(facts), _table(turn)
    exact = written(plain if table is None else table.facts(plain), limits=turn.services.limits).value
    kept = kept_facts(turn, declared, _object(exact))
    return GivenFacts(kept.written, to_json(kept.written), kept)


def _refuse_copies(value: JsonValue) -> None:
    if isinstance(placeholder_of(value), SealedValue):
        raise AdmissionError("a fact looks like a sealed value; expected a plain one: use that")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_copies(each)


def _encoded_facts(facts: BaseModel | Mapping[str, object], turn: Turn) -> Written:
    table = _table(turn)
    if table is None and isinstance(facts, BaseModel) and is_plain_model(type(facts)):
        return written(facts, limits=turn.services.limits)
    given = facts.model_dump(mode="json") if isinstance(facts, BaseModel) else dict(facts)
    return written(given if table is None else table.facts(given), limits=turn.services.limits)


def _object(plain: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(plain, dict)  # noqa: S101 - facts are an object
    return plain
