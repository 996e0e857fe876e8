"""Replies that declare fields: sealed in the journal, plain for who asked, and opened again for no one else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from loom import Actor, Command, Loom
from loom.errors import ActorFailedError, ConfigError, ErasedError, InvalidNameError
from loom.identity import Identity
from loom.journal.kinds import TurnCompletedEntry, TurnFailedEntry
from loom.sealing import MASTER_KEY, Dropped, Hashed, Masked, Sealed, SealedValue, Withheld, is_sealed
from tests.actors.protected_support import MASTER, erase, on_disk, sealing
from tests.actors.support import until
from tests.on_postgres import verify

EMAIL, IBAN, PHONE = "ada@example.org", "GB33 BUKB 2020", "+44 20 7946"


class Account(BaseModel):
    account_id: str
    email: Annotated[str, Sealed()]
    guarantor_id: str = "g-1"
    guarantor: Annotated[str | None, Sealed(subject="guarantor_id")] = None


class Contact(BaseModel):
    email: Annotated[str, Sealed()]
    phone: Annotated[str, Masked()]


class Find(Command[list[Account]]):
    subject_field = "customer_id"

    customer_id: str
    what: str = ""


class Reach(Command[Contact]):
    subject_field = "customer_id"

    customer_id: str


class Anything(Command[Any]):
    what: str = ""


class Nameless(Command[Account]):
    what: str = ""


class Write(Command[str]):
    """Asks the desk, then waits for a person."""

    customer_id: str = "c-7"
    reach: bool = False
    wait: bool = True


ran: list[str] = []


class Desk(Actor[None]):
    actor_type = "desk"

    async def execute(self, command: Find | Reach | Anything | Nameless) -> Any:
        ran.append(command.command_type)
        if isinstance(command, Reach):
            return Contact(email=EMAIL, phone=PHONE)
        if isinstance(command, Anything | Nameless):
            return Account(account_id="a-1", email=EMAIL)
        if command.what == "wait":
            await self.request_approval(approver="boss", reason="because")
        if command.what == "fail":
            raise RuntimeError(f"no account of {EMAIL}")
        if command.what == "of another shape":
            return [EMAIL]
        if command.what == "as plain JSON":
            return [{"account_id": "a-1", "email": EMAIL}]
        if command.what == "of another type":
            return [{"account_id": "a-1", "email": EMAIL, "more": Contact(email=IBAN, phone=PHONE)}]
        return [Account(account_id="a-1", email=EMAIL, guarantor=IBAN), Account(account_id="a-2", email=EMAIL)]


class Clerk(Actor[None]):
    actor_type = "clerk"

    async def execute(self, command: Write) -> str:
        ran.append("Write")
        if command.reach:
            email = (await self.ask(Desk, "d", Reach(customer_id=command.customer_id))).email
        else:
            email = (await self.ask(Desk, "d", Find(customer_id=command.customer_id)))[0].email
        if command.wait:
            await self.request_approval(approver="boss", reason="may I write?")
        return f"wrote {len(email)} characters"


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.setenv(MASTER_KEY, MASTER)


async def _none_left(loom: Loom) -> bool:
    return not await loom.turns.unfinished()


async def replies(loom: Loom, journal: str) -> list[Any]:
    return [each.entry.reply async for each in loom.store.read(journal) if isinstance(each.entry, TurnCompletedEntry)]


async def test_who_asks_gets_it_plain_and_nothing_of_it_is_on_the_disk(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk]) as loom:
        desk = loom.actor(Desk, "d")
        first = await desk.ask(Find(customer_id="c-7"), id="one")
        assert [(each.email, each.guarantor) for each in first] == [(EMAIL, IBAN), (EMAIL, None)]
        [kept] = await replies(loom, "desk/d")
        assert [each["email"]["subject"] for each in kept] == ["c-7", "c-7"]
        assert kept[0]["guarantor"]["subject"] == "g-1"
        assert await desk.ask(Find(customer_id="c-7"), id="one") == first, "asked again while it is open"
        assert [each.verdict async for each in loom.replay.verify("desk/d")] == ["same"]
    async with sealing(tmp_path, [Desk]) as loom:
        assert await loom.actor(Desk, "d").ask(Find(customer_id="c-7"), id="one") == first, "and after a restart"
        assert ran == ["Find", "Find"], "once live, once as it was verified"
    assert not [each for each in (EMAIL, IBAN) if each.encode() in on_disk(tmp_path)]
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_it_is_opened_again_for_the_same_name_from_the_same_source_alone(tmp_path: Path) -> None:
    known = Identity("nina", "api_key:1", None)
    sent = Find(customer_id="c-7", what="wait")
    async with sealing(tmp_path, [Desk]) as loom:
        desk = loom.actor(Desk, "d")
        first = asyncio.ensure_future(desk.ask(sent, id="one", by=known))
        waiting = await until(loom.approvals.pending)
        others = [asyncio.ensure_future(desk.ask(sent, id="one", by=by)) for by in ("nina", "otto", known)]
        await asyncio.sleep(0)
        await loom.approvals.grant(waiting[0].approval_id, by="boss")
        assert (await first)[0].email == EMAIL
        got: list[Any] = [(await each)[0].email for each in others]
        claimed, other, same = got
        assert isinstance(claimed, SealedValue), "a name that is only claimed"
        assert isinstance(other, SealedValue)
        assert same == EMAIL
    async with sealing(tmp_path, [Desk]) as loom:
        desk = loom.actor(Desk, "d")
        assert (await desk.ask(sent, id="one", by=known))[0].email == EMAIL
        for by in ("nina", "otto", None, Identity("nina", "api_key:2", None)):
            again = await desk.ask(sent, id="one", by=by)
            assert (again[0].account_id, isinstance(again[0].email, SealedValue)) == ("a-1", True)


async def test_what_was_masked_is_told_as_such_when_it_is_asked_for_again(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk]) as loom:
        desk = loom.actor(Desk, "d")
        assert (await desk.ask(Reach(customer_id="c-7"), id="one")).phone == PHONE
        again: Any = await desk.ask(Reach(customer_id="c-7"), id="one")
        assert (again.email, again.phone) == (EMAIL, Withheld("mask"))
        assert [each.verdict async for each in loom.replay.verify("desk/d")] == ["same"]
    assert PHONE.encode() not in on_disk(tmp_path)


async def test_a_turn_whose_command_names_an_erased_subject_ends_though_it_was_given_nothing_of_it(
    tmp_path: Path,
) -> None:
    async with sealing(tmp_path, [Desk]) as loom:
        await loom.actor(Desk, "d").ask(Find(customer_id="c-7"))
        asked = asyncio.ensure_future(loom.actor(Desk, "e").ask(Find(customer_id="c-7", what="wait")))
        await until(loom.approvals.pending)
        await erase(loom, "c-7")
        with pytest.raises(ActorFailedError, match="who was erased"):
            await asyncio.wait_for(asked, 20)


@pytest.mark.parametrize("late", ["refuse", "new_generation"])
async def test_after_an_erasure_it_is_refused_as_erased_and_nothing_runs_again(tmp_path: Path, late: str) -> None:
    async with sealing(tmp_path, [Desk], late=late) as loom:
        desk = loom.actor(Desk, "d")
        await desk.ask(Find(customer_id="c-7"), id="one")
        await erase(loom, "g-1")
        with pytest.raises(ErasedError, match="was erased by"):
            await desk.ask(Find(customer_id="c-7"), id="one")
        await erase(loom, "c-7")
        with pytest.raises(ErasedError):
            await desk.ask(Find(customer_id="c-7"), id="one")
        [verified] = [each async for each in loom.replay.verify("desk/d")]
        assert (verified.verdict, verified.reason) == ("not_replayable", "erased")
        ran.clear()
        if late == "refuse":
            with pytest.raises(ErasedError):
                await desk.ask(Find(customer_id="c-7"), id="two")
            assert ran == [], "it is refused before anything is done"
        else:
            assert (await desk.ask(Find(customer_id="c-7"), id="two"))[0].email == EMAIL


async def test_another_actor_that_asked_keeps_it_sealed_and_goes_on_from_it(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk, Clerk]) as loom:
        await loom.actor(Clerk, "c").tell(Write(), id="one")
        await until(loom.approvals.pending)
        assert EMAIL.encode() not in on_disk(tmp_path)
        [asked] = [each async for each in loom.store.read("clerk/c") if each.kind == "ask_replied"]
        [kept] = await replies(loom, "desk/d")
        assert json.loads(asked.body or b"")["reply"] == kept, "the very values of the journal of the other"
    async with sealing(tmp_path, [Desk, Clerk]) as loom:
        [waiting] = await loom.approvals.pending()
        await loom.approvals.grant(waiting.approval_id, by="boss")
        assert await loom.actor(Clerk, "c").ask(Write(), id="one") == "wrote 15 characters"
        assert [each.verdict async for each in loom.replay.verify("clerk/c")] == ["same"]
    assert ran.count("Find") == 1
    assert EMAIL.encode() not in on_disk(tmp_path)


@pytest.mark.parametrize("ending", ["masked", "erased"])
async def test_a_turn_does_not_go_on_from_a_reply_that_is_not_there_any_more(tmp_path: Path, ending: str) -> None:
    sent = Write(reach=ending == "masked")
    async with sealing(tmp_path, [Desk, Clerk]) as loom:
        await loom.actor(Clerk, "c").tell(sent, id="one")
        await until(loom.approvals.pending)
    async with sealing(tmp_path, [Desk, Clerk], resume=False) as loom:
        if ending == "erased":
            await erase(loom, "c-7")
    ran.clear()
    async with sealing(tmp_path, [Desk, Clerk]) as loom:
        await until(lambda: _none_left(loom))
        [failed] = [each.entry async for each in loom.store.read("clerk/c") if isinstance(each.entry, TurnFailedEntry)]
        assert (failed.reason, ending in failed.message) == ("not_resumable", True)
        assert not await loom.approvals.pending()
        assert ran == [], "nothing of it ran"


async def test_without_a_vault_a_turn_is_not_replayed_and_not_compared_wrongly(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk, Clerk]) as loom:
        await loom.actor(Clerk, "c").ask(Write(wait=False), id="one")
    async with sealing(tmp_path, [Desk, Clerk], enabled=False, resume=False) as loom:
        for journal in ("desk/d", "clerk/c"):
            [verified] = [each async for each in loom.replay.verify(journal)]
            assert (verified.verdict, verified.reason) == ("not_replayable", "sealed")


async def test_words_of_errors_are_not_kept_and_a_wrong_reply_is_refused(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk]) as loom:
        for what in ("fail", "of another shape", "of another type"):
            with pytest.raises(ActorFailedError, match="is not kept"):
                await loom.actor(Desk, "d").ask(Find(customer_id="c-7", what=what))
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Desk, "d").ask(Anything())
        [account] = await loom.actor(Desk, "d").ask(Find(customer_id="c-7", what="as plain JSON"))
        assert account.email == EMAIL
    assert not [each for each in (EMAIL, IBAN, PHONE) if each.encode() in on_disk(tmp_path)]


async def test_a_reply_for_no_subject_or_without_a_name_of_one_is_refused_before_anything_runs(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Desk]) as loom:
        with pytest.raises(ConfigError, match="subject_field"):
            await loom.actor(Desk, "d").ask(Nameless())
        with pytest.raises(InvalidNameError, match="subject"):
            await loom.actor(Desk, "d").ask(Find(customer_id=" "))
        assert ran == []


class Told(Command[Annotated[str, Hashed()]]):
    subject_field = "customer_id"

    customer_id: str


class Lost(Command[Annotated[str, Dropped()]]):
    pass


class Teller(Actor[None]):
    actor_type = "teller"

    async def execute(self, command: Told | Lost) -> str:
        return IBAN


async def test_a_reply_that_is_declared_whole_is_hashed_or_dropped(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Teller]) as loom:
        teller = loom.actor(Teller, "t")
        assert await teller.ask(Told(customer_id="c-7"), id="one") == IBAN
        assert await teller.ask(Lost(), id="two") == IBAN
        hashed, dropped = await replies(loom, "teller/t")
        assert (hashed["$withheld"], dropped) == ("hash", {"$withheld": "drop"})
        assert not is_sealed(hashed)
        again: Any = await teller.ask(Lost(), id="two")
        assert again == Withheld("drop")
    assert IBAN.encode() not in on_disk(tmp_path)
