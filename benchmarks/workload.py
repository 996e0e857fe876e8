"""The work that is measured: one decision of about 1 KB, with a look-up, an evaluation and a reply."""

from __future__ import annotations

from pydantic import BaseModel, Field

from loom import (
    Actor,
    Command,
    DecisionJournalEntry,
    Entry,
    Evaluation,
    Facts,
    Params,
    allow,
    case,
    first_match,
    otherwise,
    policy,
    require_approval,
)

__all__ = ["ACCOUNT", "BenchAgent", "DecideOnce", "Ping", "PingAgent", "Reply"]

ACCOUNT = {"industry": "healthcare", "arr_usd": 500_000, "notes": "three incidents in this quarter; " * 8}


class Limits(Params):
    """Parameters of the rule."""

    percent: int = Field(10, ge=0, le=100)


class Case(Facts):
    """Facts of the rule."""

    industry: str
    arr_usd: int
    percent: int


@policy("bench", Limits(), examples=[Case(industry="retail", arr_usd=1, percent=5)])
def bench(limits: Limits, facts: Case) -> Evaluation:
    """Allow what is within the limit."""
    return first_match(
        case(
            "within-limit",
            facts.percent <= limits.percent,
            allow(),
            why=f"{facts.percent} % is within {limits.percent} %",
            why_not=f"{facts.percent} % is over {limits.percent} %",
        ),
        otherwise("over-limit", require_approval("vp"), why="over the limit"),
    )


class Reply(BaseModel):
    """What the requester gets."""

    granted: bool
    decision_id: str


class DecideOnce(Command[Reply]):
    """Decide on one case."""

    customer: str
    percent: int


class BenchAgent(Actor[None]):
    """Looks up, evaluates, decides."""

    policy = bench

    async def execute(self, command: DecideOnce) -> Reply:
        """Decide."""
        account = await self.gather_context(
            system="crm", entity="account", query=command.customer, relevance="size", fetcher=lambda: ACCOUNT
        )
        facts = Case(industry=account["industry"], arr_usd=account["arr_usd"], percent=command.percent)
        evaluation = self.evaluate(facts)
        decision_id = await self.record_decision(rationale=evaluation.why, outcome={"granted": evaluation.allowed})
        return Reply(granted=evaluation.allowed, decision_id=decision_id)


class Ping(Command[int]):
    """Be answered."""


class Pings(BaseModel):
    """How many."""

    count: int = 0


class PingAgent(Actor[Pings]):
    """Answers, and does nothing else: what one message costs."""

    async def execute(self, command: Ping) -> int:
        """Answer."""
        return 1


class CountingAgent(BenchAgent):
    """Folds its decisions into a state."""

    def apply(self, entry: Entry) -> None:
        """Count."""
        if isinstance(entry, DecisionJournalEntry):
            self.counted = getattr(self, "counted", 0) + 1
