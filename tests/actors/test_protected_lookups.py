"""Look-ups with declared values: protected in the journal, plain in the turn, opened when it is resumed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from loom import Actor, Command, Loom, LoomConfig
from loom.decisions.entries import ContextGatheredEntry, DecisionJournalEntry
from loom.errors import ActorFailedError, ConfigError, ErasedError
from loom.journal.kinds import TurnFailedEntry
from loom.sealing import MASTER_KEY, Sealed, SealingConfig, is_sealed
from tests.on_postgres import stored, verify

EMAIL, PHONE, OTHER = "ada@example.org", "+44 20 7946", "+44 20 1234"
ACCOUNT = {"name": "Account 9", "email": EMAIL, "contacts": [{"phone": PHONE}, {"phone": OTHER}]}
PLAIN = [each.encode() for each in (EMAIL, PHONE, OTHER)]

began: list[str] = []
seen: list[Any] = []
fetched: list[str] = []


class Contact(BaseModel):
    phone: Annotated[str, Sealed()]


class Account(BaseModel):
    name: str
    email: Annotated[str, Sealed()] = Field(alias="eMail")
    contacts: list[Contact] = []


class Look(Command[str]):
    subject_field = "customer_id"

    customer_id: str
    what: str = ""


class Plainly(Command[str]):
    what: str = ""


WAYS: dict[str, Mapping[str, str]] = {
    "paths": {"email": "seal", "contacts.*.phone": "seal"},
    "mask": {"email": "seal", "contacts.*.phone": "mask"},
    "hash": {"email": "seal", "contacts.*.phone": "hash"},
    "drop": {"email": "seal", "contacts.*.phone": "drop"},
    "whole": {"$result": "seal"},
    "query": {"$result": "seal", "$query": "seal"},
}


class Desk(Actor[None]):
    actor_type = "desk"

    async def execute(self, command: Look | Plainly) -> str:
        began.append(command.what)
        what, _, then = command.what.partition(" ")
        if what in WAYS:
            query = EMAIL if what == "query" else "account 9"
            found = await self.gather_context(
                system="crm", entity="account", query=query, fetcher=lambda: _fetch(ACCOUNT), protect=WAYS[what]
            )
        elif what == "model":
            found = await self.gather_context(
                system="crm",
                entity="account",
                query="account 9",
                returns=list[Account],
                fetcher=lambda: _fetch([{**ACCOUNT, "eMail": EMAIL, "email": None}]),
            )
            found = [each.model_dump(mode="python") for each in found]
        elif what == "instance":
            account = Account.model_validate({**ACCOUNT, "eMail": EMAIL})
            found = await self.gather_context(
                system="crm",
                entity="account",
                query="9",
                fetcher=lambda: account,
                protect={"name": "seal"},
                subject="c-9",
            )
        elif what == "shape":
            found = await self.gather_context(
                system="crm", entity="account", query="9", fetcher=lambda: [EMAIL], protect={"a.b": "seal"}
            )
        else:
            raise ValueError(what)
        seen.append(found)
        if then == "fail":
            raise RuntimeError(f"no answer for {found['email']}")
        if then == "ask":
            approval = await self.request_approval(approver="boss", reason=f"may I write to {EMAIL}?")
            await self.record_decision(rationale=f"{EMAIL} asked", outcome={"granted": approval.granted})
        if then == "decide":
            await self.record_decision(rationale="because", inputs=[found])
        return str(len(str(found)))


async def _fetch(value: Any) -> Any:
    fetched.append("crm")
    return value


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    began.clear()
    seen.clear()
    fetched.clear()
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, *, sealing: bool = True, resume: bool = True) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=sealing)})
    async with Loom.open(config, by="mira", actors=[Desk], resume=resume) as loom:
        yield loom


def written(path: Path) -> bytes:
    return stored(path)


def look(what: str, customer_id: str = "c-7") -> Look:
    return Look(customer_id=customer_id, what=what)


async def look_up_of(loom: Loom, key: str) -> ContextGatheredEntry:
    [found] = [each.entry async for each in loom.store.read(f"desk/{key}") if each.kind == ContextGatheredEntry.kind]
    assert isinstance(found, ContextGatheredEntry)
    return found


async def test_the_code_gets_what_came_and_the_journal_has_it_protected(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for what in WAYS:
            await loom.actor(Desk, what).ask(look(f"{what} decide"), id="one")
            assert seen.pop() == ACCOUNT
            entry = await look_up_of(loom, what)
            said: Any = entry.result
            assert (entry.query, is_sealed(entry.protected_query)) == (
                ("[sealed]", True) if what == "query" else ("account 9", False)
            )
            if what in ("whole", "query"):
                assert entry.protected == ("",)
                assert said["subject"] == "c-7"
                continue
            assert entry.protected == ("/email", "/contacts/0/phone", "/contacts/1/phone")
            assert said["email"]["subject"] == "c-7"
            kept = said["contacts"][0]["phone"]
            assert kept.get("$withheld", "seal") == {"paths": "seal"}.get(what, what)
            assert ("digest" in kept) == (what == "hash")
            [decided] = [each async for each in loom.store.read(f"desk/{what}") if each.kind == "decision"]
            assert isinstance(decided.entry, DecisionJournalEntry)
            [given] = decided.entry.decision.inputs
            assert given.source == "look_up", "a result that is handed in is found again by what the code got"
            assert given.result == said
            verdict = {"paths": "same"}.get(what, "not_replayable")
            assert [each.verdict async for each in loom.replay.verify(f"desk/{what}")] == [verdict]
        assert not [each for each in PLAIN if each in written(tmp_path)], "while it is open"
    assert not [each for each in PLAIN if each in written(tmp_path)], "and closed"
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_what_a_model_declares_is_protected_by_the_names_that_it_is_read_by(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "model").ask(look("model"), id="one")
        assert seen[0][0]["email"] == EMAIL
        said: Any = (await look_up_of(loom, "model")).result
        assert is_sealed(said[0]["eMail"])
        assert is_sealed(said[0]["contacts"][1]["phone"])
        await loom.actor(Desk, "instance").ask(look("instance"), id="one")
        said = (await look_up_of(loom, "instance")).result
        assert said["eMail"]["subject"] == said["name"]["subject"] == "c-9", "whose it is may be said"
        assert [each.verdict async for each in loom.replay.verify("desk/model")] == ["same"]
    assert not [each for each in PLAIN if each in written(tmp_path)]


@pytest.mark.parametrize("what", ["paths", "query", "mask", "hash", "drop", "erased", "locked"])
async def test_a_turn_goes_on_from_what_is_sealed_and_ends_before_it_runs_where_that_is_gone(
    tmp_path: Path, what: str
) -> None:
    asked = look(f"{what if what in WAYS else 'paths'} ask")
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").tell(asked, id="one")
        while not await loom.store.marks([("desk/c7", "one")]):
            await loom.reached()
    async with opened(tmp_path, resume=False) as loom:
        [waiting] = await loom.approvals.pending()
        await loom.approvals.grant(waiting.approval_id, by="boss")
        if what == "erased":
            await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
    began.clear()
    seen.clear()
    async with opened(tmp_path, sealing=what != "locked") as loom:
        if what in ("paths", "query"):
            await loom.actor(Desk, "c7").ask(asked, id="one")
            assert seen == [ACCOUNT]
        else:
            lost = {"mask": "masked", "hash": "hashed", "drop": "dropped", "locked": "sealed"}.get(what, what)
            while await loom.turns.unfinished():
                await loom.reached()
            kept = [each.entry async for each in loom.store.read("desk/c7")]
            [failed] = [each for each in kept if isinstance(each, TurnFailedEntry)]
            assert (failed.reason, lost in failed.message) == ("not_resumable", True)
            assert began == seen == [], "nothing of it ran"
        assert fetched == ["crm"]
    assert not [each for each in PLAIN if each in written(tmp_path)]


async def test_what_cannot_be_protected_is_refused_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Desk, "no-subject").ask(Plainly(what="paths"))
        with pytest.raises(ActorFailedError, match="LookupFailedError"):
            await loom.actor(Desk, "shape").ask(look("shape"))
        entry = await look_up_of(loom, "shape")
        assert entry.failure is not None
        assert "declare the whole of it" in entry.failure.message
        with pytest.raises(ActorFailedError) as caught:
            await loom.actor(Desk, "fail").ask(look("paths fail"))
        assert "RuntimeError" in str(caught.value)
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        with pytest.raises((ActorFailedError, ErasedError), match="erased"):
            await loom.actor(Desk, "late").ask(look("paths"))
        assert fetched.count("crm") == 1, "nothing is asked about somebody who was erased"
    async with opened(tmp_path, sealing=False) as loom:
        with pytest.raises((ActorFailedError, ConfigError), match="there is no vault"):
            await loom.actor(Desk, "locked").ask(look("paths", "c-8"))
    assert not [each for each in PLAIN if each in written(tmp_path)]


async def test_a_turn_that_waits_with_a_look_up_about_somebody_ends_as_they_are_erased(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        waiting = asyncio.ensure_future(loom.actor(Desk, "c7").ask(look("paths ask"), id="one"))
        while not await loom.approvals.pending():
            await asyncio.sleep(0)
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        with pytest.raises((ActorFailedError, ErasedError), match="erased"):
            await asyncio.wait_for(waiting, 20)
        order = [each.kind async for each in loom.store.read_all() if each.kind in ("turn_failed", "subject_erased")]
        assert order == ["turn_failed", "subject_erased"]
        assert not await loom.approvals.pending()


async def test_the_key_of_a_look_up_by_a_sealed_query_cannot_be_guessed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for customer in ("c-7", "c-8"):
            await loom.actor(Desk, customer.replace("-", "")).ask(look("query", customer), id="one")
        keys = set()
        for name in ("c7", "c8"):
            step = (await look_up_of(loom, name)).step
            assert step is not None
            keys.add(step.key)
        assert len(keys) == 2, "the same query of two subjects is two keys"
        assert all(each.startswith("crm/account/hmac-sha256:") for each in keys)
        await loom.actor(Desk, "plain").ask(look("paths"), id="one")
        step = (await look_up_of(loom, "plain")).step
        assert step is not None
        assert step.key == "crm/account/account 9"


async def test_an_entry_of_before_is_read_as_it_was() -> None:
    body = {
        "step": ["gather_context", "a/b/c", 0],
        "system": "a",
        "entity": "b",
        "query": "c",
        "relevance": None,
        "result": {"x": 1},
        "failure": None,
        "retrieved_at": "2026-11-21T15:28:28.218734Z",
        "duration_ms": 0.1,
        "masked": ["x"],
    }
    entry = ContextGatheredEntry.model_validate_json(json.dumps(ContextGatheredEntry.upcast(1, body)))
    assert entry.protected == ()
    assert entry.masked == ("x",)
    assert json.loads(entry.model_dump_json()) == body, "and nothing is written that says nothing"
