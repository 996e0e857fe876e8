"""Law 6: automation may deny, pass on and suspend; only a named person grants, adopts or lets try again."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.actors import Actor, Command
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry
from loom.errors import AdmissionError, InvalidNameError
from loom.policies.entries import PolicyAdoptedEntry, PolicyRegisteredEntry
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Interpreter
from tests.actors.support import entries, opened, until


class Wait(Command[bool]):
    timeout_s: float
    escalate_to: tuple[str, ...] = ()


class Waiting(Actor[None]):
    async def execute(self, command: Wait) -> bool:
        approval = await self.request_approval(
            approver="vp",
            reason="please",
            timeout_s=command.timeout_s,
            escalate_to=command.escalate_to,
            on_deadline="escalate" if command.escalate_to else "deny",
        )
        return approval.granted


async def let_time_pass(directory: Path, waits: list[tuple[float, int]], steps: list[float]) -> None:
    clock = FixedClock()
    async with opened(directory, agents=[Waiting], sources=fixed_sources(clock)) as loom:
        for number, (timeout_s, levels) in enumerate(waits):
            command = Wait(timeout_s=timeout_s, escalate_to=tuple(f"level {level}" for level in range(levels)))
            await loom.actor(Waiting, f"{number}").tell(command, id=f"{number}", by="bob")

        async def all_asked() -> bool:
            return (await _count(loom, "approval_requested")) == len(waits)

        await until(all_asked)
        for step in steps:
            clock.advance(timedelta(seconds=step))
            await loom.approvals.expire_due()
        clock.advance(timedelta(days=1_000))
        while await loom.approvals.pending():
            await loom.approvals.expire_due()
            clock.advance(timedelta(days=1_000))
        for number, (timeout_s, levels) in enumerate(waits):
            command = Wait(timeout_s=timeout_s, escalate_to=tuple(f"level {level}" for level in range(levels)))
            assert await loom.actor(Waiting, f"{number}").ask(command, id=f"{number}") is False
        recorded = [each.entry for each in await entries(loom)]
        answered = [entry for entry in recorded if isinstance(entry, ApprovalAnsweredEntry)]
        assert len(answered) == len(waits)
        assert all(not entry.granted and entry.by is None and entry.comment for entry in answered)
        escalated = [entry for entry in recorded if isinstance(entry, ApprovalEscalatedEntry)]
        assert len(escalated) == sum(levels for _, levels in waits)


async def _count(loom: Any, kind: str) -> int:
    return sum(each.kind == kind for each in await entries(loom))


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 3)), min_size=1, max_size=4),
    st.lists(st.floats(-1e6, 1e6), max_size=5),
)
def test_however_time_passes_a_deadline_never_grants(waits: list[tuple[float, int]], steps: list[float]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(let_time_pass(Path(directory), waits, steps))


@pytest.mark.parametrize("by", ["", " ", "\n", "a\x00b"])
async def test_nothing_that_widens_is_done_in_nobodys_name(tmp_path: Path, by: str) -> None:
    async with opened(tmp_path, agents=[Waiting]) as loom:
        await loom.actor(Waiting, "one").tell(Wait(timeout_s=3600), id="c", by="bob")
        (request,) = await until(loom.approvals.pending)
        version = loom.policies.latest("waiting")
        for widening in (
            loom.approvals.grant(request.approval_id, by=by),
            loom.policies.adopt(version.version, by=by),
            loom.turns.retry("c", by=by),
            loom.turns.abandon("c", by=by, reason="enough"),
        ):
            with pytest.raises(InvalidNameError):
                await widening
        assert await _count(loom, "approval_answered") == 0
        with pytest.raises(AdmissionError):
            await loom.turns.abandon("c", by="alice", reason=" ")


async def test_what_code_registers_at_start_is_in_the_name_of_whoever_opened_the_loom(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Interpreter, Waiting]) as loom:
        registry = [each.entry for each in await entries(loom, "loom/policies")]
        assert {entry.by for entry in registry if isinstance(entry, PolicyRegisteredEntry | PolicyAdoptedEntry)} == {
            "the tester"
        }


class Granted:
    """A messenger that would like to grant."""

    async def deliver(self, *_: Any, **__: Any) -> Any:
        return True


async def test_a_messenger_cannot_grant_by_what_it_returns(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Waiting], approver=Granted()) as loom:
        await loom.actor(Waiting, "one").tell(Wait(timeout_s=3600), id="c", by="bob")
        (request,) = await until(loom.approvals.pending)
        await loom.reached()
        assert request.pending
        assert await _count(loom, "approval_answered") == 0
