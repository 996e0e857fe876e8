"""The code of a user, which tests copy to where it runs: an actor that writes down what it is given."""

from __future__ import annotations

from loom import Actor, Command


class Note(Command[str]):
    """Something to write down."""

    text: str


class Diary(Actor):
    """Writes down one note after the other."""

    async def execute(self, command: Note) -> str:
        await self.record_decision(rationale=command.text)
        return command.text
