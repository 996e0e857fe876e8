"""A workspace in which decisions are made by the hundred, as an agent would have made them, and compared."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.drift import Drift, DriftReport, Window
from loom.identity import derived_id
from loom.journal import Entry, TurnFailedEntry
from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.precedents import Bin, EquivalenceRegistry, EquivalenceRule
from tests.projections.journals import command
from tests.projections.reading import Asked, asked

__all__ = ["RULE", "Bench", "Facts", "LimitParams", "bench", "even", "limit", "other"]

RULE = EquivalenceRule("limit", attributes=("industry", Bin("percent", low=0, high=40, bins=4)), outcome=("granted",))

Given = tuple[str, int]
"""The industry and the percent of a case."""


class LimitFacts(Facts):
    industry: str
    percent: int


class LimitParams(Params):
    percent: int = 10


@policy("limit", LimitParams())
def limit(params: LimitParams, facts: LimitFacts) -> Evaluation:
    """Within the limit, and not beyond."""
    return first_match(
        case("within", facts.percent <= params.percent, allow(), why="it is within", why_not="it is beyond"),
        otherwise("beyond", deny(), why="it is beyond"),
    )


@policy("other", LimitParams())
def other(params: LimitParams, facts: LimitFacts) -> Evaluation:
    """Always."""
    return first_match(otherwise("always", allow(), why=f"the industry is {facts.industry}"))


def even(*, count: int, industries: Iterable[str] = ("bank", "health"), most: int = 40) -> list[Given]:
    """Return so many cases, spread evenly over industries and percents."""
    known = list(industries)
    return [(known[each % len(known)], each * 7 % most) for each in range(count)]


@dataclass
class Bench:
    """A store, its registries, and the comparison that is tested."""

    asked: Asked
    policies: PolicyRegistry
    rules: EquivalenceRegistry
    drift: Drift
    made: int = 0

    async def version(self, percent: int) -> PolicyVersion:
        """Return the registered version of the limit policy with this limit."""
        return await self.policies.register(limit.with_params(LimitParams(percent=percent)), by="robin")

    async def decide(
        self,
        cases: Iterable[Given],
        *,
        run: str | None = None,
        percent: int = 10,
        rule: EquivalenceRule | None = RULE,
        journal: str = "limit-agent/a",
        failed: bool = False,
        version: PolicyVersion | None = None,
        **changes: Any,
    ) -> None:
        """Decide cases under a version, in one turn: what the policy says is done."""
        chosen = version or await self.version(percent)
        if rule is not None:
            await self.rules.register(rule, by="robin")
        entries: list[Entry] = []
        for industry, asked_for in cases:
            self.made += 1
            facts: dict[str, JsonValue] = {"industry": industry, "percent": asked_for}
            said = limit.with_params(LimitParams(percent=percent)).evaluate_json(facts)
            outcome: dict[str, JsonValue] = {"granted": said.allowed}
            given: dict[str, Any] = {
                "decision_id": derived_id("test", str(self.made)),
                "decision_type": "policy_application",
                "rationale": said.why,
                "policy": PolicyReference(name=chosen.name, version=chosen.version, hash=chosen.hash, rule=said.rule),
                "facts": facts,
                "evaluation": said,
                "outcome": outcome,
                "precedent_class": None if rule is None else rule.classify(facts, outcome),
                "run_id": run,
            }
            entries.append(DecisionJournalEntry(decision=Decision(**{**given, **changes})))
        turn = f"turn-{self.made}"
        end: list[Entry] = []
        if failed:
            end = [TurnFailedEntry(reason="raised", type_name="ValueError", message="no")]
        for at in range(0, len(entries), 200):
            await self.asked.write(journal, *([command()] if at == 0 else []), *entries[at : at + 200], turn=turn)
        if end:
            await self.asked.write(journal, *end, turn=turn)

    async def compare(self, baseline: str, current: str, **options: Any) -> DriftReport:
        """Compare two runs."""
        return await self.drift.compare(Window(run=baseline), Window(run=current), **options)


@contextlib.asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    async with asked(directory) as opened:
        policies = PolicyRegistry(opened.store)
        rules = EquivalenceRegistry(opened.store)
        await policies.load()
        await rules.load()
        yield Bench(opened, policies, rules, Drift(opened.queries, policies, rules, by="robin", store=opened.store))
