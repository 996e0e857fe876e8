"""An actor goes on after bodies of its journal were pruned: it starts from a checkpoint that was journaled before."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.actors.checkpointing import Checkpoints
from loom.actors.entries import StateCheckpointEntry
from loom.config import ActorsConfig
from loom.errors import ActorPrunedError
from loom.journal import Append, PrunedEntry
from loom.journal.ranges import BodyRange, ranges_of
from loom.journal.store import draft
from loom.sealing import MASTER_KEY, Sealed, SealingConfig, subjects_together
from tests.on_postgres import verify

KEYS = base64.b64encode(bytes(range(32))).decode()


class Added(Entry):
    kind = "test.checkpoint_added"
    customer: str
    text: str


class Add(Command[int]):
    subject_field = "customer"

    customer: str
    text: Annotated[str, Sealed()]


class Wait(Command[bool]):
    pass


class Book(BaseModel):
    pages: dict[str, list[str]] = {}
    entries: int = 0


class Ledger(Actor[Book]):
    """Folds what it recorded, so that a body that is missing makes another state."""

    actor_type = "ledger"

    async def execute(self, command: Add | Wait) -> int | bool:
        if isinstance(command, Wait):
            return (await self.request_approval(approver="boss", reason="because")).granted
        await self.record(Added(customer=command.customer, text=command.text))
        return self.state.entries

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, Added):
            self.state.entries += 1
            self.state.pages.setdefault(entry.customer, []).append(entry.text)


class Opaque(Actor[Any]):
    """Its state does not come back out of JSON as it was."""

    actor_type = "opaque"

    def initial_state(self) -> Any:
        return object()

    async def execute(self, command: Add) -> int:
        return 0

    def apply(self, entry: Entry) -> None:
        """Fold nothing, but fold."""


class Ledger2(Ledger):
    actor_type = "ledger"
    state_version = 2
    upcasts: ClassVar[bool] = True

    @classmethod
    def upcast_state(cls, version: int, state: JsonValue) -> JsonValue:
        if not cls.upcasts or not isinstance(state, dict):
            return super().upcast_state(version, state)
        return {**state, "entries": 100}


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, KEYS)


@asynccontextmanager
async def opened(path: Path, cls: type[Actor[Any]] = Ledger, *, every: int = 0) -> AsyncIterator[Loom]:
    config = LoomConfig(
        data=path, actors=ActorsConfig(snapshot_every=every), sections={"sealing": SealingConfig(enabled=True)}
    )
    async with Loom.open(config, by="mira", actors=[cls]) as loom:
        yield loom


async def prune(loom: Loom, journal: str, ranges: Collection[BodyRange]) -> None:
    """Declare bodies gone, and take them away."""
    for each in ranges:
        entry = PrunedEntry(
            journal=journal, first_sequence=each.first, last_sequence=each.last, by="vera", reason="asked for it"
        )
        head = await loom.store.head("loom/archives")
        await loom.store.append(Append("loom/archives", head.sequence, [draft(entry)]))
    await loom.store.prune_bodies(journal, [(each.first, each.last) for each in ranges])


async def bodies_of(loom: Loom, customer: str) -> dict[int, dict[str, int]]:
    """Return the sequences of the turns of a customer."""
    turns, found = set(), {}
    async for each in loom.store.read("ledger/l"):
        if each.kind == "command_received" and (each.plain or {}).get("subject") == customer:
            turns.add(each.command_id)
        if each.command_id in turns:
            found[each.sequence] = {customer: 1}
    return found


async def state(loom: Loom) -> Book:
    folded: Book = await loom.replay.state("ledger/l")
    return folded


# --- the law -----------------------------------------------------------------------------------------


CUSTOMERS = st.sampled_from(["ada", "bob"])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    before=st.lists(CUSTOMERS, min_size=1, max_size=5),
    after=st.lists(CUSTOMERS, max_size=3),
    chosen=st.sets(st.integers(1, 20), min_size=1),
    every=st.sampled_from([0, 3]),
    more=st.integers(0, 1),
)
def test_state_with_checkpoint_and_later_entries_is_the_state_before_pruning(
    before: list[str], after: list[str], chosen: set[int], every: int, more: int
) -> None:
    async def run(path: Path) -> None:
        async with opened(path, every=every) as loom:
            ledger = loom.actor(Ledger, "l")
            for number, name in enumerate(before):
                await ledger.ask(Add(customer=name, text=f"{name} {number}"))
            head = (await loom.store.head("ledger/l")).sequence
            sequences = {(each - 1) % head + 1 for each in chosen}
            ranges = ranges_of({each: {"ada": 1} for each in sequences})
            expected = await state(loom)
            made = await Checkpoints(loom.actors, loom.subjects).make(
                "ledger/l", pruned=ranges, subjects=["ada", "bob"]
            )
            assert made is None
            await prune(loom, "ledger/l", ranges)
            assert await state(loom) == expected
            for number, name in enumerate(after):
                assert await ledger.ask(Add(customer=name, text=f"{name} later {number}")) == expected.entries + 1
                expected.pages.setdefault(name, []).append(f"{name} later {number}")
                expected.entries += 1
            if more:  # a second one, whose range the first does not cover
                second = ranges_of({head + 1: {"bob": 1}})
                assert (
                    await Checkpoints(loom.actors, loom.subjects).make("ledger/l", pruned=second, subjects=["bob"])
                    is None
                )
                await prune(loom, "ledger/l", second)
        async with opened(path, every=every) as loom:
            assert await state(loom) == expected
            assert await loom.actor(Ledger, "l").ask(Add(customer="ada", text="last")) == expected.entries + 1
        assert verify(path / "default" / "journal.db", workspace="default").ok

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))


# --- erased since ------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", ["after", "before"])
async def test_after_an_erasure_the_state_is_a_fold_with_the_pruned_bodies_of_that_subject_erased(
    tmp_path: Path, forgotten: str
) -> None:
    async with opened(tmp_path) as loom:
        for name in ("ada", "bob", "ada"):
            await loom.actor(Ledger, "l").ask(Add(customer=name, text=f"of {name}"))
        if forgotten == "before":
            await loom.subjects.erase("ada", by="vera", reason="asked for it")
        ranges = ranges_of(await bodies_of(loom, "ada"))
        assert len(ranges) == 2
        made = await Checkpoints(loom.actors, loom.subjects).make("ledger/l", pruned=ranges, subjects=["ada", "bob"])
        assert made is None
        kept = [each.entry async for each in loom.store.read("ledger/l") if each.kind == StateCheckpointEntry.kind]
        assert isinstance(kept[0], StateCheckpointEntry)
        assert set(subjects_together(kept[0].sealed)) == ({"bob"} if forgotten == "before" else {"ada", "bob"})
        await prune(loom, "ledger/l", ranges)
        if forgotten == "after":
            await loom.subjects.erase("ada", by="vera", reason="asked for it")
    async with opened(tmp_path) as loom:
        assert await state(loom) == Book(pages={"bob": ["of bob"]}, entries=1)
        assert await loom.actor(Ledger, "l").ask(Add(customer="bob", text="more")) == 2


async def test_a_checkpoint_that_does_not_open_stops_the_actor_where_bodies_of_others_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for name in ("ada", "bob"):
            await loom.actor(Ledger, "l").ask(Add(customer=name, text=f"of {name}"))
        ranges = ranges_of(await bodies_of(loom, "ada"))
        assert (
            await Checkpoints(loom.actors, loom.subjects).make("ledger/l", pruned=ranges, subjects=["ada", "bob"])
            is None
        )
        await prune(loom, "ledger/l", ranges)
        await loom.subjects.erase("bob", by="vera", reason="asked for it")
    async with opened(tmp_path) as loom:
        with pytest.raises(ActorPrunedError, match=r"its checkpoint is of no use: subject \[bob\] was erased"):
            await loom.actor(Ledger, "l").ask(Add(customer="ada", text="more"))


async def test_without_a_checkpoint_an_actor_whose_bodies_are_gone_takes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for name in ("ada", "bob"):
            await loom.actor(Ledger, "l").ask(Add(customer=name, text=f"of {name}"))
        await prune(loom, "ledger/l", ranges_of(await bodies_of(loom, "ada")))
    async with opened(tmp_path) as loom:
        with pytest.raises(ActorPrunedError, match="no checkpoint follows"):
            await loom.actor(Ledger, "l").ask(Add(customer="ada", text="more"))


# --- what cannot be kept -----------------------------------------------------------------------------


async def test_an_actor_with_an_open_turn_without_code_or_with_a_state_that_is_no_json_is_left(tmp_path: Path) -> None:
    one = ranges_of({1: {}})
    async with opened(tmp_path) as loom:
        await loom.actor(Ledger, "l").ask(Add(customer="ada", text="x"))
        await loom.actor(Ledger, "w").tell(Wait())
        await loom.actor(Opaque, "o").ask(Add(customer="ada", text="x"))
        while not await loom.approvals.pending():
            await loom.reached()
        checkpoints = Checkpoints(loom.actors, loom.subjects)
        assert await checkpoints.make("ledger/w", pruned=one, subjects=[]) == "with a turn that has no end"
        why = await checkpoints.make("opaque/o", pruned=one, subjects=[])
        assert why is not None
        assert "does not come back equal" in why
        why = await checkpoints.make("unheard-of/o", pruned=one, subjects=[])
        assert why is not None
        assert "no code" in why
        for journal in ("ledger/w", "opaque/o"):
            assert StateCheckpointEntry.kind not in [each.kind async for each in loom.store.read(journal)]


async def test_a_checkpoint_of_an_older_state_version_needs_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Ledger, "l").ask(Add(customer="ada", text="x"))
        ranges = ranges_of(await bodies_of(loom, "ada"))
        assert await Checkpoints(loom.actors, loom.subjects).make("ledger/l", pruned=ranges, subjects=[]) is None
        await prune(loom, "ledger/l", ranges)
    monkeypatch.setattr(Ledger2, "upcasts", False)
    async with opened(tmp_path, Ledger2) as loom:
        with pytest.raises(ActorPrunedError, match="upcast_state"):
            await loom.actor(Ledger2, "l").ask(Add(customer="ada", text="more"))
    monkeypatch.setattr(Ledger2, "upcasts", True)
    async with opened(tmp_path, Ledger2) as loom:
        assert await loom.actor(Ledger2, "l").ask(Add(customer="ada", text="more")) == 101
