"""Two windows side by side: their content, the subjects in both, and the report about them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loom.drift.distance import js_terms
from loom.drift.judging import Measured
from loom.drift.pairing import Naming, Pairing, Sightings, pair_up
from loom.drift.reading import Selected, Tally, WindowReader
from loom.drift.report import (
    ClassShift,
    DriftReport,
    DriftState,
    JudgedUnder,
    Metrics,
    PairResult,
    PolicySplit,
    Uncertain,
)
from loom.drift.split import Answers
from loom.drift.thresholds import severity_of
from loom.drift.window import WindowCount
from loom.drift.words import explain_drift
from loom.errors import AdmissionError, WindowError
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.registry import EquivalenceRegistry

__all__ = ["Comparison", "Side"]

_MOST_OF_A_SUBJECT = 1_000
"""An actor with more decisions in a window is an agent that decides about others, and is not paired step by step."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two windows, with its content."""

    selected: Selected
    tally: Tally
    reclassified: bool
    """Whether decisions were classified again, so that the classes in the views do not count."""

    @classmethod
    async def read(cls, reader: WindowReader, selected: Selected, rule: EquivalenceRule | None) -> Side:
        """Read a window, by its recorded classes or by those of one rule."""
        tally = await reader.tally(selected)
        reclassified = rule is not None and bool(tally.unclassified or set(tally.rules) - {rule.hash})
        if rule is not None and reclassified:
            tally = await reader.tally_under(selected, rule)
        tally.versions = await reader.versions(selected)
        return cls(selected, tally, reclassified)

    @property
    def count(self) -> WindowCount:
        """The numbers of the window."""
        return WindowCount(
            window=self.selected.window,
            decisions=self.tally.decisions,
            classes=len(self.tally.classes),
            unclassified=self.tally.unclassified,
            versions={version.version: decisions for version, decisions in self.tally.versions},
        )


class Comparison:
    """Two windows side by side."""

    def __init__(
        self,
        reader: WindowReader,
        rules: EquivalenceRegistry,
        baseline: Side,
        current: Side,
        chosen: EquivalenceRule | None,
        limit: int,
    ) -> None:
        self._reader = reader
        self._rules = rules
        self._baseline = baseline
        self._current = current
        self._chosen = chosen
        self._limit = limit
        self._rule = self._one_rule() if chosen is None else chosen.hash
        before, now = baseline.tally.classes, current.tally.classes
        self.counts = {each: (before[each], now[each]) for each in sorted({*before, *now})}

    async def answers(self) -> Answers:
        """Return the counts of the baseline by situation, effect and class."""
        if not self._baseline.reclassified:
            return dict(await self._reader.answers(self._baseline.selected))
        found: Counter[tuple[str, str | None, str]] = Counter()
        async for page in self._reader.cases(self._baseline.selected, self._chosen):
            for each in page:
                if each.situation is not None:
                    found[each.situation, each.effect, each.precedent or ""] += 1
        return found

    def outcomes(self) -> dict[str, str]:
        """Return the outcome of each class, as far as the rule names it. Classes of unknown rules share one."""
        rule, known = self._rule_of_classes(), {**self._baseline.tally.outcomes, **self._current.tally.outcomes}
        found = dict.fromkeys(self.counts, "")
        if rule is not None:
            for each in found:
                with contextlib.suppress(AdmissionError):  # written under another rule: then it has no outcome
                    found[each] = rule.outcome_key(known[each])
        return found

    async def pairing(self, pair_by: Sequence[str] | None, *, minimum_subjects: int) -> Pairing:
        """Return the subjects in both windows, and in one only. Decisions are read only if a subject may be in both."""
        naming, sides = Naming.of(self._rule_of_classes(), pair_by), (self._baseline, self._current)
        if pair_by is not None:
            seen = [await self._sightings(side, naming, only=None) for side in sides]
        else:
            actors = [
                side.tally.by_actor if side.reclassified else await self._reader.by_actor(side.selected)
                for side in sides
            ]
            few = ({name for name, n in side.items() if n.total() <= _MOST_OF_A_SUBJECT} for side in actors)
            both = frozenset(next(few) & next(few))
            if both:
                seen = [await self._sightings(side, naming, only=both) for side in sides]
            else:
                seen = [Sightings(naming, others=each) for each in actors]
        return await asyncio.to_thread(pair_up, *seen, minimum_subjects=minimum_subjects)

    async def _sightings(self, side: Side, naming: Naming, *, only: frozenset[str] | None) -> Sightings:
        found = Sightings(naming, only)
        async for page in self._reader.cases(side.selected, self._chosen):
            found.feed(page)
        return found

    def pairs(self, pairing: Pairing, pair_by: Sequence[str] | None, *, tested: bool) -> PairResult | None:
        """Return the numbers about subjects in both windows, with outcomes in words; None where there are none."""
        if not pairing.pairs:
            return None
        transitions: Counter[str] = Counter()
        for (old, new), n in pairing.turned.items():
            transitions[f"{self._in_words(old)} → {self._in_words(new)}"] += n
        answers = Counter({f"{old} → {new}": n for (old, new), n in pairing.answered_otherwise.items()})
        return PairResult(
            pair_by=tuple(pair_by or ()),
            subjects=pairing.subjects,
            pairs=pairing.pairs,
            same_situation=pairing.same_situation,
            turned=pairing.turned.total(),
            transitions=dict(sorted(transitions.items())),
            same_facts=pairing.same_facts,
            answered_otherwise=answers.total(),
            answers=dict(sorted(answers.items())),
            tested=tested,
            exchanged=pairing.unit,
        )

    def _in_words(self, precedent: str) -> str:
        """Return the outcome of a class, as far as its rule names it."""
        rule = self._rule_of_classes()
        tallies = (self._baseline.tally, self._current.tally)
        outcome = next(each.outcomes[precedent] for each in tallies if precedent in each.outcomes)
        if rule is None:
            return precedent[:12]
        words = list(rule.describe({}, outcome).items())[-len(rule.outcome) :]
        return ", ".join(f"{name.removeprefix('outcome ')} {said}" for name, said in words)

    def _rule_of_classes(self) -> EquivalenceRule | None:
        if self._chosen is not None or self._rule is None:
            return self._chosen
        return self._rules.resolve(self._rule).rule if self._rules.knows(self._rule) else None

    async def report(
        self,
        measured: Measured,
        judged: JudgedUnder,
        *,
        split: PolicySplit | None,
        pairs: PairResult | None,
        metrics: Metrics,
    ) -> DriftReport:
        """Return the report."""
        severity, enough = severity_of(judged.evaluation), judged.evaluation.rule != "insufficient_data"
        state: DriftState = "insufficient_data"
        if enough:
            state = "not_detected" if severity is None else "detected"
        rose, fell = await self._shifts() if measured.js_divergence else ((), ())
        report = DriftReport(
            state=state,
            severity=severity,
            reason=None if enough else self._why_uncertain(),
            baseline=self._baseline.count,
            current=self._current.count,
            rule=self._rule,
            js_divergence=measured.js_divergence,
            js_distance=measured.js_distance,
            chi_square=measured.chi_square,
            permutation=measured.permutation,
            pairs=pairs,
            rose=rose,
            fell=fell,
            split=split,
            metrics=metrics,
            judged=judged,
            explanation=(),
            counts=self.counts,
            position=self._reader.at,
        )
        return report.model_copy(update={"explanation": explain_drift(report)})

    async def _shifts(self) -> tuple[tuple[ClassShift, ...], tuple[ClassShift, ...]]:
        """Return the classes that rose and those that fell, by their part of the divergence."""
        terms = dict(zip(self.counts, js_terms(list(self.counts.values())), strict=True))
        whole = sum(terms.values())
        moved = sorted((each for each in terms if terms[each] > 0), key=lambda each: (-terms[each], each))
        rose = [each for each in moved if self._change(each) > 0][: self._limit]
        fell = [each for each in moved if self._change(each) < 0][: self._limit]
        return (
            tuple([await self._shift(each, terms[each] / whole) for each in rose]),
            tuple([await self._shift(each, terms[each] / whole) for each in fell]),
        )

    def _change(self, precedent: str) -> int:
        """Return a number with the sign of the change of a share, exactly."""
        before, now = self.counts[precedent]
        return now * self._baseline.tally.decisions - before * self._current.tally.decisions

    async def _shift(self, precedent: str, part: float) -> ClassShift:
        before, now = self.counts[precedent]
        where = self._current.tally if self._change(precedent) > 0 else self._baseline.tally
        decision_id, decision = await self._reader.decision(where.newest[precedent])
        alike: dict[str, str] = {}
        if decision is not None and self._chosen is not None:
            alike = self._chosen.describe(decision.facts or {}, decision.outcome, context=decision.context)
        elif decision is not None:
            alike = self._rules.describe(decision)
        return ClassShift(
            precedent=precedent,
            situation=where.situations[precedent],
            baseline=before,
            current=now,
            baseline_share=before / self._baseline.tally.decisions,
            current_share=now / self._current.tally.decisions,
            share_of_divergence=part,
            decision_id=decision_id,
            decision_type=None if decision is None else decision.decision_type,
            outcome=None if decision is None else decision.outcome,
            alike={name: said for name, said in alike.items() if name != "rule"},
        )

    def _one_rule(self) -> str | None:
        """Return the rule that made all classes; raise `WindowError` where there are several."""
        sides = (self._baseline.tally.rules, self._current.tally.rules)
        found = sorted({*sides[0], *sides[1]})
        if len(found) > 1:
            shown = "; ".join(f"{self._named(each)}: {sides[0][each]} against {sides[1][each]}" for each in found)
            raise WindowError(
                f"windows hold classes of [{len(found)}] equivalence rules [{shown}]; expected one, as classes of two "
                "rules are never the same: narrow the windows to one actor type, or name a rule to classify all by"
            )
        return found[0] if found else None

    def _named(self, rule: str) -> str:
        known = self._rules.resolve(rule) if self._rules.knows(rule) else None
        return rule[:12] if known is None else f"{known.name} {known.version}"

    def _why_uncertain(self) -> Uncertain:
        sides: Sequence[Tally] = (self._baseline.tally, self._current.tally)
        empty = [not (each.decisions or each.unclassified) for each in sides]
        if any(empty):
            return "both_empty" if all(empty) else "baseline_empty" if empty[0] else "current_empty"
        return "too_few" if all(each.decisions for each in sides) else "no_classes"
