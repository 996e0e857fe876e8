"""An intervention whose caller has left while it was written: where it then fails, that is logged, and is not lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from loom.errors import DiskFullError
from loom.journal import Append
from loom.journal.store import Submitted
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Lend, Lender, World
from tests.actors.support import entries, lay_down, opened, until

TWO = Carry(program=[Do(verb="fetch", key="first"), Do(verb="fetch", key="second")])


def hold(loom: Loom, monkeypatch: pytest.MonkeyPatch, kind: str) -> list[Submitted]:
    """Let appends with an entry of a kind hang; return what their outcome is set in."""
    real, held = loom.store.submit, list[Submitted]()

    def submit(append: Append) -> Submitted:
        if not any(each.kind == kind for each in append.drafts):
            return real(append)
        held.append(Submitted())
        return held[-1]

    monkeypatch.setattr(loom.store, "submit", submit)
    monkeypatch.setattr(loom.store, "extend", lambda *_: False)
    return held


async def leave_and_fail(
    loom: Loom, monkeypatch: pytest.MonkeyPatch, kind: str, intervene: Callable[[], Awaitable[Any]]
) -> None:
    """Leave an intervention while its append hangs, let that fail, and see that it is logged once, and not unheard."""
    unheard: list[dict[str, Any]] = []
    event_loop = asyncio.get_running_loop()
    event_loop.set_exception_handler(lambda _, context: unheard.append(context))
    held = hold(loom, monkeypatch, kind)
    with capture_logs() as logs:
        caller = asyncio.ensure_future(intervene())
        await until(lambda: bool(held))
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        held[0].set_exception(DiskFullError("disk is full; expected room: make some"))
        await until(lambda: any(each["event"] == "failed_after_its_caller_left" for each in logs) or bool(unheard))
        gc.collect()
    event_loop.set_exception_handler(None)
    failed = [each["error"] for each in logs if each["event"] == "failed_after_its_caller_left"]
    assert ["disk is full" in each for each in failed] == [True]
    assert unheard == []


async def test_abandoning_a_turn_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.hold("fetch first")
    async with opened(tmp_path, world) as loom:
        await loom.actor(Interpreter, "one").tell(TWO, id="c")
        await world.arrived("fetch first")
        await leave_and_fail(
            loom, monkeypatch, "turn_abandoned", lambda: loom.turns.abandon("c", by="alice", reason="enough")
        )


async def test_abandoning_a_turn_of_a_type_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "whole", World()) as loom:
        await loom.actor(Interpreter, "one").ask(TWO, id="c")
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "cut", history)
    async with opened(tmp_path / "cut", agents=[]) as loom:
        await leave_and_fail(
            loom, monkeypatch, "turn_abandoned", lambda: loom.turns.abandon("c", by="alice", reason="enough")
        )


async def test_forking_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Lender, "one").ask(Lend(key="k"), id="c")
        (step,) = [each.sequence for each in await entries(loom) if each.kind == "context_gathered"]
        await leave_and_fail(loom, monkeypatch, "turn_taken_up", lambda: loom.turns.fork("c", at=step, by="alice"))
