"""Actors for the shell's tests: one that writes down what it is told, and asks or fails where it is told to."""

from __future__ import annotations

from pydantic import BaseModel

from loom import (
    Actor,
    Command,
    DecisionJournalEntry,
    Entry,
    EquivalenceRule,
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

__all__ = ["Fail", "Note", "NoteAgent", "NoteFacts", "NoteParams", "Noted", "Notes", "Once", "notes"]


class NoteFacts(Facts):
    topic: str
    weight: int


class NoteParams(Params):
    limit: int = 10


@policy("notes", NoteParams())
def notes(params: NoteParams, facts: NoteFacts) -> Evaluation:
    """What is heavy needs consent."""
    return first_match(
        case("light", facts.weight <= params.limit, allow(), why="it is light", why_not="it is heavy"),
        otherwise("heavy", require_approval("editor", exception="too heavy"), why="somebody has to agree"),
    )


class Noted(BaseModel):
    decision_id: str
    granted: bool


class Note(Command[Noted]):
    text: str
    topic: str = "plain"
    weight: int = 1


class Fail(Command[Noted]):
    text: str


class Once(Command[Noted]):
    """Does something that may not be done twice, in the middle of which its process dies."""

    marker: str


class Notes(BaseModel):
    count: int = 0


class NoteAgent(Actor[Notes]):
    policy = notes
    equivalence = EquivalenceRule("notes", attributes=("topic",), outcome=("granted",))

    async def execute(self, command: Note | Fail | Once) -> Noted:
        if isinstance(command, Fail):
            raise ValueError(command.text)  # noqa: TRY004 - it is what the test asked for
        if isinstance(command, Once):
            await self.perform(action="stamp", effect=_die, key=command.marker, repeatable=False)
            return Noted(decision_id="", granted=True)
        found = await self.gather_context(
            system="archive", entity="topic", query=command.topic, fetcher=lambda: {"pages": 3}
        )
        facts = NoteFacts(topic=command.topic, weight=command.weight)
        evaluation = self.evaluate(facts)
        await self.find_precedents(facts)
        granted = evaluation.allowed
        if evaluation.needs_approval:
            granted = (await self.request_approval(approver="editor", reason=f"heavy: {command.text}")).granted
        decision_id = await self.record_decision(
            rationale=command.text, reasoning=[f"{found['pages']} pages"], outcome={"granted": granted}
        )
        return Noted(decision_id=decision_id, granted=granted)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, DecisionJournalEntry):
            self.state = Notes(count=self.state.count + 1)


def _die(_: str) -> None:
    import os

    os._exit(9)
