"""Compare two windows: read both, measure, judge under the policy `loom.drift`, and explain the result."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import Literal, TypeAlias

from loom.drift.entries import DRIFT_JOURNAL, DriftComparedEntry
from loom.drift.judging import DriftPolicy, is_paired, measure
from loom.drift.metrics import MetricReading
from loom.drift.monthly import CaseJudge, DriftByMonth, gather, judge_by, months_of
from loom.drift.outcomes_alone import OUTCOMES_ALONE, OutcomesAlone
from loom.drift.parts import DriftParts, three_parts
from loom.drift.reading import Selected, WindowReader
from loom.drift.report import DriftReport
from loom.drift.sides import Comparison, Side
from loom.drift.split import Rejudging
from loom.drift.window import Window
from loom.errors import JournalReadOnlyError, WindowError
from loom.identity import By, Identity, check_limit
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore, draft
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.registry import EquivalenceRegistry
from loom.projections import Queries

__all__ = ["Drift", "Tell"]

Tell: TypeAlias = Callable[[int, int], None]
"""Called with the number of decisions that were judged again so far, and the number of all."""


class Drift:
    """Tells whether the pattern of decisions is still the same: `await loom.drift.compare(baseline, current)`.

    The policy `loom.drift` is registered at its first use in the name of `by`, and comparisons are kept in that name.
    """

    def __init__(
        self,
        queries: Queries,
        policies: PolicyRegistry,
        rules: EquivalenceRegistry,
        *,
        by: By,
        store: JournalStore | None = None,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._queries = queries
        self._policies = policies
        self._rules = rules
        self._by = by
        self._journal = (
            None if store is None else SingletonJournal(store, DRIFT_JOURNAL, _ignore, make_draft=make_draft)
        )

    async def compare(
        self,
        baseline: Window,
        current: Window,
        *,
        rule: str | None = None,
        pair_by: Sequence[str] | None = None,
        split: bool = True,
        limit: int = 10,
        keep: bool = False,
        by: By | None = None,
        tell: Tell = lambda _done, _of: None,
    ) -> DriftReport:
        """Compare the decisions of two windows by the classes of precedents that they are in.

        `rule` names an equivalence rule by id, hash or name, or is `outcomes alone`: decisions without a class of that
        rule are classified again. Without `rule`, all classes must be of one rule. `pair_by` names the facts or context
        that identify a subject and its step in both windows, the subject first (`["customer", "step"]`; `actor` and
        `type` are those of the decision). Without it, the actor is the subject, and the type of decision with the facts
        that have to be the same in a class is the step. `split` separates the population from the policy; this judges
        every current decision again. `limit` is the number of classes that are shown as risen, and as fallen. `keep`
        writes a `DriftComparedEntry` in the name of `by`.

        Raises `OutOfRangeError` for a limit below 1, `WindowError` for windows that share decisions or hold classes of
        several rules, `RunNotFoundError`, `PolicyNotRegisteredError` or `EquivalenceRuleNotRegisteredError` for unknown
        names.
        """
        check_limit(limit)
        who = Identity.of(self._by if by is None else by)
        chosen = self._chosen(rule)
        line = await DriftPolicy.adopted(self._policies, by=self._by)
        async with WindowReader.now(self._queries, self._policies) as reader:
            windows = await _apart(reader, baseline, current)
            report = await self._compared(reader, windows, chosen, line, pair_by, split=split, limit=limit, tell=tell)
        if keep:
            await self._keep(report, by=who)
        return report

    async def _compared(
        self,
        reader: WindowReader,
        windows: tuple[Selected, Selected],
        chosen: EquivalenceRule | None,
        line: DriftPolicy,
        pair_by: Sequence[str] | None,
        *,
        split: bool,
        limit: int,
        tell: Tell,
    ) -> DriftReport:
        first, second = windows
        sides = [await Side.read(reader, each, chosen) for each in (first, second)]
        comparison = Comparison(reader, self._rules, sides[0], sides[1], chosen, limit)
        outcomes = comparison.outcomes()
        pairing = await comparison.pairing(pair_by, minimum_subjects=line.params.minimum_subjects)
        measured = await asyncio.to_thread(measure, comparison.counts, outcomes, line.params, pairing)
        judged = line.judge(measured)
        parts = None
        if split and judged.evaluation.rule != "insufficient_data":
            rejudging = Rejudging(await comparison.answers(), sides[0].tally.versions, self._policies)
            async for page in reader.cases(second, chosen):
                rejudging.feed(page)
                tell(rejudging.seen, sides[1].tally.decisions)
            parts = await asyncio.to_thread(rejudging.split, line.params)
        pairs = comparison.pairs(pairing, pair_by, tested=is_paired(pairing, line.params))
        reading = MetricReading(reader, self._queries, self._policies)
        both = [(side.selected, side.tally) for side in sides]
        metrics = await reading.compare(both[0], both[1], least=line.params.minimum_decisions, by=self._by)
        return await comparison.report(measured, judged, split=parts, pairs=pairs, metrics=metrics)

    async def parts(
        self,
        baseline: Window,
        current: Window,
        *,
        rule: str | None = None,
        under: str | AnyPolicy | None = None,
    ) -> DriftParts:
        """Return the three parts of a change: who came, what the rule said, what people did all else being equal.

        `under` is a version, or an unregistered policy. It judges every case, in place of the recorded evaluation: this
        is for decisions that were made without a rule. `rule` and errors are as in `compare`.
        """
        line, chosen = await DriftPolicy.adopted(self._policies, by=self._by), self._chosen(rule)
        judge = self._judge_of(under)
        async with WindowReader.now(self._queries, self._policies) as reader:
            windows = await _apart(reader, baseline, current)
            both = [await gather(reader, each, self._rules, chosen, judge=judge, monthly=False) for each in windows]
        _check_one_rule(both[0].rules | both[1].rules)
        before, now = (each.answers.get("", Counter()) for each in both)
        names = {**both[0].situations, **both[1].situations}
        outcomes = {**both[0].outcomes, **both[1].outcomes}
        return await asyncio.to_thread(three_parts, before, now, outcomes, line.params, names=names)

    async def by_month(
        self,
        window: Window | None = None,
        *,
        rule: str | None = None,
        under: str | AnyPolicy | None = None,
        against: Literal["previous", "first"] = "previous",
    ) -> DriftByMonth:
        """Return the three parts of drift for every month of a window against the one before, or against the first.

        Months (UTC) are those in which decisions were made, or recorded if the window uses that time. The p-values are
        adjusted for the number of months. `under` and `rule` are as in `parts`.
        """
        line, chosen = await DriftPolicy.adopted(self._policies, by=self._by), self._chosen(rule)
        async with WindowReader.now(self._queries, self._policies) as reader:
            selected = await reader.select(window or Window())
            await reader.hold(selected)
            found = await gather(reader, selected, self._rules, chosen, judge=self._judge_of(under), monthly=True)
        _check_one_rule(found.rules)
        by = next(iter(found.rules), None)
        return await asyncio.to_thread(months_of, found, line.params, against=against, rule=by, position=reader.at)

    def _chosen(self, rule: str | None) -> EquivalenceRule | None:
        if rule == OUTCOMES_ALONE:
            return OutcomesAlone()
        return None if rule is None else self._rules.resolve(rule).rule

    def _judge_of(self, under: str | AnyPolicy | None) -> CaseJudge | None:
        if under is None:
            return None
        return judge_by(
            under if isinstance(under, AnyPolicy) else self._policies.runnable(self._policies.resolve(under))
        )

    async def _keep(self, report: DriftReport, *, by: Identity) -> None:
        if self._journal is None:
            raise JournalReadOnlyError(
                "a comparison cannot be kept in a journal that is open for reading only; expected [an open loom]: "
                "use its `drift`"
            )
        await self._journal.append_if_missing(lambda: DriftComparedEntry.of(report, by=by))


async def _apart(reader: WindowReader, baseline: Window, current: Window) -> tuple[Selected, Selected]:
    """Return both windows with full ids; raise `WindowError` where a decision is in both."""
    first, second = await reader.select(baseline), await reader.select(current)
    await reader.hold(first, second)
    if shared := await reader.both(first, second):
        raise WindowError(
            f"windows [{first.window}] and [{second.window}] share [{shared}] decisions; expected none in both: a "
            "window is not a sample against itself: let one end before the other begins"
        )
    return first, second


def _check_one_rule(rules: Set[str]) -> None:
    if len(rules) > 1:
        raise WindowError(
            f"decisions hold classes of [{len(rules)}] equivalence rules; expected one, as classes of two rules are "
            "never the same: narrow the window to one actor type, or name a rule to classify all by"
        )


def _ignore(_: Recorded) -> None:
    """Fold nothing: earlier comparisons have no effect on later ones."""
