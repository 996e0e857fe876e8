"""Law 5: a replay fetches nothing, performs nothing, and leaves every entry as it was, bytes and hashes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings

from tests.actors.agents import Carry, Interpreter, Program, World
from tests.actors.support import Granting, entries, opened
from tests.actors.test_resume import programs


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a replay wrote")


async def replay(directory: Path, program: Program) -> None:
    async with opened(directory, approver=Granting()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=program), by="bob")
    world, messenger = World(), Granting()
    async with opened(directory, world, approver=messenger, resume=False) as loom:
        before = [_all_of(each) for each in await entries(loom)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loom.store, "submit", _refuse)
            patch.setattr(loom.store, "extend", _refuse)
            patch.setattr(loom.store, "append", _refuse)
            patch.setattr(messenger, "deliver", _refuse)
            journals = [name for name, _ in await loom.store.journals() if not name.startswith("loom/")]
            for journal in journals:
                verdicts = [each async for each in loom.replay.verify(journal)]
                assert {each.verdict for each in verdicts} <= {"same"}, [each.reason for each in verdicts]
                await loom.replay.state(journal)
                assert [each async for each in loom.replay.states(journal)]
        assert [_all_of(each) for each in await entries(loom)] == before
        assert world.calls == {}


def _all_of(recorded: Any) -> tuple[Any, ...]:
    return tuple(getattr(recorded, name) for name in type(recorded).__slots__ if name != "_entry")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(programs())
def test_replaying_any_program_touches_nothing_and_finds_it_the_same(program: Program) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(replay(Path(directory), program))
