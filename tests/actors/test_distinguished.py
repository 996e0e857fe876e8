"""An answer against those to earlier cases of its class says why this case differs, and that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom import Actor, Loom
from loom.actors import Command
from loom.decisions import Approval
from loom.errors import ChangesRefusedError, DistinctionRequiredError
from loom.precedents import EquivalenceRule, Exact
from tests.actors.support import opened, until
from tests.actors.test_granted_with_changes import Adjust, Order, refunds


class Refund(Command[bool]):
    amount: int = 200
    region: str = "n"


class Refunds(Actor):
    policy = refunds
    equivalence = EquivalenceRule("test-refunds", attributes=[Exact("region")], outcome=[Exact("granted")])

    async def execute(self, command: Refund) -> bool:
        self.evaluate(Order(amount=command.amount, region=command.region))
        answer = await self.request_approval(approver="lead", reason="a refund", adjustable=Adjust)
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted})
        return answer.granted


async def asked(loom: Loom, command_id: str, *, amount: int = 200, region: str = "n") -> Approval:
    await loom.actor(Refunds, command_id).tell(Refund(amount=amount, region=region), id=command_id, by="ada")
    [request] = await until(loom.approvals.pending)
    return request  # type: ignore[no-any-return]


async def granted(loom: Loom, command_id: str) -> None:
    request = await asked(loom, command_id)
    await loom.approvals.grant(request.approval_id, by="mira")
    await loom.actor(Refunds, command_id).ask(Refund(), id=command_id)


async def test_an_answer_against_earlier_ones_says_why_the_case_differs(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Refunds]) as loom:
        await granted(loom, "a")
        await granted(loom, "b")
        request = await asked(loom, "c")
        earlier = await loom.approvals.earlier(request.approval_id)
        assert (earlier.granted, earlier.denied, [each.by for each in earlier.answers]) == (2, 0, ["mira", "mira"])
        for blank in (None, "  "):
            with pytest.raises(DistinctionRequiredError, match="2 of 2 were granted"):
                await loom.approvals.deny(request.approval_id, by="mira", comment="no", distinguished=blank)
        assert (await loom.approvals.get(request.approval_id)).pending
        denied = await loom.approvals.deny(
            request.approval_id, by="mira", comment="no", distinguished="the parcel was opened"
        )
        assert denied.distinguished == "the parcel was opened"
        assert set(denied.against) == {each.decision_id for each in earlier.answers}
        await loom.actor(Refunds, "c").ask(Refund(), id="c")
        [trace, *_] = await loom.traces.find()
        said = " ".join((await loom.traces.explain(trace.decision_id)).text().split())
    assert "distinguished because: the parcel was opened" in said


async def test_an_answer_like_the_earlier_ones_a_question_and_another_class_need_no_distinction(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Refunds]) as loom:
        await granted(loom, "a")
        request = await asked(loom, "b")
        await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
        assert (await loom.approvals.grant(request.approval_id, by="mira")).against == ()
        elsewhere = await asked(loom, "c", region="s")
        assert elsewhere.situation not in (None, request.situation)
        assert (await loom.approvals.deny(elsewhere.approval_id, by="mira", comment="no")).status == "denied"


async def test_changes_that_the_rule_denies_are_refused_when_they_are_given(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Refunds]) as loom:
        request = await asked(loom, "a")
        preview = await loom.approvals.preview(request.approval_id, {"amount": 600})
        assert (preview.goes_to, preview.refused, preview.facts) == ("head", False, {"amount": 600, "region": "n"})
        assert (await loom.approvals.preview(request.approval_id, {"amount": 950})).refused
        with pytest.raises(ChangesRefusedError, match="over the most"):
            await loom.approvals.grant(request.approval_id, by="mira", changes={"amount": 950})
        assert (await loom.approvals.grant(request.approval_id, by="mira", changes={"amount": 50})).status == "granted"
