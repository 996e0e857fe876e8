"""Comparing two windows: read both, measure, judge under the policy `loom.drift`, and say what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loom.drift.distance import js_terms
from loom.drift.entries import DRIFT_JOURNAL, DriftComparedEntry
from loom.drift.judging import Line, Measured, measure
from loom.drift.reading import Selected, Tally, WindowReader
from loom.drift.report import ClassShift, DriftReport, DriftState, JudgedUnder, PolicySplit, Uncertain
from loom.drift.split import Rejudging
from loom.drift.thresholds import severity_of
from loom.drift.window import Window, WindowCount
from loom.drift.words import explain_drift
from loom.errors import JournalReadOnlyError, WindowError
from loom.identity import check_limit, check_person
from loom.journal.entry import Entry, Recorded
from loom.journal.folded import FoldedJournal
from loom.journal.store import Draft, JournalStore, draft
from loom.policies.registry import PolicyRegistry
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.registry import EquivalenceRegistry
from loom.projections import Queries

__all__ = ["Drift", "Tell"]

Tell: TypeAlias = Callable[[int, int], None]
"""Is told how many decisions were judged again so far, and how many there are."""


class Drift:
    """Says whether the pattern of decisions is still the same: `await loom.drift.compare(baseline, current)`.

    `by` is in whose name the policy `loom.drift` is registered when it is first used, and comparisons are kept.
    """

    def __init__(
        self,
        queries: Queries,
        policies: PolicyRegistry,
        rules: EquivalenceRegistry,
        *,
        by: str,
        store: JournalStore | None = None,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._queries = queries
        self._policies = policies
        self._rules = rules
        self._by = by
        self._journal = None if store is None else FoldedJournal(store, DRIFT_JOURNAL, _ignore, make_draft=make_draft)

    async def compare(
        self,
        baseline: Window,
        current: Window,
        *,
        rule: str | None = None,
        split: bool = True,
        limit: int = 10,
        keep: bool = False,
        by: str | None = None,
        tell: Tell = lambda _done, _of: None,
    ) -> DriftReport:
        """Compare the decisions of two windows by the classes of precedents that they are in.

        `rule` names an equivalence rule by id, hash or name, under which decisions are classified anew that have no
        class of it; without one, all classes must be of one rule. `split` asks how much is the population and how much
        the policy, which judges every current decision again. `limit` is how many classes are shown that rose, and how
        many that fell. `keep` writes a `DriftComparedEntry` in the name of `by`.

        Raises `OutOfRangeError` for a limit below 1, `WindowError` for windows that share decisions or hold classes of
        several rules, `RunNotFoundError`, `PolicyNotRegisteredError` or `EquivalenceRuleNotRegisteredError` for what is
        not known.
        """
        check_limit(limit)
        who = check_person(self._by if by is None else by)
        chosen = None if rule is None else self._rules.resolve(rule).rule
        line = await Line.adopted(self._policies, by=self._by)
        reader = await WindowReader.now(self._queries, self._policies)
        first, second = await _apart(reader, baseline, current)
        sides = [await _Side.read(reader, each, chosen) for each in (first, second)]
        comparison = _Comparison(reader, self._rules, sides[0], sides[1], chosen, limit)
        measured = await asyncio.to_thread(measure, list(comparison.counts.values()), line.params)
        judged = line.judge(measured)
        parts = None
        if split and judged.evaluation.rule != "insufficient_data":
            rejudging = Rejudging(await comparison.answers(), sides[0].tally.versions, self._policies)
            async for page in reader.cases(second, chosen):
                rejudging.feed(page)
                tell(rejudging.seen, sides[1].tally.decisions)
            parts = await asyncio.to_thread(rejudging.split, line.params)
        report = await comparison.report(measured, judged, parts)
        if keep:
            await self._keep(report, by=who)
        return report

    async def _keep(self, report: DriftReport, *, by: str) -> None:
        if self._journal is None:
            raise JournalReadOnlyError(
                "a comparison is to be kept where the journal is only read; expected [an open loom]: use its `drift`"
            )
        await self._journal.append_if_missing(lambda: DriftComparedEntry.of(report, by=by))


async def _apart(reader: WindowReader, baseline: Window, current: Window) -> tuple[Selected, Selected]:
    """Return both windows with full ids; raise `WindowError` where a decision is in both."""
    first, second = await reader.select(baseline), await reader.select(current)
    if shared := await reader.both(first, second):
        raise WindowError(
            f"windows [{first.window}] and [{second.window}] share [{shared}] decisions; expected none in both, as a "
            "window is not a sample against itself: let one end before the other begins"
        )
    return first, second


def _ignore(_: Recorded) -> None:
    """Fold nothing: what was compared before does not matter to what is compared now."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two windows, with what it holds."""

    selected: Selected
    tally: Tally
    anew: bool
    """Whether decisions were classified anew, so that the classes in the views are not those that count."""

    @classmethod
    async def read(cls, reader: WindowReader, selected: Selected, rule: EquivalenceRule | None) -> _Side:
        """Read a window, by the classes that there are or by those of one rule."""
        tally = await reader.tally(selected)
        anew = rule is not None and bool(tally.unclassified or set(tally.rules) - {rule.hash})
        if rule is not None and anew:
            tally = await reader.tally_under(selected, rule)
        tally.versions = await reader.versions(selected)
        return cls(selected, tally, anew)

    @property
    def count(self) -> WindowCount:
        """What the window holds, in numbers."""
        return WindowCount(
            window=self.selected.window, decisions=self.tally.decisions, classes=len(self.tally.classes),
            unclassified=self.tally.unclassified,
            versions={version.version: decisions for version, decisions in self.tally.versions},
        )  # fmt: skip


class _Comparison:
    """Two windows side by side."""

    def __init__(
        self,
        reader: WindowReader,
        rules: EquivalenceRegistry,
        baseline: _Side,
        current: _Side,
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

    async def answers(self) -> dict[tuple[str, str | None], int]:
        """Return how often each situation was given each effect in the baseline."""
        if not self._baseline.anew:
            return dict(await self._reader.answers(self._baseline.selected))
        found: dict[tuple[str, str | None], int] = {}
        async for page in self._reader.cases(self._baseline.selected, self._chosen):
            for each in page:
                if each.situation is not None:
                    key = each.situation, each.effect
                    found[key] = found.get(key, 0) + 1
        return found

    async def report(self, measured: Measured, judged: JudgedUnder, split: PolicySplit | None) -> DriftReport:
        """Return what the comparison came to."""
        severity, enough = severity_of(judged.evaluation), judged.evaluation.rule != "insufficient_data"
        state: DriftState = "insufficient_data"
        if enough:
            state = "not_detected" if severity is None else "detected"
        rose, fell = await self._shifts() if measured.js_divergence else ((), ())
        report = DriftReport(
            state=state, severity=severity, reason=None if enough else self._why_uncertain(),
            baseline=self._baseline.count, current=self._current.count, rule=self._rule,
            js_divergence=measured.js_divergence, js_distance=measured.js_distance, chi_square=measured.chi_square,
            permutation=measured.permutation, rose=rose, fell=fell, split=split, judged=judged, explanation=(),
            counts=self.counts, position=self._reader.at,
        )  # fmt: skip
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
            alike = self._chosen.describe(decision.facts or {}, decision.outcome)
        elif decision is not None:
            alike = self._rules.describe(decision)
        return ClassShift(
            precedent=precedent, situation=where.situations[precedent], baseline=before, current=now,
            baseline_share=before / self._baseline.tally.decisions,
            current_share=now / self._current.tally.decisions, share_of_divergence=part, decision_id=decision_id,
            decision_type=None if decision is None else decision.decision_type,
            outcome=None if decision is None else decision.outcome,
            alike={name: said for name, said in alike.items() if name != "rule"},
        )  # fmt: skip

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
