"""An actor that keeps notes, whose journals are archived."""

from __future__ import annotations

from datetime import UTC, datetime

from loom import Actor, Command, Entry

START = datetime(2030, 1, 1, tzinfo=UTC)


class Noted(Entry):
    kind = "test.archive_noted"
    text: str


class Note(Command[int]):
    text: str


class Ask(Command[bool]):
    pass


class Notes(Actor[list[str]]):
    actor_type = "notes"

    async def execute(self, command: Note | Ask) -> int | bool:
        if isinstance(command, Ask):
            return (await self.request_approval(approver="boss", reason="because")).granted
        await self.record(Noted(text=command.text))
        await self.record_decision(rationale=command.text, outcome={"n": len(self.state)})
        return len(self.state)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, Noted):
            self.state.append(entry.text)
