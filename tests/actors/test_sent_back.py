"""A request that is sent back with a question waits for information; its deadline holds, and so does what was shown."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Loom
from loom.actors import Command
from loom.decisions import Shown
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalRequestedEntry
from loom.errors import AdmissionError, ApprovalAnsweredError, ApprovalMismatchError, SelfApprovalError
from loom.operations.summaries import summary_of
from loom.testing import FixedClock, fixed_sources
from tests.actors.support import entries, kinds, opened, until


class Ask(Command[str]):
    timeout_s: float | None = None


class Clerk(Actor):
    async def execute(self, command: Ask) -> str:
        answer = await self.request_approval(approver="lead", reason="a refund", timeout_s=command.timeout_s)
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted})
        return f"{answer.granted} by {answer.by}: {answer.comment}"


class Delivered:
    """Keeps what it is to deliver."""

    def __init__(self) -> None:
        self.requests: list[ApprovalRequestedEntry] = []

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        self.requests.append(request)


async def asked(loom: Loom, *, timeout_s: float | None = None) -> Any:
    await loom.actor(Clerk, "one").tell(Ask(timeout_s=timeout_s), id="c", by="ada")
    [request] = await until(loom.approvals.pending)
    return request


async def test_a_request_that_is_sent_back_waits_for_information_and_is_delivered_again_with_it(tmp_path: Path) -> None:
    delivered = Delivered()
    async with opened(tmp_path, agents=[Clerk], approver=delivered) as loom:
        request = await asked(loom)
        sent = await loom.approvals.send_back(request.approval_id, by="mira", question="did it arrive?")
        assert (sent.status, sent.question) == ("pending", "did it arrive?")
        with pytest.raises(AdmissionError, match="blank"):
            await loom.approvals.inform(request.approval_id, by="ada", information=" ")
        informed = await loom.approvals.inform(request.approval_id[:12], by="ada", information="on Monday")
        assert (informed.status, informed.question, informed.information) == ("pending", None, "on Monday")
        assert informed.shown != request.shown
        with pytest.raises(ApprovalAnsweredError, match="no open question"):
            await loom.approvals.inform(request.approval_id, by="ada", information="on Monday")
        granted = await loom.approvals.grant(request.approval_id, by="mira", comment="fine")
        assert await loom.actor(Clerk, "one").ask(Ask(), id="c") == "True by mira: fine"
        assert [each.event for each in granted.events] == ["requested", "sent_back", "informed", "granted"]
        assert [(each.information, each.requested_by) for each in delivered.requests] == [
            (None, "ada"),
            ("on Monday", "ada"),
        ]
        written = [each.entry for each in await entries(loom, "clerk/one")]
        assert [each.shown for each in written if isinstance(each, ApprovalAnsweredEntry)] == [
            request.shown,
            informed.shown,
        ]
        lines = "\n".join([summary_of(each) for each in await entries(loom, "clerk/one")])
        assert "sent back by mira (claimed, via python): “did it arrive?”" in lines
        assert "again, informed by ada (claimed, via python): “on Monday”" in lines
        [trace] = await loom.traces.find()
        said = await loom.traces.explain(trace.decision_id)
    assert "sent back by mira" in said.text()
    assert "informed by ada" in said.text()


async def test_the_requester_may_inform_and_may_not_send_back_or_grant_after_it(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clerk]) as loom:
        request = await asked(loom)
        with pytest.raises(SelfApprovalError):
            await loom.approvals.send_back(request.approval_id, by="ada", question="why?")
        await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
        await loom.approvals.inform(request.approval_id, by="ada", information="so")
        with pytest.raises(SelfApprovalError):
            await loom.approvals.grant(request.approval_id, by="ada")


@pytest.mark.parametrize("informed", [False, True])
async def test_the_deadline_of_a_request_holds_while_it_is_sent_back(tmp_path: Path, *, informed: bool) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Clerk], sources=fixed_sources(clock=clock)) as loom:
        request = await asked(loom, timeout_s=60)
        await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
        if informed:
            await loom.approvals.inform(request.approval_id, by="ada", information="so")
        clock.advance(timedelta(seconds=61))
        await loom.approvals.expire_due()
        assert (await loom.approvals.get(request.approval_id)).status == "denied"
        assert await loom.actor(Clerk, "one").ask(Ask(timeout_s=60), id="c") == (
            f"False by None: no answer before the deadline {request.deadline:%Y-%m-%d %H:%M:%S} UTC"
        )


@pytest.mark.parametrize("cut", range(2, 8))
async def test_a_request_that_was_sent_back_survives_a_restart_at_any_entry(tmp_path: Path, cut: int) -> None:
    from tests.actors.support import lay_down

    async with opened(tmp_path / "a", agents=[Clerk]) as loom:
        request = await asked(loom)
        await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
        await loom.approvals.inform(request.approval_id, by="ada", information="so")
        await loom.approvals.grant(request.approval_id, by="mira", comment="fine")
        await loom.actor(Clerk, "one").ask(Ask(), id="c")
        history = [each async for each in loom.store.read_all() if each.journal == "clerk/one"]
    begin = [each.kind for each in history].index("command_received")
    (tmp_path / "b" / "default").mkdir(parents=True)
    await lay_down(tmp_path / "b", history[begin : begin + cut])
    async with opened(tmp_path / "b", agents=[Clerk]) as loom:
        reply = asyncio.ensure_future(loom.actor(Clerk, "one").ask(Ask(), id="c", by="ada"))
        [known] = await until(lambda: loom.approvals.list(limit=5))
        if known.pending and known.question is None and known.information is None:
            await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
            known = await loom.approvals.get(request.approval_id)
        if known.question is not None:
            await loom.approvals.inform(request.approval_id, by="ada", information="so")
            known = await loom.approvals.get(request.approval_id)
        if known.pending:
            await loom.approvals.grant(request.approval_id, by="mira", comment="fine")
        assert await reply == "True by mira: fine"
        again = [each for each in await kinds(loom, "clerk/one") if each.startswith("approval_")]
    assert again == ["approval_requested", "approval_answered", "approval_requested", "approval_answered"]


async def test_what_the_person_saw_is_kept_with_the_answer_and_explained(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clerk]) as loom:
        request = await asked(loom)
        shown = Shown.of("explorer/decision/1", {"reason": request.reason, "n": 1}, basis=request.shown)
        assert shown.digest == hashlib.sha256(b'{"n":1,"reason":"a refund"}').hexdigest()
        granted = await loom.approvals.grant(request.approval_id, by="mira", shown=shown)
        assert (granted.rendering, granted.rendered) == ("explorer/decision/1", shown.digest)
        await loom.actor(Clerk, "one").ask(Ask(), id="c")
        [trace] = await loom.traces.find()
        said = await loom.traces.explain(trace.decision_id)
    assert f"shown: explorer/decision/1, fields {shown.digest[:12]}" in said.text()


async def test_an_answer_to_what_has_changed_since_it_was_shown_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clerk]) as loom:
        request = await asked(loom)
        seen = Shown.of("explorer/decision/1", {}, basis=request.shown)
        await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
        await loom.approvals.inform(request.approval_id, by="ada", information="so")
        with pytest.raises(ApprovalMismatchError, match="has changed since it was shown"):
            await loom.approvals.grant(request.approval_id, by="mira", shown=seen)
        assert (await loom.approvals.get(request.approval_id)).pending
