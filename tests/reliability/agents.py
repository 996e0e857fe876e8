"""The actors of the scoreboard: they do little, so that what is tried is the runtime."""

from __future__ import annotations

from pydantic import BaseModel, Field

from loom import Actor, Command, DecisionJournalEntry, Entry


class Total(BaseModel):
    """What an adder's journal folds to."""

    sum: int = 0
    turns: int = 0


class Added(BaseModel):
    """The total after an addition."""

    total: int


class Add(Command[Added]):
    """Add a number."""

    number: int = Field(ge=0)


class Adder(Actor[Total]):
    """Adds what it is told, and decides to do so."""

    async def execute(self, command: Add) -> Added:
        """Look something up, decide, answer."""
        number = await self.gather_context(
            system="sums",
            entity="number",
            query=str(command.number),
            relevance="what is added",
            fetcher=lambda: command.number,
            returns=int,
        )
        await self.record_decision(rationale="it was asked for", outcome={"added": number})
        return Added(total=self.state.sum)

    def apply(self, entry: Entry) -> None:
        """Add up what was decided."""
        if isinstance(entry, DecisionJournalEntry):
            number = entry.decision.outcome["added"]
            assert isinstance(number, int)
            self.state = Total(sum=self.state.sum + number, turns=self.state.turns + 1)
