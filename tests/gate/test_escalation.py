"""ESCALATE opens an approval with whom the contract names; what is granted is validated again and executed once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.decisions import ApprovalRequestedEntry
from loom.errors import InvalidNameError, SelfApprovalError
from loom.gate import Answer, Complaint, ExecutedEntry, PolicyProposal
from tests.cli.support import invoke
from tests.gate.support import AGENT, BY, CONTRACT, Desk, gated

ADDRESSED = CONTRACT.model_copy(update={"version": "1.3.0", "escalate_to": "vp_sales"})


def large(proposal: PolicyProposal, context: Mapping[str, Any]) -> Complaint | None:
    discount: Any = proposal.params["discount_offered"]
    return Complaint("NEEDS_A_LOOK", "over 12 %", escalate=True) if discount > 12 else None


async def executed(loom: Loom) -> list[ExecutedEntry]:
    return [each.entry async for each in loom.store.read(f"gate/{AGENT}") if isinstance(each.entry, ExecutedEntry)]


async def ended(loom: Loom, answer: Answer) -> None:
    """Wait until the turn has ended that waited for a person."""
    while (await loom.traces.get(answer.decision_id)).status == "open":
        await asyncio.sleep(0.005)


async def test_without_anybody_to_ask_it_is_a_rejection(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        answer = await (await Desk(loom).arrive()).offer("i-1", 13)
        assert (answer.verdict, answer.code, answer.executed) == ("REJECT", "ESCALATION_UNADDRESSED", False)
        assert "NEEDS_A_LOOK: over 12 %" in answer.why
        assert await loom.approvals.pending() == ()


async def test_who_the_contract_names_is_asked_and_the_agent_does_not_wait(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        answer = await desk.offer("i-1", 13)
        assert (answer.verdict, answer.code, answer.executed) == ("ESCALATE", "NEEDS_A_LOOK", False)
        [approval] = await loom.approvals.pending()
        assert (approval.approver, approval.approval_id) == ("vp_sales", answer.approval_id)
        assert "NEEDS_A_LOOK: over 12 %; proposed is retention_discount with discount_offered 13" in approval.reason
        assert approval.requested_by == AGENT
        # Meanwhile the agent goes on, and proposing the same again asks nobody a second time.
        assert (await desk.offer("i-2", 5)).code == "VALIDATION_PASSED"
        again = await desk.offer("i-1", 13.0, _attempt=2)
        assert (again.verdict, again.approval_id) == ("ESCALATE", answer.approval_id)
        assert len(await loom.approvals.pending()) == 1
        assert [each.params["discount_offered"] for each in await executed(loom)] == [5]


async def test_what_is_granted_is_executed_once_under_the_key_it_had(tmp_path: Path) -> None:
    calls: list[str] = []

    async def sink(proposal: PolicyProposal, key: str) -> str:
        calls.append(key)
        return "sent"

    async with gated(tmp_path, validators=[large], executor=sink) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        answer = await desk.offer("i-1", 13)
        with pytest.raises(SelfApprovalError):
            await loom.approvals.grant(str(answer.approval_id), by=AGENT)
        await loom.approvals.grant(str(answer.approval_id), by="vera")
        await ended(loom, answer)
        [entry] = await executed(loom)
        assert (entry.idempotency_key, calls) == (answer.idempotency_key, [answer.idempotency_key])
        trace = await loom.traces.get(entry.decision_id)
        assert trace.decision.outcome == {"verdict": "ACCEPT", "code": "VALIDATION_PASSED", "executes": True}
        assert trace.decision.parent_decision_id == answer.decision_id
        assert [(each.by, each.granted) for each in trace.decision.approvals] == [("vera", True)]
        again = await desk.offer("i-1", 13)
        assert (again.verdict, again.repeated, again.result) == ("ACCEPT", True, "sent")
        assert len(calls) == 1
        rows = await loom.queries.fetch("SELECT event FROM decision_audit_events ORDER BY id", names=["gate"])
        events = [row["event"] for row in rows]
        assert events.index("ESCALATION_OPENED") < events.index("ESCALATION_ANSWERED")
        assert events.index("ESCALATION_ANSWERED") < events.index("RETENTION_EXECUTED")


async def test_what_is_denied_is_not_asked_about_again(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        answer = await desk.offer("i-1", 13)
        await loom.approvals.deny(str(answer.approval_id), by="vera", comment="not this customer")
        await ended(loom, answer)
        again = await desk.offer("i-1", 13, _attempt=2)
        assert (again.verdict, again.code) == ("REJECT", "ESCALATION_DENIED")
        assert await loom.approvals.pending() == ()
        assert await executed(loom) == []


async def test_a_consent_does_not_speak_for_an_agent_that_was_suspended_since(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        answer = await desk.offer("i-1", 13)
        await loom.standings.suspend(AGENT, by="mira", reason="to look into it")
        await loom.approvals.grant(str(answer.approval_id), by="vera")
        await ended(loom, answer)
        assert await executed(loom) == []
        # Reinstated, it is asked about again: the consent of then was not used, and is not kept in a drawer.
        await loom.standings.reinstate(AGENT, by="mira", reason="looked into")
        again = await desk.offer("i-1", 13, _attempt=2)
        assert again.verdict == "ESCALATE"
        assert again.approval_id not in (None, answer.approval_id)


async def test_a_consent_does_not_outlive_the_proposal(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    async with gated(tmp_path, validators=[large]) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        answer = await desk.offer("i-1", 13, valid_until=soon.isoformat())
        assert answer.verdict == "ESCALATE"
        while datetime.now(UTC) <= soon:
            await asyncio.sleep(0.02)
        await loom.approvals.grant(str(answer.approval_id), by="vera")
        await ended(loom, answer)
        assert await executed(loom) == []
        found = await loom.traces.find(decision_type="gate_verdict", limit=1)
        assert found[0].rationale.startswith("TTL_EXPIRED")


async def test_a_restart_between_question_and_answer_loses_nothing(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        answer = await (await Desk(loom).arrive(ADDRESSED)).offer("i-1", 13)
    async with gated(tmp_path, validators=[large]) as loom:
        # A new session of the agent does not take away what was asked in the one before.
        await Desk(loom).arrive(ADDRESSED)
        await loom.approvals.grant(str(answer.approval_id), by="vera")
        await ended(loom, answer)
        assert len(await executed(loom)) == 1


async def test_what_is_granted_from_the_shell_while_nothing_runs_is_executed_at_the_next_start(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        answer = await (await Desk(loom).arrive(ADDRESSED)).offer("i-1", 13)
    journal = tmp_path / "default" / "journal.db"
    approved = await asyncio.to_thread(invoke, "approve", str(answer.approval_id), "--by", "vera", "-j", journal)
    assert approved.code == 0, approved.err
    async with gated(tmp_path, validators=[large]) as loom:
        await ended(loom, answer)
        [entry] = await executed(loom)
        assert entry.idempotency_key == answer.idempotency_key


async def test_the_same_command_twice_waits_for_one_person_once(tmp_path: Path) -> None:
    async with gated(tmp_path, validators=[large]) as loom:
        desk = await Desk(loom).arrive(ADDRESSED)
        first, second = await asyncio.gather(desk.offer("i-1", 13), desk.offer("i-1", 13))
        assert {first.verdict, second.verdict} == {"ESCALATE"}
        requests = [
            each.entry
            async for each in loom.store.read(f"gate/{AGENT}")
            if isinstance(each.entry, ApprovalRequestedEntry)
        ]
        assert len(requests) == 1


async def test_a_contract_names_somebody_who_can_be_asked(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        with pytest.raises(InvalidNameError, match="escalate_to"):
            await Desk(loom).gate.contracts.register(ADDRESSED.model_copy(update={"escalate_to": " "}), by=BY)
