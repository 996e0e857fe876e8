"""An actor whose look-up says that it has begun, and comes back only when a file is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loom import Actor, Command

__all__ = ["Fetch", "Waiting"]


class Fetch(Command[str]):
    folder: str


class Waiting(Actor):
    async def execute(self, command: Fetch) -> str:
        folder = Path(command.folder)

        async def fetch() -> str:
            (folder / "begun").touch()
            while not (folder / "answer").exists():
                await asyncio.sleep(0.01)
            return (folder / "answer").read_text(encoding="utf-8")

        fetched: str = await self.gather_context(system="files", entity="answer", query="a", fetcher=fetch)
        return fetched
