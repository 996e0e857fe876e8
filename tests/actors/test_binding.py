"""An effect is bound to what was approved: with other arguments, another action or a second time nothing is done."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Annotated, Any

import pytest

from loom import Actor, ApprovalGiven, Loom, LoomConfig, effect_key
from loom.actors import Command
from loom.actors.entries import EffectIntendedEntry
from loom.actors.verbs.shared import digest
from loom.decisions.entries import ApprovalRequestedEntry
from loom.errors import ActorFailedError, ApprovalMismatchError, NoTurnError
from loom.journal.entry import KINDS
from loom.sealing import MASTER_KEY, Sealed, SealingConfig
from loom.testing import Scenario
from tests.actors.support import Granting, entries, kinds, opened, until
from tests.cli.support import invoke

IBAN = "DE12 3456 7890"
ASKED = {"order": "o-1", "amount_usd": 40}


class Refund(Command[list[list[str]]]):
    asked: dict[str, Any] | None = ASKED
    action: str | None = "refund"
    done: tuple[tuple[str, dict[str, Any] | None, str], ...] = (("refund", ASKED, "r-1"),)
    foreign: bool = False


class Desk(Actor):
    async def execute(self, command: Refund) -> list[list[str]]:
        approval = await self.request_approval(
            approver="lead", reason="a refund", action=command.action, arguments=command.asked
        )
        if command.foreign:
            approval = ApprovalGiven.model_validate(approval.model_dump() | {"approval_id": "f" * 64, "granted": True})
        return [
            await self.perform(
                action=action, effect=lambda key: [key, effect_key()], key=key, arguments=arguments, under=approval
            )
            for action, arguments, key in command.done
        ]


async def test_an_effect_with_the_approved_arguments_is_done_and_names_its_approval(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Desk], approver=Granting()) as loom:
        assert await loom.actor(Desk, "one").ask(Refund(), id="c") == [["r-1", "r-1"]]
        written = [each.entry for each in await entries(loom, "desk/one")]
        [asked] = [each for each in written if isinstance(each, ApprovalRequestedEntry)]
        [intent] = [each for each in written if isinstance(each, EffectIntendedEntry)]
        [listed] = await loom.approvals.list()
    assert (asked.action, asked.arguments) == ("refund", ASKED)
    assert (listed.action, listed.arguments) == ("refund", ASKED)
    assert (intent.arguments, intent.under) == (ASKED, asked.approval_id)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Refund(done=(("refund", {**ASKED, "amount_usd": 400}, "r-1"),)), "other arguments"),
        (Refund(done=(("refund", None, "r-1"),)), "other arguments"),
        (Refund(asked=None), "other arguments"),
        (Refund(done=(("payout", ASKED, "r-1"),)), "is for .refund.; expected it to be for .payout."),
        (Refund(foreign=True), "no answer to turn"),
    ],
)
async def test_another_effect_than_the_approved_one_is_refused_and_nothing_is_done(
    tmp_path: Path, command: Refund, says: str
) -> None:
    async with opened(tmp_path, agents=[Desk], approver=Granting()) as loom:
        with pytest.raises(ActorFailedError, match=says) as caught:
            await loom.actor(Desk, "one").ask(command, id="c")
        assert caught.value.type_name == ApprovalMismatchError.__name__
        assert "effect_intended" not in await kinds(loom, "desk/one")


async def test_a_denied_approval_permits_nothing(tmp_path: Path) -> None:
    happened = await Scenario(Desk, answers={"lead": False}).when(Refund())
    happened.then(raises="ApprovalMismatchError")
    assert "effect_intended" not in happened.kinds


async def test_one_approval_covers_one_effect_that_may_be_tried_again(tmp_path: Path) -> None:
    twice = Refund(done=(("refund", ASKED, "r-1"), ("refund", ASKED, "r-1"), ("refund", ASKED, "r-2")))
    happened = await Scenario(Desk).when(twice)
    happened.then(raises="ApprovalMismatchError")
    assert [each.key for each in happened.entries if isinstance(each, EffectIntendedEntry)] == ["r-1", "r-1"]


async def test_a_bound_effect_resumes_from_every_entry() -> None:
    happened = await Scenario(Desk, always_resume=True).when(Refund())
    happened.then(reply=[["r-1", "r-1"]])


async def test_what_is_asked_is_part_of_what_the_answer_binds() -> None:
    shown = {
        (await Scenario(Desk).when(command)).entries[1].shown  # type: ignore[attr-defined]
        for command in (
            Refund(done=()),
            Refund(done=(), action="payout"),
            Refund(done=(), asked={**ASKED, "amount_usd": 41}),
        )
    }
    assert len(shown) == 3


def test_a_request_of_schema_3_names_no_effect() -> None:
    body = (
        b'{"step":["request_approval","lead",0],"identity_source":"claimed","via":null,"approval_id":"a","approver":"lead",'
        b'"reason":"r","shown":"s","facts":null,"evaluation":null,"requested_by":"bob","deadline":null,'
        b'"on_deadline":"deny","escalate_to":[]}'
    )
    entry = KINDS.decode("approval_requested", 3, body)
    assert isinstance(entry, ApprovalRequestedEntry)
    assert (entry.action, entry.arguments, entry.bound) == (None, None, None)


def test_there_is_no_effect_key_outside_an_effect() -> None:
    with pytest.raises(NoTurnError, match="outside an effect"):
        effect_key()


class Note(Command[str]):
    subject_field = "customer"

    customer: str
    iban: Annotated[str, Sealed()]
    other: str = ""


class Payer(Actor):
    async def execute(self, command: Note) -> str:
        asked = await self.request_approval(
            approver="lead", reason=f"to {command.iban}", action="pay", arguments={"iban": command.iban}
        )
        arguments = {"iban": command.other or command.iban}
        return str(await self.perform(action="pay", effect=lambda key: key, key="p", arguments=arguments, under=asked))


@pytest.mark.parametrize("other", ["", "DE00 0000 0000"])
async def test_protected_arguments_are_compared_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    config = LoomConfig(data=tmp_path, sections={"sealing": SealingConfig(enabled=True)})
    granting = Granting()
    async with Loom.open(config, by="the tester", actors=[Payer], approver=granting) as loom:
        granting.loom = loom
        paying = loom.actor(Payer, "one").ask(Note(customer="c-7", iban=IBAN, other=other), id="c")
        if not other:
            assert await paying == "p"
        else:
            with pytest.raises(ActorFailedError, match="ApprovalMismatchError"):
                await paying
        bodies = b"".join([each.body or b"" for each in await entries(loom, "payer/one")])
        assert (b"effect_performed" in b" ".join(each.kind.encode() for each in await entries(loom))) == (not other)
    assert IBAN.encode() not in bodies
    assert digest({"iban": IBAN}).encode() not in bodies


@pytest.mark.sqlite("the shell, which opens the file itself")
async def test_the_shell_shows_the_effect_that_is_to_be_approved(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\n")
    async with Loom.open(str(config), by="the tester", actors=[Desk]) as loom:
        await loom.actor(Desk, "one").tell(Refund(), id="c", by="ada")
        [asked] = await until(loom.approvals.pending)
    shown = await asyncio.to_thread(invoke, "approvals", asked.approval_id, config=config)
    assert "to do" in shown.out
    assert "refund order=o-1, amount_usd=40" in shown.out
