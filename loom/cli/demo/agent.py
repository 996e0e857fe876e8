"""The agent of `loom demo`: a copy of the one in examples/discount_approval.py, which a test holds equal to it.

Examples are not installed with the package, and the demo has to work from there as well. It differs in its imports:
code of yours says `from loom import Actor, Command, …`.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from loom.actors import Actor, Command
from loom.decisions import DecisionJournalEntry
from loom.journal import Entry
from loom.policies import Evaluation, Facts, Params, case, first_match, otherwise, policy, require_approval
from loom.policies import allow as allowed
from loom.precedents import Bin, EquivalenceRule

__all__ = ["Answer", "DiscountAgent", "DiscountFacts", "DiscountParams", "Ledger", "RequestDiscount", "discount"]


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
                reason=f"{customer} asks for {command.percent} %: {tickets.sev1_open} SEV-1 open, "
                f"{len(precedents)} precedent{'' if len(precedents) == 1 else 's'}",
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
            assert isinstance(percent, int)  # noqa: S101 - the agent itself has written it
            self.state = Ledger(
                granted=self.state.granted + (percent > 0),
                refused=self.state.refused + (percent == 0),
                highest_percent=max(self.state.highest_percent, percent),
            )
