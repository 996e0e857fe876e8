"""Entries of one's own that declare fields: sealed in the journal, plain in the state, `Erased()` after an erasure."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from loom import Actor, Command, Entry, Loom
from loom.decisions.entries import UNANSWERABLE
from loom.errors import ActorFailedError, ActorStoppedError, ErasedError
from loom.journal.kinds import CommandReceivedEntry, TurnFailedEntry
from loom.sealing import MASTER_KEY, Erased, Masked, Sealed, SealedValue, Withheld
from loom.text import plain as shown_plain
from tests.actors.protected_support import MASTER, erase, on_disk, sealing
from tests.actors.support import until
from tests.on_postgres import verify

EMAIL, PHONE, IBAN = "ada@example.org", "+44 20 7946", "GB33 BUKB 2020"
SHOWN = 8
"""So much of an address is in a reply, which is not protected here."""
ADA = EMAIL[:SHOWN]


class NotedEntry(Entry):
    kind: ClassVar[str] = "test.protected.noted"

    email: Annotated[str | Erased, Sealed()]
    phone: Annotated[str | None, Masked()] = None
    guarantor_id: str = "g-1"
    guarantor: Annotated[str | None, Sealed(subject="guarantor_id")] = None


class OwnedEntry(Entry):
    kind: ClassVar[str] = "test.protected.owned"
    subject_field = "owner_id"

    owner_id: str
    iban: Annotated[str, Sealed()]


class Note(Command[list[Any]]):
    """Each is one entry: whose, and what; then what the actor is to do."""

    subject_field = "customer_id"

    customer_id: str
    what: str = ""
    email: Annotated[str, Sealed()] = EMAIL


class Show(Command[list[Any]]):
    """Show the state."""


class Known(BaseModel):
    emails: list[str | Erased] = []
    phones: list[Withheld | str | None] = []
    ibans: dict[str, str | Erased] = {}
    payloads: list[str | None] = []


class Book(Actor[Known]):
    actor_type = "book"

    async def execute(self, command: Note | Show) -> list[Any]:
        if isinstance(command, Note):
            if command.what == "fail":
                await self.record(NotedEntry(email=command.email))
                raise RuntimeError(f"no place for {command.email}")
            await self.record(NotedEntry(email=command.email, phone=PHONE, guarantor=IBAN))
            if command.what == "own":
                await self.record(OwnedEntry(owner_id="o-1", iban=IBAN))
            if command.what == "wait":
                await self.request_approval(approver="boss", reason="because")
            if command.what == "raise from the state":
                raise RuntimeError(str(self.state.emails))
        return [str(each)[:SHOWN] for each in self.state.emails]

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, NotedEntry):
            self.state.emails.append(entry.email)
            self.state.phones.append(entry.phone)
        elif isinstance(entry, OwnedEntry):
            self.state.ibans[entry.owner_id] = entry.iban
        elif isinstance(entry, CommandReceivedEntry):
            self.state.payloads.append(entry.subject)


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, MASTER)


async def state(loom: Loom, journal: str = "book/b") -> Known:
    found: Known = await loom.replay.state(journal)
    return found


async def test_the_state_has_it_plain_live_and_after_a_restart_and_the_disk_has_it_sealed(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        assert await loom.actor(Book, "b").ask(Note(customer_id="c-7", what="own")) == [ADA]
        [noted, owned] = [each async for each in loom.store.read("book/b") if each.kind.startswith("test.")]
        body = json.loads(noted.body or b"")
        assert [body[name]["subject"] for name in ("email", "guarantor")] == ["c-7", "g-1"]
        assert json.loads(owned.body or b"")["iban"]["subject"] == "o-1"
        assert isinstance(noted.entry, NotedEntry)
        email: Any = noted.entry.email
        assert isinstance(email, SealedValue), "whoever reads the journal gets it sealed"
        [cell] = loom.actors.cells()
        live = cell.state_ref.state
        assert (live.emails, live.phones, live.ibans) == ([EMAIL], [Withheld("mask")], {"o-1": IBAN})
        assert live == await state(loom)
        assert [each.verdict async for each in loom.replay.verify("book/b")] == ["same"]
    assert not [each for each in (EMAIL, PHONE, IBAN) if each.encode() in on_disk(tmp_path)]
    async with sealing(tmp_path, [Book]) as loom:
        assert await loom.actor(Book, "b").ask(Show()) == [ADA]
        [cell] = loom.actors.cells()
        assert cell.state_ref.state.phones == [Withheld("mask")]
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_a_turn_that_was_cut_short_goes_on_with_what_it_recorded(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        await loom.actor(Book, "b").tell(Note(customer_id="c-7", what="wait"), id="one")
        await until(loom.approvals.pending)
    async with sealing(tmp_path, [Book]) as loom:
        [waiting] = await loom.approvals.pending()
        await loom.approvals.grant(waiting.approval_id, by="boss")
        assert await loom.actor(Book, "b").ask(Note(customer_id="c-7", what="wait"), id="one") == [ADA]
        assert [each.verdict async for each in loom.replay.verify("book/b")] == ["same"]


async def test_what_is_erased_is_erased_in_the_state_that_is_awake_and_in_the_one_that_is_folded(
    tmp_path: Path,
) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        book = loom.actor(Book, "b")
        await book.ask(Note(customer_id="c-7"))
        await book.ask(Note(customer_id="c-8", email="b@example.org"))
        other = asyncio.ensure_future(book.ask(Note(customer_id="c-9", what="wait", email="c@example.org")))
        [waiting] = await until(loom.approvals.pending)
        [cell] = loom.actors.cells()
        await erase(loom, "c-7")
        gone, left = Erased(), ["b@example.org", "c@example.org"]
        assert loom.actors.cells() == (cell,), "it is at work: its state is folded again"
        assert cell.state_ref.state.emails == [gone, *left]
        await loom.approvals.grant(waiting.approval_id, by="boss")
        assert await other == ["Erased()", *(each[:SHOWN] for each in left)], "and who runs sees it so"
        await erase(loom, "c-8")
        assert not loom.actors.cells(), "it is idle: it is let go"
        assert (await state(loom)).emails == [gone, gone, "c@example.org"]
        assert await book.ask(Show()) == ["Erased()", "Erased()", "c@example.org"[:SHOWN]]
        reasons = {each.reason async for each in loom.replay.verify("book/b")}
        assert "erased" in reasons
        assert not [each.reason async for each in loom.replay.verify("book/b") if each.verdict == "diverged"]


async def test_a_turn_under_way_ends_as_erased_and_its_approval_waits_no_more(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        book = loom.actor(Book, "b")
        asked = [asyncio.ensure_future(book.ask(Note(customer_id="c-7", what="wait"))) for _ in range(7)]
        await until(lambda: _waiting(loom, 7))
        await erase(loom, "c-7")
        for each in asked:
            with pytest.raises(ActorFailedError, match="who was erased"):
                await asyncio.wait_for(each, 20)
        failed = [each.entry async for each in loom.store.read("book/b") if isinstance(each.entry, TurnFailedEntry)]
        assert {(each.type_name, each.reason) for each in failed} == {("ErasedError", "erased")}
        assert not await loom.approvals.pending()
        denied = (await loom.approvals.list())[0]
        said = denied.events[-1]
        assert (denied.status, said.event, said.by, said.comment) == ("denied", "denied", None, UNANSWERABLE)
        assert not await loom.turns.unfinished()
        with pytest.raises(ErasedError):
            await book.ask(Note(customer_id="c-7"), id="two")
        assert await book.ask(Show()) == ["Erased()"] * 7, "the actor is not stopped for it"


class Strict(Book):
    actor_type = "strict"

    def apply(self, entry: Entry) -> None:
        super().apply(entry)
        if isinstance(entry, NotedEntry):
            assert isinstance(entry.email, str)


async def test_an_apply_that_cannot_take_what_is_erased_stops_its_actor_and_not_the_erasure(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Strict]) as loom:
        strict = loom.actor(Strict, "s")
        await strict.ask(Note(customer_id="c-7"))
        waits = asyncio.ensure_future(strict.ask(Note(customer_id="c-8", what="wait")))
        await until(lambda: _waiting(loom, 1))
        await erase(loom, "c-7")
        assert loom.subjects.erasures.is_carried_out("c-7")
        with pytest.raises(ActorStoppedError, match="AssertionError"):
            await waits


async def _waiting(loom: Loom, count: int) -> bool:
    return len(await loom.approvals.pending()) == count


async def test_one_that_is_resumed_after_an_erasure_does_not_run(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        await loom.actor(Book, "b").tell(Note(customer_id="c-7", what="wait"), id="one")
        await until(loom.approvals.pending)
    async with sealing(tmp_path, [Book], resume=False) as loom:
        await erase(loom, "g-1")
    async with sealing(tmp_path, [Book]) as loom:
        await until(lambda: _none_left(loom))
        [failed] = [each.entry async for each in loom.store.read("book/b") if isinstance(each.entry, TurnFailedEntry)]
        assert (failed.reason, "[erased]" in failed.message) == ("not_resumable", True)
        assert [each.status for each in await loom.approvals.list()] == ["denied"]


async def _none_left(loom: Loom) -> bool:
    return not await loom.turns.unfinished()


async def test_words_of_errors_are_not_kept_neither_of_entries_nor_of_the_state(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        book = loom.actor(Book, "b")
        for what in ("fail", "raise from the state"):
            with pytest.raises(ActorFailedError, match="is not kept"):
                await book.ask(Note(customer_id="c-7", what=what))
    assert EMAIL.encode() not in on_disk(tmp_path)


async def test_without_the_keys_an_actor_does_not_wake_with_a_state_that_is_not_so(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        await loom.actor(Book, "b").ask(Note(customer_id="c-7"))
    async with sealing(tmp_path, [Book], enabled=False) as loom:
        with pytest.raises(ActorStoppedError, match="do not open"):
            await loom.actor(Book, "b").ask(Show())


async def test_where_nothing_is_opened_a_state_is_shown_with_what_is_sealed(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book]) as loom:
        await loom.actor(Book, "b").ask(Note(customer_id="c-7"))
        await loom.actor(Book, "b").ask(Note(customer_id="c-8"))
        await erase(loom, "c-8")
        assert shown_plain(await state(loom))["emails"] == [EMAIL, {"$erased": 1}]
        loom.actors.services.subjects = None  # as where another process runs the loom
        sealed, *_ = shown_plain(await state(loom))["emails"]
        assert (sealed["subject"], sealed["about"]) == ("c-7", "/email")


# --- snapshots ------------------------------------------------------------------------------------


def snapshots(path: Path) -> list[tuple[str, bytes]]:
    connection = sqlite3.connect(f"file:{path / 'default' / 'journal.views.db'}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT journal, body FROM snapshots").fetchall()
    finally:
        connection.close()


async def test_a_snapshot_is_sealed_whole_used_and_dropped_at_an_erasure(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book], snapshot_every=4) as loom:
        book = loom.actor(Book, "b")
        for subject in ("c-7", "c-8", "c-9"):
            await book.ask(Note(customer_id=subject))
        await until(lambda: snapshots(tmp_path))
        [(_, body)] = snapshots(tmp_path)
        assert EMAIL.encode() not in body
        assert loom.actors.services.snapshots is not None
        kept = await loom.actors.services.snapshots.get("book/b")
        assert kept is not None
        at = kept.sequence
    assert EMAIL.encode() not in on_disk(tmp_path)
    async with sealing(tmp_path, [Book], snapshot_every=4) as loom:
        assert await loom.actor(Book, "b").ask(Show()) == [ADA] * 3
        [cell] = loom.actors.cells()
        assert cell._snapshots.at >= at, "it began at the snapshot"
        assert cell.state.subjects >= {"c-7", "g-1"}, "and knows for whom it was sealed"
        await until(lambda: snapshots(tmp_path))
        await erase(loom, "c-7")
        assert not snapshots(tmp_path)
        assert await loom.actor(Book, "b").ask(Show()) == ["Erased()", ADA, ADA]


async def test_a_snapshot_that_does_not_open_is_passed_over(tmp_path: Path) -> None:
    async with sealing(tmp_path, [Book], snapshot_every=3) as loom:
        for _ in range(4):
            await loom.actor(Book, "b").ask(Note(customer_id="c-7"))
        await until(lambda: snapshots(tmp_path))
        assert loom.actors.services.snapshots is not None
        put_back = await loom.actors.services.snapshots.get("book/b")
        assert put_back is not None
        await erase(loom, "c-7")
        await loom.actors.services.snapshots.put(
            "book/b",
            actor_type="book",
            state_version=1,
            sequence=put_back.sequence,
            entry_hash=put_back.entry_hash,
            body=put_back.body,
        )
        assert await loom.actor(Book, "b").ask(Show()) == ["Erased()"] * 4


# --- always ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["note", "erase", "restart", "show"]), st.sampled_from(["c-1", "c-2"])),
        min_size=3,
        max_size=9,
    )
)
def test_a_state_after_erasures_equals_a_fold_with_what_is_erased(acts: list[tuple[str, str]]) -> None:
    asyncio.run(_acted(acts))


async def _acted(acts: list[tuple[str, str]]) -> None:
    expected: list[tuple[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        while acts:
            async with sealing(Path(directory), [Book], late="new_generation", snapshot_every=3) as loom:
                book = loom.actor(Book, "b")
                while acts:
                    (act, subject), *acts = acts
                    if act == "restart":
                        break
                    if act == "note":
                        await book.ask(Note(customer_id=subject, email=f"{subject}@example.org"))
                        expected.append((subject, f"{subject}@example.org"))
                    elif act == "erase" and await loom.subjects.knows(subject):
                        await loom.subjects.erase(subject, by="vera", reason="asked for it")
                        expected = [(who, Erased() if who == subject else email) for who, email in expected]
                    said = await book.ask(Show())
                    assert said == [str(email)[:SHOWN] for _, email in expected]
                    assert (await state(loom)).emails == [email for _, email in expected]
