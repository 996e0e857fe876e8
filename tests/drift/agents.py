"""An actor for the tests of the shell: it lends up to a limit."""

from __future__ import annotations

from loom import (
    Actor,
    Bin,
    Command,
    EquivalenceRule,
    Evaluation,
    Facts,
    Params,
    allow,
    case,
    deny,
    first_match,
    otherwise,
    policy,
)

__all__ = ["LoanAgent", "LoanFacts", "LoanParams", "RequestLoan", "loans"]


class LoanFacts(Facts):
    industry: str
    amount: int


class LoanParams(Params):
    most: int = 10


@policy("loans", LoanParams())
def loans(params: LoanParams, facts: LoanFacts) -> Evaluation:
    """Up to the limit."""
    return first_match(
        case("small", facts.amount <= params.most, allow(), why="it is small", why_not="it is large"),
        otherwise("large", deny(), why="it is large"),
    )


class RequestLoan(Command[bool]):
    industry: str
    amount: int


class LoanAgent(Actor[None]):
    policy = loans
    equivalence = EquivalenceRule(
        "loans", attributes=("industry", Bin("amount", low=0, high=40, bins=4)), outcome=("granted",)
    )

    async def execute(self, command: RequestLoan) -> bool:
        said = self.evaluate(LoanFacts(industry=command.industry, amount=command.amount))
        await self.record_decision(rationale=said.why, outcome={"granted": said.allowed})
        return said.allowed
