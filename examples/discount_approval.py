"""A discount agent: within its limit it decides, over it it asks, and it remembers why.

    python examples/discount_approval.py
    PGPASSWORD=… python examples/discount_approval.py --on 'postgresql://user@host/database?workspace=discounts'

Everything is simulated and offline. The agent is all there is down to the line; below it is the story.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from pydantic import BaseModel, Field

from loom import (
    Actor,
    Bin,
    Command,
    DecisionJournalEntry,
    Entry,
    EquivalenceRule,
    Evaluation,
    Facts,
    Loom,
    Params,
    case,
    first_match,
    otherwise,
    policy,
    require_approval,
)
from loom import allow as allowed
from loom.config import LoomConfig
from loom.journal.postgres.url import refuse_password


class Account(BaseModel):
    """What the CRM knows of a customer."""

    industry: str
    arr_usd: int


class Tickets(BaseModel):
    """What the help desk knows of a customer."""

    sev1_open: int


CRM = {
    "acme-health": Account(industry="healthcare", arr_usd=500_000),
    "borealis": Account(industry="healthcare", arr_usd=420_000),
    "cobalt": Account(industry="healthcare", arr_usd=610_000),
    "delta-retail": Account(industry="retail", arr_usd=90_000),
}
HELP_DESK = {"acme-health": Tickets(sev1_open=3), "borealis": Tickets(sev1_open=2), "cobalt": Tickets(sev1_open=4)}


class DiscountFacts(Facts):
    """What the rule looks at."""

    industry: str
    arr_usd: int
    sev1_open: int
    percent: int


class DiscountParams(Params):
    """What may be changed without changing the rule."""

    limit_percent: int = Field(10, ge=0, le=100)


@policy("discount", DiscountParams())
def discount(params: DiscountParams, facts: DiscountFacts) -> Evaluation:
    """Within the limit a discount is given; over it somebody has to agree."""
    return first_match(
        case(
            "within-limit",
            facts.percent <= params.limit_percent,
            allowed(),
            why=f"{facts.percent} % is within the limit of {params.limit_percent} %",
            why_not=f"{facts.percent} % is over the limit of {params.limit_percent} %",
        ),
        otherwise(
            "over-limit",
            require_approval("vp_sales", exception="over the discount limit"),
            why=f"{facts.percent} % needs the consent of the VP of sales",
        ),
    )


class Answer(BaseModel):
    """What the requester gets."""

    percent: int
    decision_id: str


class RequestDiscount(Command[Answer]):
    """A customer asks for a discount."""

    customer_id: str
    percent: int = Field(ge=1, le=100)


class Ledger(BaseModel):
    """What the agent's journal folds to."""

    granted: int = 0
    refused: int = 0
    highest_percent: int = 0


class DiscountAgent(Actor[Ledger]):
    """Decides on discounts."""

    policy = discount
    equivalence = EquivalenceRule(
        "discount-cases",
        attributes=("industry", Bin("percent", low=0, high=50, bins=5)),
        outcome=("granted",),
    )

    async def execute(self, command: RequestDiscount) -> Answer:
        """Look the customer up, judge, ask where the policy says so, and write down why."""
        customer = command.customer_id
        account = await self.gather_context(
            system="salesforce",
            entity="account",
            query=customer,
            returns=Account,
            relevance="industry and revenue decide what is usual",
            fetcher=lambda: CRM[customer],
        )
        tickets = await self.gather_context(
            system="zendesk",
            entity="tickets",
            query=f"{customer} severity:1",
            returns=Tickets,
            relevance="open incidents make the case for goodwill",
            fetcher=lambda: HELP_DESK.get(customer, Tickets(sev1_open=0)),
        )
        facts = DiscountFacts(
            industry=account.industry, arr_usd=account.arr_usd, sev1_open=tickets.sev1_open, percent=command.percent
        )
        evaluation = self.evaluate(facts)
        precedents = await self.find_precedents(facts, limit=3)
        granted = evaluation.allowed
        if evaluation.needs_approval:
            approval = await self.request_approval(
                approver="vp_sales",
                reason=f"{customer} asks for {command.percent} %: "
                f"{tickets.sev1_open} SEV-1 open, {len(precedents)} precedent{'' if len(precedents) == 1 else 's'}",
            )
            granted = approval.granted
        decision_id = await self.record_decision(
            rationale=f"{account.industry} customer with {tickets.sev1_open} open SEV-1 tickets: {evaluation.why}",
            reasoning=[
                f"ARR ${account.arr_usd:,}",
                f"{tickets.sev1_open} SEV-1 tickets",
                f"{len(precedents)} precedent{'' if len(precedents) == 1 else 's'}",
            ],
            outcome={"granted": granted, "percent": command.percent if granted else 0},
            context={"customer": customer},
        )
        return Answer(percent=command.percent if granted else 0, decision_id=decision_id)

    def apply(self, entry: Entry) -> None:
        """Count what was decided."""
        if isinstance(entry, DecisionJournalEntry):
            percent = entry.decision.outcome["percent"]
            assert isinstance(percent, int)
            self.state = Ledger(
                granted=self.state.granted + (percent > 0),
                refused=self.state.refused + (percent == 0),
                highest_percent=max(self.state.highest_percent, percent),
            )


# --- the story ----------------------------------------------------------------------------------


async def answered(loom: Loom, customer_id: str, percent: int, *, grant: bool, comment: str) -> Answer:
    """Send a request that needs consent, and be the VP of sales who gives or refuses it."""
    request = RequestDiscount(customer_id=customer_id, percent=percent)
    agent = loom.actor(DiscountAgent, "emea")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(agent.ask(request, id=f"{customer_id}-{percent}", by="robin"))
        await answer_next(loom, grant=grant, comment=comment)
    return waiting.result()


async def answer_next(loom: Loom, *, grant: bool, comment: str) -> None:
    """Answer the next request for approval as soon as it is there."""
    while not (pending := await loom.approvals.pending("vp_sales")):
        await asyncio.sleep(0.01)
    print(f"  vp_sales is asked: {pending[0].reason}")
    if grant:
        await loom.approvals.grant(pending[0].approval_id, by="dana", comment=comment)
    else:
        await loom.approvals.deny(pending[0].approval_id, by="dana", comment=comment)


async def story(where: str | LoomConfig) -> None:
    """Tell it: within the limit, two exceptions, the case at hand across a restart, a denial, the rebuilt state."""
    case_at_hand = RequestDiscount(customer_id="acme-health", percent=15)

    async with Loom.open(where, actors=[DiscountAgent], by="robin") as loom:
        agent = loom.actor(DiscountAgent, "emea")
        print("delta-retail asks for 8 %:")
        small = await agent.ask(RequestDiscount(customer_id="delta-retail", percent=8), id="delta-retail-8", by="robin")
        print(f"  given {small.percent} %, nobody had to be asked")
        for customer_id in ("borealis", "cobalt"):
            print(f"{customer_id} asks for 15 %:")
            answer = await answered(loom, customer_id, 15, grant=True, comment="incidents on our side")
            print(f"  given {answer.percent} %")
        print("acme-health asks for 15 %, and the process ends while the approval is pending:")
        told = await agent.tell(case_at_hand, id="acme-health-15", by="robin")
        while not await loom.approvals.pending("vp_sales"):
            await asyncio.sleep(0.01)

    async with Loom.open(where, actors=[DiscountAgent], by="robin") as loom:
        agent = loom.actor(DiscountAgent, "emea")
        await answer_next(loom, grant=True, comment="third case of its kind")
        answer = await agent.ask(case_at_hand, id=told.command_id, by="robin")
        print(f"  given {answer.percent} % after the restart; nothing was looked up twice")
        print("delta-retail asks for 30 %:")
        refused = await answered(loom, "delta-retail", 30, grant=False, comment="no incidents, small account")
        print(f"  given {refused.percent} %")
        print()
        explanation = await loom.traces.explain(answer.decision_id)
        print(explanation.text())
        print()
        print(f"state rebuilt from the journal: {await loom.replay.state('discount-agent/emea')!r}")


def place(directory: Path) -> str | LoomConfig:
    """Return where the journal is: in a file, or with --on in PostgreSQL, with views in the directory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--on", metavar="URL", help="a workspace in PostgreSQL; the password comes from PGPASSWORD")
    url = parser.parse_args().on
    if url is None:
        return f"sqlite:///{directory / 'journal.db'}"
    refuse_password(url)
    return LoomConfig.model_validate({"data": directory, "journal": {"url": url}})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(story(place(Path(temporary))))
