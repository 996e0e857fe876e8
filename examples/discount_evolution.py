"""Two hundred discounts: what is granted as an exception again and again becomes a rule, if a person wants it to.

    python examples/discount_evolution.py

A table decides; the vice president answers what is over the limit; a critic comments on every exception, within a
budget. Then loom looks at the exceptions, suggests a rule, and measures what it would have changed. Somebody adopts it,
two hundred more requests come, and the two seasons are compared.

The critic is a real model where OPENAI_BASE_URL names an endpoint (with OPENAI_API_KEY, and OPENAI_MODEL for its name),
and a scripted one where it does not. Without it everything is offline and seeded, and prints the same every time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from random import Random

from loom import Actor, Command, EquivalenceRule, Loom, LoomConfig, Window
from loom.decisions import Analysis, ApprovalRequestedEntry, Decision, RiskAssessment
from loom.enrichment import (
    BudgetsConfig,
    Critic,
    CriticConfig,
    CriticLlmConfig,
    DecisionTracesConfig,
    EnrichmentConfig,
    ScriptedCritic,
)
from loom.policies import Table
from loom.testing import fixed_sources

REQUESTS = 200

POLICY = Table.of(
    {
        "format": "loom.table/1",
        "name": "discount",
        "facts": {
            "industry": {"type": "string", "values": ["healthcare", "retail", "energy"]},
            "large": {"type": "boolean"},
            "percent": {"type": "integer", "min": 0, "max": 100},
        },
        "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 20}},
        "limits": [{"name": "ceiling", "when": [["percent", ">", 30]], "effect": "deny", "why": "never over 30 %"}],
        "rules": [
            {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "in limits"}
        ],
        "otherwise": {
            "name": "over",
            "effect": "require_approval",
            "tier": "vp_sales",
            "exception": "over the limit",
            "why": "the VP has to agree",
        },
    }
)


class RequestDiscount(Command[bool]):
    """A customer wants a discount."""

    industry: str
    large: bool
    percent: int


class DiscountDesk(Actor[None]):
    """Grants what the table allows, and asks where it does not."""

    policy = POLICY
    equivalence = EquivalenceRule("discount", attributes=("industry", "large"), outcome=("granted",))

    async def execute(self, command: RequestDiscount) -> bool:
        """Decide on one request."""
        said = self.evaluate(command)
        granted = said.allowed
        if said.needs_approval:
            granted = (await self.request_approval(approver="vp_sales", reason=said.why)).granted
        await self.record_decision(rationale=said.why, outcome={"granted": granted})
        return granted


def requests(seed: int) -> list[RequestDiscount]:
    """Draw a season of requests."""
    draw = Random(seed)  # noqa: S311 - made up, and the same every time
    industries = ("healthcare", "retail", "energy")
    return [
        RequestDiscount(
            industry=draw.choices(industries, (5, 3, 2))[0], large=draw.random() < 0.6, percent=draw.randint(1, 35)
        )
        for _ in range(REQUESTS)
    ]


def vice_president(request: RequestDiscount) -> bool:
    """Say what she says to an exception: large hospitals get up to 20 %, others hardly ever."""
    return request.industry == "healthcare" and request.large and request.percent <= 20


def opinion(decision: Decision) -> Analysis:
    """Stand in for a model."""
    granted = decision.outcome["granted"]
    return Analysis(
        deeper_rationale=f"{'granted' if granted else 'refused'}: {decision.facts}",
        risk=RiskAssessment(level="low" if granted else "medium"),
        confidence=0.7,
    )


def critic() -> Critic:
    """Return a real critic where an endpoint is named, and else the scripted one."""
    if not os.environ.get("OPENAI_BASE_URL"):
        return ScriptedCritic(opinion, cost_micro_usd=2_000, worst_case_micro_usd=2_000)
    from loom.enrichment.llm import LlmCritic

    model = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    return LlmCritic(CriticConfig(), CriticLlmConfig(provider="openai-compatible", model=model))


async def season(loom: Loom, inbox: Inbox, name: str, seed: int) -> None:
    """Have a season of requests decided, and answer for the vice president."""
    version = loom.policies.adopted("discount") or loom.policies.latest("discount")
    granted = asked = 0
    async with loom.runs.run(kind="simulation", run_id=name, policies=[version.version], seed=seed):
        for number, request in enumerate(requests(seed)):
            told = asyncio.create_task(
                loom.actor(DiscountDesk, f"desk-{number % 4}").ask(request, id=f"{name}-{number}", by="sales")
            )
            asked += await answer(loom, inbox, request, told)
            granted += await told
    print(f"{name}, under {version.version}: {REQUESTS} requests, {granted} granted, {asked} answered by the VP")


class Inbox:
    """Where requests for approval arrive, as they would by mail."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[ApprovalRequestedEntry] = asyncio.Queue()

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Take a request."""
        await self.requests.put(request)


async def answer(loom: Loom, inbox: Inbox, request: RequestDiscount, told: asyncio.Task[bool]) -> bool:
    """Answer the request for approval, if there is one before the reply."""
    arrival = asyncio.create_task(inbox.requests.get())
    await asyncio.wait({arrival, told}, return_when=asyncio.FIRST_COMPLETED)
    if not arrival.done():
        arrival.cancel()
        return False
    give = loom.approvals.grant if vice_president(request) else loom.approvals.deny
    await give(arrival.result().approval_id, by="dana", comment="as always", distinguished="its percentage differs")
    return True


async def main() -> None:
    """Tell the story."""
    traces = DecisionTracesConfig(
        llm_enrichment=EnrichmentConfig(mode="hybrid"), budgets=BudgetsConfig(max_cost_per_day=0.10)
    )
    with tempfile.TemporaryDirectory() as directory:
        config = LoomConfig(data=Path(directory), sections={"decision_traces": traces})
        inbox = Inbox()
        async with Loom.open(
            config, actors=[DiscountDesk], by="robin", sources=fixed_sources(), critic=critic(), approver=inbox
        ) as loom:
            await story(loom, inbox)


async def story(loom: Loom, inbox: Inbox) -> None:
    """Spring, a suggestion, autumn."""
    await season(loom, inbox, "spring", seed=1)

    assert loom.enricher is not None
    await loom.enricher.idle()
    today = await loom.budget.today()
    print(f"the critic was asked {today.calls} times for ${today.spent_micro_usd / 1e6:.2f} of $0.10 a day")

    print("\nWhat is granted again and again?")
    for pattern in await loom.suggestions.patterns("discount"):
        worth = "worth a rule" if pattern.worthwhile else "not worth a rule"
        print(f"  {pattern.words()}: {pattern.occurrences} granted, {pattern.refusals} refused; {worth}")
    [suggestion] = await loom.suggestions.look()
    print(f"\nSuggested: {suggestion.rule}. Of {suggestion.impact.cases} decisions, judged again under it:")
    print(f"  {suggestion.impact.unchanged} stay as they were, {suggestion.impact.coverage:.0%} could be judged")
    for each in suggestion.impact.transitions:
        print(f"  {each.cases} would go from {each.old} to {each.new}")

    version = await loom.suggestions.approve(suggestion.suggestion_id, by="dana", reason="it is what I say anyway")
    await loom.suggestions.adopt(suggestion.suggestion_id, by="kim", reason="the figures say so, too")
    print(f"\nDana approves it, and so proposes {version.version}; Kim adopts it.")
    for change in loom.policies.diff(POLICY.version_hash, version.hash).changes:
        print(f"  {change}")

    print()
    await season(loom, inbox, "autumn", seed=2)
    report = await loom.drift.compare(Window(run="spring"), Window(run="autumn"))
    print(f"\nIs the pattern of autumn still that of spring? {report.state.replace('_', ' ')}.")
    for line in report.explanation:
        print(f"  {line}")


if __name__ == "__main__":
    asyncio.run(main())
