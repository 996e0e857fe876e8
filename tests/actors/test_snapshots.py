"""Snapshots only save time: with them, without them and with broken ones the state is the same, and no turn is lost."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from loom.actors import Actor, Command
from loom.actors.ports import StateRef
from loom.actors.recovery import recover
from loom.actors.state import Fold, Snapshot
from loom.journal import Entry
from loom.journal.sqlite import JournalFiles
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Folding, Interpreter, NotedEntry, World
from tests.actors.support import entries, kinds, opened, until
from tests.on_postgres import verify
from tests.sqlite_files import connected


async def noted(loom: Loom, *texts: str, key: str = "one") -> None:
    for text in texts:
        await loom.actor(Interpreter, key).ask(Carry(program=[Do(verb="note", key=text)]))


async def state_of(loom: Loom, key: str = "one") -> dict[str, Any]:
    """Return the state that a turn sees."""
    reply = await loom.actor(Interpreter, key).ask(Carry(program=[Do(verb="note", key="last")], states=True))
    state: dict[str, Any] = reply["last state"]
    return state


def _views(directory: Path) -> Path:
    return JournalFiles(directory / "default" / "journal.db").views


def snapshot_rows(directory: Path) -> list[tuple[Any, ...]]:
    with connected(f"file:{_views(directory)}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT journal, sequence, state_version, body FROM snapshots").fetchall()


def change(directory: Path, statement: str, *parameters: object) -> None:
    connection = sqlite3.connect(_views(directory))
    with connection:
        assert connection.execute(statement, parameters).rowcount == 1
    connection.close()


async def with_snapshot(directory: Path) -> None:
    async with opened(directory, snapshot_every=4) as loom:
        await noted(loom, *"abcde")
    assert len(snapshot_rows(directory)) == 1


async def test_the_state_is_the_same_with_and_without_a_snapshot(tmp_path: Path) -> None:
    await with_snapshot(tmp_path)
    async with opened(tmp_path, snapshot_every=4) as loom:
        begun: list[int] = []
        real = Fold.start

        def start(self: Fold, snapshot: Snapshot, *, at: int, **more: Any) -> bool:
            begun.append(at)
            return real(self, snapshot, at=at, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fold, "start", start)
            assert (await state_of(loom))["notes"] == [*"abcde", "last"]
        assert begun  # it did begin at the snapshot
        assert loom.actors._cells["interpreter/one"].state_ref.state == await loom.replay.state("interpreter/one")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sequences of the snapshots that states began at."""
    found: list[int] = []
    real = Fold.start

    def start(self: Fold, snapshot: Snapshot, *, at: int, **more: Any) -> bool:
        found.append(at)
        return real(self, snapshot, at=at, **more)

    monkeypatch.setattr(Fold, "start", start)
    return found


def _another_state_version(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setattr(Interpreter, "state_version", 2)


def _wrong_hash(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    change(directory, "UPDATE snapshots SET entry_hash = ?", b"\0" * 32)


def _not_json(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    change(directory, "UPDATE snapshots SET body = ?", b"\xff{")


def _of_another_shape(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    change(directory, "UPDATE snapshots SET body = ?", json.dumps({"state": {"notes": 7}, "unfinished": {}}).encode())


def _beyond_the_journal(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    change(directory, "UPDATE snapshots SET sequence = 10000")


@pytest.mark.parametrize(
    "spoil", [_another_state_version, _wrong_hash, _not_json, _of_another_shape, _beyond_the_journal]
)
async def test_a_snapshot_that_cannot_be_trusted_is_passed_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: list[int],
    spoil: Callable[[pytest.MonkeyPatch, Path], None],
) -> None:
    await with_snapshot(tmp_path)
    spoil(monkeypatch, tmp_path)
    async with opened(tmp_path, snapshot_every=0) as loom:
        assert (await state_of(loom))["notes"] == [*"abcde", "last"]
    assert begun == []


async def test_a_snapshot_from_after_the_end_of_what_is_read_is_passed_over(tmp_path: Path) -> None:
    await with_snapshot(tmp_path)
    async with opened(tmp_path, snapshot_every=0) as loom:
        cell = loom.actors.detached_cell("interpreter/one")
        recovered = await recover(cell.services, cell.cls, cell.journal, cell.state, until=3)
        assert (recovered.sequence, recovered.snapshot) == (3, 0)
        assert cell.state.actor.state.notes == ["a"]


# --- bound to the journal by a digest -------------------------------------------------------------


def _another_state(body: bytes) -> bytes:
    kept = json.loads(body)
    kept["state"]["notes"] = ["forged"]
    return json.dumps(kept).encode()


def _no_unfinished_turns(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "unfinished": {"gone": 2}}).encode()


def _written_in_another_way(body: bytes) -> bytes:
    return body + b" "


@pytest.mark.parametrize("forge", [_another_state, _no_unfinished_turns, _written_in_another_way])
async def test_a_snapshot_that_was_forged_is_passed_over_and_the_state_is_made_of_the_entries(
    tmp_path: Path, forge: Callable[[bytes], bytes], begun: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    await with_snapshot(tmp_path)
    ((_, sequence, _, body),) = snapshot_rows(tmp_path)
    for row, used in ((forge(body), []), (body, [sequence])):
        change(tmp_path, "UPDATE snapshots SET body = ?", row)
        begun.clear()
        async with opened(tmp_path, snapshot_every=0) as loom:
            await noted(loom, "more")
            assert loom.actors._cells["interpreter/one"].state_ref.state.notes[:6] == [*"abcde", "more"]
            assert begun == used
    assert "snapshot_differs" in caplog.text


async def test_a_snapshot_of_another_moment_is_passed_over_though_its_entry_is_there(
    tmp_path: Path, begun: list[int]
) -> None:
    """A true snapshot under another sequence would have entries folded twice, or not at all."""
    await with_snapshot(tmp_path)
    ((_, sequence, _, _),) = snapshot_rows(tmp_path)
    async with opened(tmp_path, snapshot_every=0) as loom:
        hashes = {each.sequence: each.entry_hash for each in await entries(loom, "interpreter/one")}
    for moved in (sequence - 1, sequence + 1):
        change(tmp_path, "UPDATE snapshots SET sequence = ?, entry_hash = ?", moved, hashes[moved])
        async with opened(tmp_path, snapshot_every=0) as loom:
            assert (await state_of(loom))["notes"][:5] == [*"abcde"]
            assert (await state_of(loom))["notes"].count("a") == 1
    assert begun == []


async def test_an_earlier_snapshot_that_is_put_back_is_as_good_as_it_was(tmp_path: Path, begun: list[int]) -> None:
    await with_snapshot(tmp_path)
    with connected(_views(tmp_path)) as views:
        (before,) = views.execute("SELECT * FROM snapshots").fetchall()
    async with opened(tmp_path, snapshot_every=4) as loom:
        await noted(loom, *"fghijk")
    with connected(_views(tmp_path)) as views:
        (after,) = views.execute("SELECT * FROM snapshots").fetchall()
        assert after[3] > before[3]
        views.execute("DELETE FROM snapshots")
        views.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?)", before)
    begun.clear()
    async with opened(tmp_path, snapshot_every=0) as loom:
        assert (await state_of(loom))["notes"] == [*"abcdefghijk", "last"]
    assert begun == [before[3]]


async def test_a_snapshot_without_an_entry_in_the_journal_is_passed_over(tmp_path: Path, begun: list[int]) -> None:
    """As those of an earlier loom are, and those of an actor that has written nothing since."""
    async with opened(tmp_path, snapshot_every=0) as loom:
        await noted(loom, *"abc")
        held = loom.actors._cells["interpreter/one"]
        last = (await entries(loom, "interpreter/one"))[-1]
        held.fold(last.sequence)
        body = held.state.snapshot(at=last.sequence, unfinished={})
        assert body is not None
        assert loom.actors.services.snapshots is not None
        await loom.actors.services.snapshots.put(
            "interpreter/one",
            actor_type="interpreter",
            state_version=Interpreter.state_version,
            sequence=last.sequence,
            entry_hash=last.entry_hash,
            body=body,
        )
    async with opened(tmp_path, snapshot_every=0) as loom:
        assert (await state_of(loom))["notes"] == [*"abc", "last"]
    assert begun == []


async def test_an_actor_that_is_spoken_to_once_in_a_life_comes_to_a_snapshot_that_is_used(
    tmp_path: Path, begun: list[int]
) -> None:
    for life in range(6):
        async with opened(tmp_path, snapshot_every=4) as loom:
            await noted(loom, f"{life}")
    assert begun
    async with opened(tmp_path, snapshot_every=4) as loom:
        assert (await state_of(loom))["notes"] == [*(f"{life}" for life in range(6)), "last"]


class Watching(Interpreter):
    """Keeps the kinds that `apply` is shown."""

    actor_type = "watching"

    def apply(self, entry: Entry) -> None:
        self.state.notes.append(entry.kind)


async def test_the_entry_of_a_snapshot_belongs_to_no_turn_and_is_not_shown_to_apply(tmp_path: Path) -> None:
    carry = Carry(program=[Do(verb="note", key="a"), Do(verb="fetch", key="b")])
    async with opened(tmp_path, agents=[Watching], snapshot_every=3) as loom:
        for number in range(4):
            await loom.actor(Watching, "one").ask(carry, id=f"c{number}")
        recorded = await entries(loom, "watching/one")
        taken = [each for each in recorded if each.kind == "snapshot_taken"]
        assert len(taken) >= 2
        assert {each.command_id for each in taken} == {None}
        shown = loom.actors._cells["watching/one"].state_ref.state.notes
        assert shown == [each.kind for each in recorded if each.kind != "snapshot_taken"]
        assert (await loom.replay.state("watching/one")).notes == shown
        assert [each.verdict async for each in loom.replay.verify("watching/one")] == ["same"] * 4
        assert verify(loom.files.journal).ok
    async with opened(tmp_path, agents=[Watching], snapshot_every=3) as loom:
        assert await loom.actor(Watching, "one").ask(carry, id="c0") == {"a": None, "b": {"key": "b"}}


async def test_a_turn_that_is_cut_short_behind_the_entry_of_a_snapshot_is_resumed(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch b")
    carry = Carry(program=[Do(verb="note", key="a"), Do(verb="fetch", key="b"), Do(verb="note", key="c")], states=True)
    async with opened(tmp_path, world, snapshot_every=3, shutdown_grace_s=0) as loom:
        await noted(loom, "x", "y")
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(carry, id="c"))
        await world.arrived("fetch b")
        assert "snapshot_taken" in await kinds(loom, "interpreter/one")
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path, snapshot_every=3) as loom:
        reply = await loom.actor(Interpreter, "one").ask(carry, id="c")
        assert reply["c state"]["notes"] == ["x", "y", "a", "b", "c"]


# --- turns without an end ---------------------------------------------------------------------------


async def test_turns_without_an_end_are_found_behind_a_snapshot(tmp_path: Path) -> None:
    approve = Carry(program=[Do(verb="note", key="mine"), Do(verb="approve", key="vp"), Do(verb="note", key="then")])
    async with opened(tmp_path, snapshot_every=2) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(approve, id="c", by="bob"))
        await until(loom.approvals.pending)
        await noted(loom, *"abcdef")
    await asyncio.gather(asking, return_exceptions=True)
    ((_, sequence, _, body),) = snapshot_rows(tmp_path)
    assert json.loads(body)["unfinished"] == {"c": 1}
    assert sequence > 10
    async with opened(tmp_path, snapshot_every=2) as loom:
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        await loom.actor(Interpreter, "one").ask(approve, id="c")
        assert (await state_of(loom))["notes"] == ["mine", *"abcdef", "then", "last"]


async def test_turns_that_nobody_resumes_here_are_not_lost_by_a_snapshot(tmp_path: Path) -> None:
    approve = Carry(program=[Do(verb="approve", key="vp")])
    async with opened(tmp_path, snapshot_every=2) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(approve, id="c", by="bob"))
        await until(loom.approvals.pending)
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path, snapshot_every=2, resume=False) as loom:
        await noted(loom, *"abcd")
    async with opened(tmp_path, snapshot_every=2) as loom:
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await loom.actor(Interpreter, "one").ask(approve, id="c") == {"vp": True}


async def test_a_busy_actor_gets_its_snapshots_too(tmp_path: Path) -> None:
    async with opened(tmp_path, snapshot_every=10) as loom:
        ref = loom.actor(Interpreter, "one")
        await asyncio.gather(*(ref.ask(Carry(program=[Do(verb="note", key=f"{n}")])) for n in range(30)))
    ((_, sequence, _, _),) = snapshot_rows(tmp_path)
    assert sequence > 60


class Rich(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    by_number: dict[int, str] = {}
    seen: set[str] = set()
    pair: tuple[int, float] = (1, 0.5)
    raw: bytes = b""


class RichActor(Actor[Rich]):
    async def execute(self, command: Command[None]) -> None:
        return None

    def apply(self, entry: Entry) -> None:
        return None


@settings(max_examples=200)
@given(
    st.builds(
        Rich,
        at=st.datetimes(timezones=st.just(UTC)),
        by_number=st.dictionaries(st.integers(), st.text()),
        seen=st.sets(st.text()),
        pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
        raw=st.binary(),
    )
)
def test_a_state_that_is_kept_comes_back_equal_or_is_not_kept(state: Rich) -> None:
    before, after = _holding(state), _holding(Rich())
    body = before.snapshot(at=0, unfinished={"c": 3})
    if body is None:
        return
    kept = Snapshot.model_validate_json(body)
    assert kept.unfinished == {"c": 3}
    assert after.start(kept, at=7)
    assert (after.actor.state, after.sequence) == (state, 7)


def _holding(state: Rich) -> Fold:
    actor = RichActor()
    actor._state_ref = StateRef(state)
    return Fold(actor)


class Opaque:
    """A state that nobody can write."""


class OpaqueActor(Folding):
    def initial_state(self) -> Any:
        return Opaque()

    async def execute(self, command: Carry) -> Any:
        await self.record(NotedEntry(text="n"))
        return {}

    def apply(self, entry: Entry) -> None:
        return None


async def test_a_state_that_cannot_be_written_is_not_kept_and_does_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path, World(), agents=[OpaqueActor], snapshot_every=2) as loom:
        for _ in range(5):
            assert await loom.actor(OpaqueActor, "one").ask(Carry(program=[])) == {}
    assert snapshot_rows(tmp_path) == []


class Plain(Actor[None]):
    async def execute(self, command: Carry) -> Any:
        if command.program:
            await self.request_approval(approver="vp", reason="please")
        return {}


async def test_an_actor_without_a_state_is_spared_reading_its_journal(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Plain], snapshot_every=4) as loom:
        ref = loom.actor(Plain, "one")
        for _ in range(10):
            await ref.ask(Carry(program=[]))
    ((_, sequence, _, body),) = snapshot_rows(tmp_path)
    kept = json.loads(body)
    assert (kept["state"], kept["unfinished"], len(kept["salt"])) == (None, {}, 32)
    async with opened(tmp_path, agents=[Plain], snapshot_every=4) as loom:
        read: list[int] = []
        real = loom.store.read

        def spying(journal: str, *, after: int = 0, until: int | None = None) -> Any:
            read.append(after)
            return real(journal, after=after, until=until)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loom.store, "read", spying)
            await loom.actor(Plain, "one").ask(Carry(program=[]))
        assert min(read) == sequence - 1
        assert (await kinds(loom, "plain/one")).count("turn_completed") == 11
        assert {"command_received", "turn_completed", "snapshot_taken"} == set(await kinds(loom, "plain/one"))


async def test_an_actor_that_is_let_go_often_gets_its_snapshots_too(tmp_path: Path) -> None:
    for life in range(8):
        async with opened(tmp_path, snapshot_every=10) as loom:
            await noted(loom, f"{life}")
    ((_, sequence, _, _),) = snapshot_rows(tmp_path)
    assert sequence >= 10
