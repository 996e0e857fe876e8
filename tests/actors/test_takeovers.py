"""A turn whose journal was taken over from another process: that counts as no attempt, and not without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loom.errors import TurnStuckError
from loom.journal import Head, JournalStore
from loom.journal.kinds import TurnResumedEntry
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, World
from tests.actors.support import entries, opened
from tests.on_postgres import opened_class

TWO = Carry(program=[Do(verb="fetch", key="first"), Do(verb="fetch", key="second")])
LIMIT = 3


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each process that opens the journal take it over from another one, as a shared store says."""

    async def acquire(self: JournalStore, journal: str) -> Head:
        return (await self.head(journal))._replace(taken_over=True)

    monkeypatch.setattr(opened_class(), "acquire", acquire)


@asynccontextmanager
async def interrupted(directory: Path, *, resume_attempts: int = LIMIT) -> AsyncIterator[Loom]:
    """Open a loom whose turn comes as far as its second fetch, and is cut short there."""
    world = World()
    world.hold("fetch second")
    async with opened(directory, world, shutdown_grace_s=0, resume_attempts=resume_attempts) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
        await world.arrived("fetch second")
        yield loom
    await asyncio.gather(asking, return_exceptions=True)


async def resumptions(loom: Loom) -> list[tuple[int, bool]]:
    found = [each.entry for each in await entries(loom, "interpreter/one")]
    return [(each.attempt, each.takeover) for each in found if isinstance(each, TurnResumedEntry)]


@pytest.mark.usefixtures("taken")
async def test_a_turn_goes_on_after_more_takeovers_than_it_has_attempts(tmp_path: Path) -> None:
    for life in range(LIMIT + 2):
        async with interrupted(tmp_path) as loom:
            assert await resumptions(loom) == [(1, True)] * life
    async with opened(tmp_path, World(), resume_attempts=LIMIT) as loom:
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="c"))["second"] == {"key": "second"}


@pytest.mark.usefixtures("taken")
async def test_a_turn_that_ends_every_process_that_takes_it_over_is_stuck_in_the_end(tmp_path: Path) -> None:
    for _ in range(11):
        async with interrupted(tmp_path, resume_attempts=1):
            pass
    async with opened(tmp_path, World(), resume_attempts=1) as loom:
        with pytest.raises(TurnStuckError, match=r"resumed \[10\] times without progress"):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
