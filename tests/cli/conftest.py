"""Workspaces for the shell's tests: one that is only read, made once, and copies of it to be written to."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from loom import Loom
from tests.cli.agents import Fail, Note, NoteAgent
from tests.cli.support import configured

HOSTILE = "[bold]bold[/bold] \x1b[31mred\x1b[0m right\u202eleft end"


async def _fill(config: Path) -> None:
    """Two light notes, one granted, one denied, one hostile, one failed turn, and two that wait."""
    async with Loom.open(config, by="robin") as loom:
        agent = loom.actor(NoteAgent, "a")
        await agent.ask(Note(text="a first light note"), id="light-1", by="robin")
        await agent.ask(Note(text="a second light note"), id="light-2", by="robin")
        await loom.actor(NoteAgent, "b").ask(Note(text=HOSTILE), id="hostile", by="robin")
        for command_id, grant in (("granted", True), ("denied", False)):
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    agent.ask(Note(text=f"{command_id} heavy note", weight=20), id=command_id, by="robin")
                )
                [waiting] = await _asked(loom, 1)
                if grant:
                    await loom.approvals.grant(waiting, by="dana", comment="fine")
                else:
                    await loom.approvals.deny(waiting, by="dana", comment="too long", distinguished="it is longer")
        with pytest.raises(Exception, match="no ink"):
            await loom.actor(NoteAgent, "b").ask(Fail(text="no ink"), id="failing", by="robin")
        for command_id in ("parked-1", "parked-2"):
            await agent.tell(Note(text=f"{command_id} heavy note", weight=30), id=command_id, by="robin")
        await _asked(loom, 2)


async def _asked(loom: Loom, count: int) -> list[str]:
    """Return so many pending requests as soon as they are there."""
    committed = asyncio.Event()
    loom.store.on_commit(lambda _: committed.set())
    while True:
        committed.clear()
        pending = await loom.approvals.pending()
        if len(pending) >= count:
            return [each.approval_id for each in pending]
        await committed.wait()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config of a workspace that has been closed; it is only read."""
    config = configured(tmp_path_factory.mktemp("filled"))
    asyncio.run(_fill(config))
    return config


@pytest.fixture
def copied(filled: Path, tmp_path: Path) -> Path:
    """Return the config of a copy that may be written to."""
    directory = tmp_path / "copied"
    shutil.copytree(filled.parent, directory)
    return directory / filled.name
