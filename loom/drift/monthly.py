"""The counts behind the three parts of drift: answers by situation, effect and outcome, in all or month by month."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us
from loom.drift.parts import DriftParts, PartName, three_parts
from loom.drift.reading import Case, Selected, WindowReader
from loom.drift.thresholds import DriftParams
from loom.errors import AdmissionError
from loom.policies.contract import AnyPolicy
from loom.policies.tables.table import Table
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.registry import EquivalenceRegistry
from loom.sealing.facts import why_closed

__all__ = ["CaseJudge", "DriftByMonth", "Gathered", "Month", "gather", "judge_by", "months_of"]

CaseJudge: TypeAlias = Callable[[Case], str | None]
"""Returns the effect that the rule gives a case; None where it was not evaluated."""

_MOST_MONTHS = 1_200
_ALPHA = 0.05


class Month(BaseModel):
    """One month (UTC) against the one it is compared with; `against` is None for the first.

    `p_values` are those of its parts, adjusted for the number of months (Holm); `changed` names the parts that changed
    by these.
    """

    model_config = ConfigDict(frozen=True)

    month: str
    decisions: int
    against: str | None
    parts: DriftParts | None
    p_values: dict[PartName, float]
    changed: tuple[PartName, ...]


class DriftByMonth(BaseModel):
    """Drift month by month. `unclassified` decisions are in no class and were not compared."""

    model_config = ConfigDict(frozen=True)

    months: tuple[Month, ...]
    unclassified: int
    rule: str | None
    position: int

    @property
    def changed(self) -> tuple[Month, ...]:
        """The months with a change."""
        return tuple(each for each in self.months if each.changed)


@dataclass(slots=True)
class Gathered:
    """Answers by month (or all as one), with their outcomes and situations in words."""

    answers: dict[str, Counter[tuple[str, str | None, str]]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    situations: dict[str, str] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)
    unclassified: int = 0


async def gather(
    reader: WindowReader,
    selected: Selected,
    rules: EquivalenceRegistry,
    chosen: EquivalenceRule | None,
    *,
    judge: CaseJudge | None,
    monthly: bool,
) -> Gathered:
    """Read a window case by case."""
    found = Gathered()
    by_recorded = selected.window.by_time == "recorded"
    async for page in reader.cases(selected, chosen):
        for case in page:
            if case.situation is None or case.precedent is None:
                found.unclassified += 1
                continue
            at_us = case.recorded_at_us if by_recorded else case.decided_at_us
            month = f"{datetime_from_us(at_us).astimezone(UTC):%Y-%m}" if monthly else ""
            effect = case.effect if judge is None else judge(case)
            found.answers.setdefault(month, Counter())[case.situation, effect, case.precedent] += 1
            found.rules.add(case.rule or "")
            _name(found, case, chosen or _known(rules, case.rule))
    return found


def judge_by(policy: AnyPolicy) -> CaseJudge:
    """Return a function that judges cases under a policy. A table also judges cases with missing facts."""

    def effect_of(case: Case) -> str | None:
        if case.facts is None or why_closed(case.facts) is not None:
            return None
        if isinstance(policy, Table):
            partial = policy.partial(case.facts)
            return partial.effect if partial.state == "decided" else partial.state.replace("_", " ")
        return policy.verdict(case.facts).effect

    return effect_of


def months_of(
    found: Gathered, params: DriftParams, *, against: Literal["previous", "first"], rule: str | None, position: int
) -> DriftByMonth:
    """Return every month against the one before, or against the first."""
    names = sorted(found.answers)[:_MOST_MONTHS]
    parts: dict[str, tuple[str, DriftParts]] = {}
    for before, month in itertools.pairwise(names):
        base = names[0] if against == "first" else before
        parts[month] = (
            base,
            three_parts(found.answers[base], found.answers[month], found.outcomes, params, names=found.situations),
        )
    adjusted = _holm(
        {
            (month, each.name): each.p_value
            for month, (_, all_) in parts.items()
            for each in all_.all
            if each.p_value is not None
        }
    )
    months = []
    for month in names:
        base_parts = parts.get(month)
        p_values = {name: p for (of, name), p in adjusted.items() if of == month}
        months.append(
            Month(
                month=month,
                decisions=found.answers[month].total(),
                against=base_parts and base_parts[0],
                parts=base_parts and base_parts[1],
                p_values=p_values,
                changed=tuple(name for name, p in p_values.items() if p < _ALPHA),
            )
        )
    return DriftByMonth(months=tuple(months), unclassified=found.unclassified, rule=rule, position=position)


def _holm(p_values: Mapping[tuple[str, PartName], float]) -> dict[tuple[str, PartName], float]:
    """Return p-values adjusted for their number, each part for itself (Holm 1979)."""
    found: dict[tuple[str, PartName], float] = {}
    for part in sorted({name for _, name in p_values}):
        own = sorted((p, key) for key, p in p_values.items() if key[1] == part)
        least = 0.0
        for rank, (p, key) in enumerate(own):
            least = max(least, min(1.0, p * (len(own) - rank)))
            found[key] = least
    return {key: found[key] for key in p_values}


def _known(rules: EquivalenceRegistry, rule: str | None) -> EquivalenceRule | None:
    return rules.resolve(rule).rule if rule is not None and rules.knows(rule) else None


def _name(found: Gathered, case: Case, rule: EquivalenceRule | None) -> None:
    precedent, situation = str(case.precedent), str(case.situation)
    if precedent not in found.outcomes:
        with contextlib.suppress(AdmissionError):
            said: Any = case.outcome
            text = json.dumps(said, sort_keys=True) if rule is None else rule.outcome_in_words(said)
            found.outcomes[precedent] = text
    if situation not in found.situations and rule is not None and case.facts is not None:
        found.situations[situation] = rule.named(case.facts, context=case.context)
