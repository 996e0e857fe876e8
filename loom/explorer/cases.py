"""What pages say of a case: its rules with the cells that decided, and earlier cases like it with who answered how."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.decision import ApprovalGiven
from loom.decisions.entries import PrecedentFound, is_unanswerable
from loom.decisions.trace import DecisionTrace
from loom.errors import LoomError
from loom.explorer import words
from loom.policies.evaluation import Evaluation
from loom.runtime import Loom

__all__ = ["Cell", "Consent", "RuleSeen", "Similar", "consents", "rules_of", "similar"]


class Shape(BaseModel):
    """A part of a view-model."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(Shape):
    """One condition of a rule: the fact, what the rule asks of it, and what it was."""

    fact: str
    asked: str
    was: str
    held: bool


class RuleSeen(Shape):
    """A rule of the policy, and why it applied, or not."""

    name: str
    why: str
    applied: bool
    cells: tuple[Cell, ...] = ()


class Consent(Shape):
    """Who answered for an earlier case, and how."""

    granted: bool
    by: words.PersonInWords
    comment: str | None


class Similar(Shape):
    """An earlier decision in the same situation."""

    decision_id: str
    decided_at: datetime
    rationale: str
    outcome: dict[str, JsonValue]
    consents: tuple[Consent, ...]
    is_exception: bool
    superseded: str | None


def rules_of(
    evaluation: Evaluation | None, facts: Mapping[str, JsonValue], document: Mapping[str, Any] | None = None
) -> tuple[RuleSeen, ...]:
    """Return the rule that applied first, with its cells if the table is at hand, then those that did not."""
    if evaluation is None:
        return ()
    hit = RuleSeen(
        name=evaluation.rule, why=evaluation.why, applied=True, cells=_cells_of(evaluation.rule, facts, document or {})
    )
    missed = []
    for miss in evaluation.why_not:
        failed = miss.condition
        cells = () if failed is None else (_cell(failed.fact, failed.operator, failed.value, facts, held=False),)
        missed.append(RuleSeen(name=miss.rule, why=miss.why, applied=False, cells=cells))
    return (hit, *missed)


def _cells_of(rule: str, facts: Mapping[str, JsonValue], document: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Return the conditions of the rule that applied: all of them held."""
    if document.get("language") != "table":
        return ()
    row = next((each for part in ("limits", "rules") for each in document.get(part, ()) if each["name"] == rule), None)
    known = words.parameters_of(document)

    def given(operand: Any) -> Any:
        return known.get(operand["param"]) if isinstance(operand, dict) else operand

    found = []
    for fact, operator, operands in [] if row is None else row["when"]:
        wanted = [given(each) for each in operands] if isinstance(operands, list) else given(operands)
        found.append(_cell(fact, operator, wanted, facts, held=True))
    return tuple(found)


def _cell(fact: str, operator: str, wanted: Any, facts: Mapping[str, JsonValue], *, held: bool) -> Cell:
    was = words.value(facts[fact]) if fact in facts else "missing"
    return Cell(fact=fact, asked=words.condition(operator, wanted), was=was, held=held)


async def similar(
    loom: Loom, situation: str | None, *, exclude_turn: tuple[str, str] | None = None, limit: int = 3
) -> tuple[Similar, ...]:
    """Return the newest decisions in a situation; none where it is not known."""
    if situation is None:
        return ()
    found = await loom.precedents.find(situation=situation, exclude_turn=exclude_turn, limit=limit)
    return tuple([await _similar(loom, each) for each in found])


async def _similar(loom: Loom, found: PrecedentFound) -> Similar:
    try:
        trace: DecisionTrace | None = await loom.traces.get(found.decision_id)
    except LoomError:  # pruned, or erased
        trace = None
    return Similar(
        decision_id=found.decision_id,
        decided_at=found.recorded_at,
        rationale=found.rationale,
        outcome=found.outcome,
        consents=() if trace is None else consents(trace.decision.approvals),
        is_exception=found.is_exception,
        superseded=found.superseded,
    )


def consents(given: tuple[ApprovalGiven, ...]) -> tuple[Consent, ...]:
    """Return who agreed to a decision, or did not."""
    return tuple(
        Consent(granted=each.granted, by=words.named(each.identity, _no_one(each)), comment=each.comment)
        for each in given
    )


def _no_one(given: ApprovalGiven) -> str:
    return "no one" if is_unanswerable(given.comment) else "the deadline"
