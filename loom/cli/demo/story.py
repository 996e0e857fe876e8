"""The story of the demo: within the limit, an exception with consent, a kill and what goes on after it, a denial."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loom.cli.demo.agent import DiscountAgent, RequestDiscount
from loom.cli.demo.waiting import asked
from loom.decisions import Explanation
from loom.errors import LoomError
from loom.journal.sqlite.verify import verify
from loom.runtime import Loom

__all__ = ["CONFIG", "StoryResult", "tell"]

CONFIG = """\
# Written by `loom demo`: in this directory, `loom` knows the journal of the demo and the agent that wrote it.

data: data
workspace: discounts
modules: [loom.cli.demo.agent]
"""

_KEY = "emea"
_ASKING = "robin"
_VP = "dana"
_CASE = RequestDiscount(customer_id="acme-health", percent=15)
_CASE_ID = "acme-health-15"
_PATIENCE_S = 60.0


@dataclass(slots=True)
class StoryResult:
    """The result of the story."""

    directory: Path
    journal: Path
    decisions: dict[str, str] = field(default_factory=dict)
    explanation: Explanation | None = None
    state: Any = None
    verdict: str = ""
    killed: int = 0


async def tell(directory: Path, *, title: Callable[[str], None], say: Callable[[str], None]) -> StoryResult:
    """Play the story in a directory that holds the config, and describe each step as it happens."""
    config = directory / "loom.config.yaml"
    async with asyncio.timeout(_PATIENCE_S):
        async with Loom.open(config, by=_ASKING) as loom:
            result = StoryResult(directory, loom.files.journal)
            await _within_the_limit(loom, result, title, say)
            await _two_exceptions(loom, result, title, say)
        await _killed(config, result, title, say)
        async with Loom.open(config, by=_ASKING) as loom:
            await _after_the_kill(loom, result, title, say)
            await _denied(loom, result, title, say)
            await _rebuilt(loom, result, title, say)
    result.verdict = next(iter((await asyncio.to_thread(verify, result.journal)).lines()))
    say(f"loom verify says: {result.verdict}")
    return result


async def _within_the_limit(
    loom: Loom, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]
) -> None:
    title("Within the limit of 10 %")
    say("delta-retail asks for 8 %.")
    request = RequestDiscount(customer_id="delta-retail", percent=8)
    answer = await loom.actor(DiscountAgent, _KEY).ask(request, id="delta-retail-8", by=_ASKING)
    result.decisions["within_limit"] = answer.decision_id
    say(f"It gets {answer.percent} %, and no approval was needed. Decision {answer.decision_id[:12]}.")


async def _two_exceptions(
    loom: Loom, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]
) -> None:
    title("Two exceptions, which become precedents")
    for customer_id in ("borealis", "cobalt"):
        request = RequestDiscount(customer_id=customer_id, percent=15)
        say(f"{customer_id} asks for 15 %: over the limit, so the agent asks the VP of sales.")
        percent, decision = await _with_consent(
            loom, request, command_id=f"{customer_id}-15", granted=True, comment="the incidents were on our side"
        )
        result.decisions[customer_id] = decision
        say(f"{_VP} grants it: {percent} %. Decision {decision[:12]}.")


async def _killed(config: Path, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Let a child process run the case up to the request for approval, and kill it there."""
    title("The case at hand, in a process that is killed")
    say("acme-health (healthcare, $500,000 a year, 3 open SEV-1 tickets) asks for 15 %.")
    arguments = (config, _KEY, _CASE.customer_id, _CASE.percent, _CASE_ID, _ASKING)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loom.cli.demo.child", *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        approval_id = (await child.stdout.readline()).decode().strip()
        if not approval_id:
            raise LoomError(
                "the demo's child process ended early; expected it to wait for approval: see what it printed"
            )
        say(f"Process {child.pid} looks the customer up, finds both precedents, and asks: approval {approval_id[:12]}.")
    finally:
        if child.returncode is None:
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    result.killed = child.pid
    say(f"kill -9 {child.pid}: it is gone, in the middle of its turn.")


async def _after_the_kill(
    loom: Loom, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]
) -> None:
    title("A new process goes on from the journal")
    approval = await asked(loom, _CASE_ID)
    say(f"The request is still there: {approval.reason}.")
    await loom.approvals.grant(approval.approval_id, by=_VP, comment="the third case of its kind")
    answer = await loom.actor(DiscountAgent, _KEY).ask(_CASE, id=_CASE_ID, by=_ASKING)
    entries = [each async for each in loom.store.read(approval.journal) if each.command_id == _CASE_ID]
    lookups = sum(each.kind == "context_gathered" for each in entries)
    result.decisions["case"] = answer.decision_id
    say(f"{_VP} grants it, and the turn ends: {answer.percent} %. Decision {answer.decision_id[:12]}.")
    say(f"{lookups} look-ups are in the journal for {lookups} systems: nothing was asked twice.")


async def _denied(loom: Loom, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]) -> None:
    title("A denial")
    say("delta-retail comes back and asks for 30 %.")
    request = RequestDiscount(customer_id="delta-retail", percent=30)
    percent, decision = await _with_consent(
        loom, request, command_id="delta-retail-30", granted=False, comment="no incidents, a small account"
    )
    result.decisions["denied"] = decision
    say(f"{_VP} denies it: {percent} %. Decision {decision[:12]}.")


async def _rebuilt(loom: Loom, result: StoryResult, title: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Fold the state out of the journal, and throw the views away to see them come back."""
    result.explanation = await loom.traces.explain(result.decisions["case"])
    title("Everything comes back from the journal")
    result.state = await loom.replay.state(f"{DiscountAgent.actor_type}/{_KEY}")
    say(f"The agent's state, folded again from its first entry: {result.state}.")
    before = await loom.traces.find()
    await loom.rebuild()
    same = "the same" if await loom.traces.find() == before else "NOT the same"
    say(
        f"The views, thrown away and built again from {loom.store.acknowledged} entries: "
        f"{len(before)} decisions, {same}."
    )


async def _with_consent(
    loom: Loom, request: RequestDiscount, *, command_id: str, granted: bool, comment: str
) -> tuple[int, str]:
    """Send a request that needs approval, and answer it as the approver."""
    agent = loom.actor(DiscountAgent, _KEY)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(agent.ask(request, id=command_id, by=_ASKING))
        approval = await asked(loom, command_id)
        if granted:
            await loom.approvals.grant(approval.approval_id, by=_VP, comment=comment)
        else:
            await loom.approvals.deny(approval.approval_id, by=_VP, comment=comment)
    answer = waiting.result()
    return answer.percent, answer.decision_id
