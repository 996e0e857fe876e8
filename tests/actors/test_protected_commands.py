"""Commands that declare fields: sealed in the journal, plain in the turn, compared by proofs, and gone once erased."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest

from loom import Actor, Command, Loom, LoomConfig
from loom.errors import ActorFailedError, AdmissionError, CommandConflictError, ConfigError, ErasedError
from loom.journal.kinds import CommandReceivedEntry, TurnFailedEntry
from loom.sealing import MASTER_KEY, Dropped, Masked, Sealed, SealingConfig, is_sealed
from tests.on_postgres import stored, verify

EMAIL, PHONE, NOTE = "ada@example.org", "+44 20 7946", "calls at night"
SECRETS = [each.encode() for each in (EMAIL, PHONE, NOTE, "Byron")]

seen: list[Any] = []


class Apply(Command[str]):
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]
    guarantor_id: str = "g-1"
    guarantor: Annotated[str | None, Sealed(subject="guarantor_id")] = None
    what: str = ""


class Call(Command[str]):
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]
    phone: Annotated[str, Masked()]
    note: Annotated[str | None, Dropped()] = None
    what: str = ""


class Ring(Command[str]):
    phone: Annotated[str, Masked()]


class Desk(Actor[None]):
    actor_type = "desk"

    async def execute(self, command: Apply | Call | Ring) -> str:
        seen.append(command)
        if isinstance(command, Ring):
            return "rung"
        if command.what == "fail":
            raise RuntimeError(f"no answer for {command.email}")
        if command.what == "look":
            await self.gather_context(system="crm", entity="e", query="q", fetcher=lambda: _refuse(command.email))
        if command.what == "ask":
            approval = await self.request_approval(approver="boss", reason="because")
            return f"granted {approval.granted} for {len(command.email)}"
        return f"{len(command.email)} characters"


def _refuse(email: str) -> None:
    raise RuntimeError(f"no account of {email}")


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, *, late: Any = "refuse", resume: bool = True) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True, late_writes=late)})
    async with Loom.open(config, by="mira", actors=[Desk], resume=resume) as loom:
        yield loom


def written(path: Path) -> bytes:
    return stored(path)


def call(what: str = "", **changes: Any) -> Call:
    return Call.model_validate(
        {"customer_id": "c-7", "email": EMAIL, "phone": PHONE, "note": NOTE, "what": what, **changes}
    )


async def test_the_code_sees_what_was_sent_and_nothing_of_it_is_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        sent = Apply(customer_id="c-7", email=EMAIL, guarantor="Lord Byron")
        assert await loom.actor(Desk, "c7").ask(sent, id="one") == "15 characters"
        assert await loom.actor(Desk, "c7").ask(call(), id="two") == "15 characters"
        assert seen == [sent, call()]
        assert not [each for each in SECRETS if each in written(tmp_path)], "while it is open"
        received = await loom.store.find_command("desk/c7", "one")
        assert received is not None
        assert isinstance(received.entry, CommandReceivedEntry)
        payload: Any = received.entry.payload
        assert (payload["email"]["subject"], payload["guarantor"]["subject"]) == ("c-7", "g-1")
        assert received.entry.proofs.keys() == {"c-7", "g-1"}
        assert received.entry.subject == "c-7"
        verdicts = [each.verdict async for each in loom.replay.verify("desk/c7")]
        assert verdicts == ["same", "not_replayable"], "what was masked cannot be driven again"
    assert not [each for each in SECRETS if each in written(tmp_path)], "and closed"
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_a_command_sent_again_is_told_from_another_also_by_what_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").ask(call(), id="one")
    async with opened(tmp_path) as loom:
        desk = loom.actor(Desk, "c7")
        assert await desk.ask(call(), id="one") == "15 characters"
        for changed in (
            {"email": "b@example.org"},
            {"phone": "+44 20 7947"},
            {"note": "x"},
            {"note": None},
            {"what": "x"},
        ):
            with pytest.raises(CommandConflictError):
                await desk.ask(call(**changed), id="one")
        assert len(seen) == 1, "and nothing of it ran twice"
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        for again in (call(), call(email="b@example.org"), Apply(customer_id="c-7", email=EMAIL)):
            with pytest.raises(ErasedError, match="was erased by"):
                await desk.ask(again, id="one")
        with pytest.raises(ErasedError):
            await desk.ask(call(), id="new")
        assert len(seen) == 1


async def test_of_an_erased_subject_an_old_id_is_refused_and_a_new_one_has_a_new_key(tmp_path: Path) -> None:
    async with opened(tmp_path, late="new_generation") as loom:
        desk = loom.actor(Desk, "c7")
        await desk.ask(call(), id="one")
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        with pytest.raises(ErasedError):
            await desk.ask(call(), id="one")
        assert await desk.ask(call(), id="two") == "15 characters"
        assert await desk.ask(call(), id="two") == "15 characters"
        assert len(seen) == 2


@pytest.mark.parametrize("ending", ["sealed", "masked", "erased"])
async def test_a_turn_that_was_cut_short_goes_on_from_what_is_sealed_and_from_nothing_else(
    tmp_path: Path, ending: str
) -> None:
    sent = call("ask") if ending == "masked" else Apply(customer_id="c-7", email=EMAIL, what="ask")
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").tell(sent, id="one")
        while not await loom.store.marks([("desk/c7", "one")]):
            await loom.reached()
    async with opened(tmp_path, resume=False) as loom:
        if ending == "erased":
            await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        [waiting] = await loom.approvals.pending()
        await loom.approvals.grant(waiting.approval_id, by="boss")
    seen.clear()
    async with opened(tmp_path) as loom:
        if ending == "sealed":
            assert await loom.actor(Desk, "c7").ask(sent, id="one") == "granted True for 15"
            assert seen == [sent]
            return
        with pytest.raises(ErasedError if ending == "erased" else ActorFailedError):
            await loom.actor(Desk, "c7").ask(sent, id="one")
        while await loom.turns.unfinished():
            await loom.reached()
        [failed] = [each.entry async for each in loom.store.read("desk/c7") if isinstance(each.entry, TurnFailedEntry)]
        assert failed.reason == "not_resumable"
        assert ending in failed.message
        assert seen == [], "nothing of it ran"


async def test_turns_that_are_under_way_end_before_it_is_said_that_their_subject_is_erased(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        waiting = {}
        for subject in ("c-7", "c-8"):
            sent = Apply(customer_id=subject, email=EMAIL, what="ask")
            waiting[subject] = asyncio.ensure_future(loom.actor(Desk, subject.replace("-", "")).ask(sent))
        while len(await loom.approvals.pending()) < 2:
            await asyncio.sleep(0)
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        with pytest.raises(ActorFailedError, match="erased"):
            await asyncio.wait_for(waiting["c-7"], 20)
        order = [each.kind async for each in loom.store.read_all() if each.kind in ("turn_failed", "subject_erased")]
        assert order == ["turn_failed", "subject_erased"]
        [left] = await loom.approvals.pending()
        assert left.journal == "desk/c8"
        await loom.approvals.grant(left.approval_id, by="boss")
        assert await waiting["c-8"] == "granted True for 15"
        assert not await loom.turns.unfinished()
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_what_an_error_says_is_not_kept_where_fields_are_declared(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for what in ("fail", "look"):
            with pytest.raises(ActorFailedError) as caught:
                await loom.actor(Desk, what).ask(Apply(customer_id="c-7", email=EMAIL, what=what))
            assert "is not kept" in str(caught.value)
    assert EMAIL.encode() not in written(tmp_path)


async def test_a_command_that_would_say_in_clear_whom_it_hides_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        desk = loom.actor(Desk, "c7")
        for refused in (call(customer_id=""), call(customer_id="e\u0301"), call(customer_id="x" * 10_240)):
            with pytest.raises(ValueError, match="subject"):
                await desk.ask(refused)
        for same, command_id in (("c-7", "id"), ("c7", "id"), ("desk/c7", "id"), ("the-id", "the-id")):
            with pytest.raises(AdmissionError, match="written in clear"):
                await desk.ask(call(phone=same), id=command_id)
        await desk.ask(call(), id="one")
        received = await loom.store.find_command("desk/c7", "one")
        assert received is not None
        copied = json.loads(received.body or b"")["payload"]
        assert is_sealed(copied["email"])
        with pytest.raises(AdmissionError, match="looks like a protected value"):
            await desk.ask(Call.model_validate(copied), id="two")
    assert len(seen) == 1


async def test_without_a_vault_what_is_masked_is_masked_and_what_is_sealed_is_refused(tmp_path: Path) -> None:
    async with Loom.open(LoomConfig(data=tmp_path), by="mira", actors=[Desk]) as loom:
        assert await loom.actor(Desk, "c7").ask(Ring(phone=PHONE), id="one") == "rung"
        assert await loom.actor(Desk, "c7").ask(Ring(phone=PHONE), id="one") == "rung"
        with pytest.raises(ConfigError, match="there is no vault"):
            await loom.actor(Desk, "c7").ask(call())
    assert PHONE.encode() not in written(tmp_path)
