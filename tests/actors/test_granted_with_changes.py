"""A person may grant other values than those asked for: the changed case is judged again, and binds the effect."""

from __future__ import annotations

import base64
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, field_validator

from loom import Actor, Loom, LoomConfig
from loom.actors import Command
from loom.actors.entries import EffectIntendedEntry
from loom.decisions.adjustable import AdjustableField, adjustable_fields, checked_changes
from loom.decisions.decision import NeedsInformation
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalRequestedEntry, EvaluatedEntry
from loom.errors import ActorFailedError, AdmissionError
from loom.policies import (
    Evaluation,
    Facts,
    Params,
    allow,
    case,
    deny,
    first_match,
    otherwise,
    policy,
    require_approval,
)
from loom.replay import Selection
from loom.replay.turn_verification import verify_turns
from loom.sealing import MASTER_KEY, Sealed, SealingConfig
from loom.testing import Scenario
from tests.actors.support import entries, kinds, opened, until


class Limits(Params):
    lead: int = 100
    head: int = 500
    most: int = 900


class Order(Facts):
    amount: int
    region: str = "n"


@policy("test-refund", Limits(), examples=[Order(amount=5)])
def refunds(params: Limits, facts: Order) -> Evaluation:
    return first_match(
        case("most", facts.amount > params.most, deny(), why="over the most", why_not="not over the most"),
        case("head", facts.amount > params.head, require_approval("head"), why="over 500", why_not="not over 500"),
        case("lead", facts.amount > params.lead, require_approval("lead"), why="over 100", why_not="not over 100"),
        otherwise("small", allow(), why="small"),
    )


class Adjust(BaseModel):
    amount: int = Field(ge=1, le=1_000, description="what is paid back")


class Refund(Command[dict[str, Any]]):
    amount: int = 200
    paid: int | None = None


class Desk(Actor):
    policy = refunds

    async def execute(self, command: Refund) -> dict[str, Any]:
        self.evaluate(Order(amount=command.amount))
        arguments = {"order": "o-1", "amount": command.amount}
        answer = await self.request_approval(
            approver="lead", reason="a refund", action="refund", arguments=arguments, adjustable=Adjust
        )
        granted = {**arguments, **answer.changes}
        if command.paid is not None:
            granted["amount"] = command.paid
        if answer.granted:
            await self.perform(action="refund", effect=lambda key: key, key="r", arguments=granted, under=answer)
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted, **granted})
        return {"granted": answer.granted, "by": answer.by, "amount": granted["amount"], "comment": answer.comment}


@pytest.mark.parametrize(
    ("answers", "amount", "requests", "judgements", "resume"),
    [
        ({"lead": {"amount": 50}}, 50, ["lead"], 2, False),  # now allowed without any approval
        ({"lead": {"amount": 150}}, 150, ["lead"], 2, False),  # the lead's own tier
        ({"lead": {"amount": 600}, "head": {"amount": 550}}, 550, ["lead", "head"], 3, True),  # goes to the head
        ({"lead": {"amount": 200}}, 200, ["lead"], 1, False),  # no change
    ],
)
async def test_the_changed_case_is_judged_again_and_goes_to_whom_the_rule_names(
    answers: dict[str, Any], amount: int, requests: list[str], judgements: int, *, resume: bool
) -> None:
    happened = await Scenario(Desk, answers=answers, always_resume=resume).when(Refund())
    asked = [each for each in happened.entries if isinstance(each, ApprovalRequestedEntry)]
    assert happened.reply["amount"] == amount
    assert [each.approver for each in asked] == requests
    assert [each.after for each in asked] == [None, asked[0].approval_id][: len(asked)]
    judged = [each.facts["amount"] for each in happened.entries if isinstance(each, EvaluatedEntry)]
    assert len(judged) == judgements
    assert judged[0] == 200
    assert judged[-1] == amount
    [intent] = [each for each in happened.entries if isinstance(each, EffectIntendedEntry)]
    assert intent.arguments == {"order": "o-1", "amount": amount}
    assert intent.under == asked[-1].approval_id
    [decision] = happened.decisions
    assert (decision.facts or {})["amount"] == amount
    assert len(decision.refers.approvals if decision.refers else ()) == len(asked)


async def test_the_request_says_what_may_be_changed_and_the_answer_what_was(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Desk]) as loom:
        await loom.actor(Desk, "one").tell(Refund(), id="c", by="ada")
        [request] = await until(loom.approvals.pending)
        [field] = request.adjustable
        assert field == AdjustableField(
            name="amount", type="integer", asked=200, minimum=1, maximum=1_000, description="what is paid back"
        )
        for wrong in ({"amount": 0}, {"amount": "50"}, {"amount": True}, {"order": "o-2"}, {"nothing": 1}):
            with pytest.raises(AdmissionError):
                await loom.approvals.grant(request.approval_id, by="mira", changes=wrong)
        granted = await loom.approvals.grant(request.approval_id, by="mira", changes={"amount": 50})
        assert (granted.changes, granted.facts) == ({"amount": 50}, {"amount": 200, "region": "n"})
        assert (await loom.actor(Desk, "one").ask(Refund(), id="c"))["amount"] == 50
        [trace] = await loom.traces.find()
        said = " ".join((await loom.traces.explain(trace.decision_id)).text().split())
        assert "granted with amount=50 by mira" in said
        version = loom.policies.adopted("test-refund")
        assert version is not None
        assert (await loom.replay.run(Selection(), under=version.version)).counts == {"unchanged": 1}
        [verified] = [each async for each in verify_turns(loom.store, loom.actors, "desk/one")]
        assert (verified.verdict, verified.reason) == ("same", None)


async def test_an_effect_with_the_arguments_that_were_asked_for_is_refused_after_a_change() -> None:
    happened = await Scenario(Desk, answers={"lead": {"amount": 50}}).when(Refund(paid=200))
    happened.then(raises="ApprovalMismatchError")
    assert "effect_intended" not in happened.kinds


async def test_the_first_approval_does_not_cover_what_another_person_has_to_approve() -> None:
    happened = await Scenario(Desk, answers={"lead": {"amount": 600}, "head": False}).when(Refund())
    assert happened.reply["granted"] is False
    assert "effect_intended" not in happened.kinds


class Mixed(BaseModel):
    percent: float = Field(ge=0, lt=50.5)
    price: Decimal = Field(gt=Decimal("0.10"), le=Decimal("99.99"))
    tier: Literal["gold", "silver"]
    note: str | None = Field(default=None, max_length=5)
    urgent: bool = False


MIXED: dict[str, JsonValue] = {"percent": 5, "price": "1.50", "tier": "gold", "note": None, "urgent": False}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("percent", [0, 50.4], [-0.1, 50.5, "5", None, True]),
        ("price", ["0.11", "99.99", 3], ["0.10", "100", "NaN", "x", 1.5]),
        ("tier", ["silver"], ["bronze", "", None]),
        ("note", [None, "short"], ["longer", 5]),
        ("urgent", [True], [0, "true", None]),
    ],
)
def test_values_are_checked_against_what_the_request_says(name: str, good: list[Any], bad: list[Any]) -> None:
    fields = adjustable_fields(Mixed, MIXED)
    for value in good:
        changed = checked_changes(fields, {name: value})
        assert changed == ({} if value == MIXED[name] else {name: str(value) if name == "price" else value})
    for value in bad:
        with pytest.raises(AdmissionError, match="expected"):
            checked_changes(fields, {name: value})


@given(value=st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.none()))
def test_what_the_bounds_permit_the_model_accepts_and_the_other_way_round(value: Any) -> None:
    [field] = adjustable_fields(Adjust, {"amount": 7})
    strict = isinstance(value, int) and not isinstance(value, bool)
    try:
        Adjust.model_validate({"amount": value}, strict=True)
        accepted = strict
    except ValueError:
        accepted = False
    try:
        field.checked(value)
        permitted = True
    except AdmissionError:
        permitted = False
    assert permitted == accepted


class Checked(BaseModel):
    amount: int

    @field_validator("amount")
    @classmethod
    def _even(cls, amount: int) -> int:
        return amount


class Patterned(BaseModel):
    amount: str = Field(pattern="a+")


class Nested(BaseModel):
    amount: Adjust


class Unknown(BaseModel):
    elsewhere: int


class Empty(BaseModel):
    pass


class Colour(StrEnum):
    RED = "red"


class Chosen(BaseModel):
    amount: Colour


@pytest.mark.parametrize("model", [Checked, Patterned, Nested, Unknown, Empty])
def test_a_model_that_the_request_cannot_say_is_refused_before_anyone_is_asked(model: type[BaseModel]) -> None:
    with pytest.raises(AdmissionError, match="expected"):
        adjustable_fields(model, {"amount": 1})


def test_a_choice_may_be_an_enumeration() -> None:
    [field] = adjustable_fields(Chosen, {"amount": "red"})
    assert (field.type, field.choices) == ("text", ("red",))


# --- a question as the answer ----------------------------------------------------------------------


class Curious(Actor):
    async def execute(self, command: Refund) -> dict[str, Any]:
        told = "a refund"
        while True:
            answer = await self.request_approval(approver="lead", reason=told, on_question="return")
            if not isinstance(answer, NeedsInformation):
                break
            found = await self.gather_context(
                system="shop", entity="parcel", query=answer.question, fetcher=lambda: "on Monday"
            )
            told = f"a refund: {answer.question} {found}"
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted})
        return {"told": told, "by": answer.by}


async def test_a_turn_that_asked_for_questions_gets_them_and_asks_again(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Curious]) as loom:
        await loom.actor(Curious, "one").tell(Refund(), id="c", by="ada")
        [first] = await until(loom.approvals.pending)
        sent = await loom.approvals.send_back(first.approval_id, by="mira", question="did it arrive?")
        assert (sent.status, sent.answered_by) == ("sent_back", "mira")
        [second] = await until(loom.approvals.pending)
        assert second.approval_id != first.approval_id
        await loom.approvals.grant(second.approval_id, by="mira")
        reply = await loom.actor(Curious, "one").ask(Refund(), id="c")
        assert reply == {"told": "a refund: did it arrive? on Monday", "by": "mira"}
        before = await kinds(loom, "curious/one")
        [trace] = await loom.traces.find()
        assert [each.granted for each in (await loom.traces.get(trace.decision_id)).decision.approvals] == [True]
    async with opened(tmp_path, agents=[Curious]) as loom:
        assert await kinds(loom, "curious/one") == before


# --- protected values ------------------------------------------------------------------------------


class Customer(Facts):
    amount: int
    name: Annotated[str, Sealed()]


@policy("test-sealed-refund", Limits(), examples=[Customer(amount=5, name="x")])
def sealed_refunds(params: Limits, facts: Customer) -> Evaluation:
    return first_match(
        case("most", facts.amount > params.most, deny(), why="over the most", why_not="not over the most"),
        otherwise("small", require_approval("lead"), why="asks"),
    )


class Named(BaseModel):
    name: str


class Pay(Command[dict[str, Any]]):
    subject_field = "customer"

    customer: str
    name: Annotated[str, Sealed()]
    names: bool = False
    careless: bool = False


class Payer(Actor):
    policy = sealed_refunds

    async def execute(self, command: Pay) -> dict[str, Any]:
        self.evaluate(Customer(amount=200, name=command.name))
        answer = await self.request_approval(
            approver="lead",
            reason="a refund",
            action="pay",
            arguments={"amount": 200, "to": command.name},
            adjustable=Named if command.names else Adjust,
        )
        if answer.granted or command.careless:
            changes = {} if command.careless else answer.changes
            arguments = {"amount": 200, "to": command.name, **changes}
            await self.perform(action="pay", effect=lambda key: key, key="p", arguments=arguments, under=answer)
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted})
        return {"granted": answer.granted, "comment": answer.comment}


@pytest.mark.parametrize("amount", [150, 950])
async def test_sealed_facts_of_the_changed_case_stay_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: int
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    config = LoomConfig(data=tmp_path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="the tester", actors=[Payer]) as loom:
        await loom.actor(Payer, "one").tell(Pay(customer="c-7", name="Ada Lovelace"), id="c")
        [request] = await until(loom.approvals.pending)
        await loom.approvals.grant(request.approval_id, by="mira", changes={"amount": amount})
        reply = await loom.actor(Payer, "one").ask(Pay(customer="c-7", name="Ada Lovelace"), id="c")
        written = await entries(loom, "payer/one")
    assert reply["granted"] == (amount == 150)  # the rule denies the other, once its facts are open
    assert ("over the most" in (reply["comment"] or "")) == (amount == 950)
    assert ("effect_performed" in [each.kind for each in written]) == (amount == 150)
    judged = [each.entry.facts for each in written if isinstance(each.entry, EvaluatedEntry)]
    assert [facts["amount"] for facts in judged] == [200, amount]
    assert all(isinstance(facts["name"], dict) for facts in judged)
    assert b"Ada Lovelace" not in b"".join(each.body or b"" for each in written)
    assert [each.entry.changes for each in written if isinstance(each.entry, ApprovalAnsweredEntry)] == [
        {"amount": amount}
    ]


async def test_what_the_rule_refused_after_a_change_covers_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    config = LoomConfig(data=tmp_path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="the tester", actors=[Payer]) as loom:
        asked = Pay(customer="c-7", name="Ada Lovelace", careless=True)
        await loom.actor(Payer, "one").tell(asked, id="c")
        [request] = await until(loom.approvals.pending)
        await loom.approvals.grant(request.approval_id, by="mira", changes={"amount": 950})
        with pytest.raises(ActorFailedError, match="ApprovalMismatchError"):
            await loom.actor(Payer, "one").ask(asked, id="c")
        assert "effect_intended" not in await kinds(loom, "payer/one")


async def test_a_protected_value_may_not_be_adjustable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    config = LoomConfig(data=tmp_path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="the tester", actors=[Payer]) as loom:
        with pytest.raises(Exception, match="AdmissionError"):
            await loom.actor(Payer, "one").ask(Pay(customer="c-7", name="Ada", names=True), id="c")
        assert "approval_requested" not in await kinds(loom, "payer/one")
