"""What one process appends to a control journal holds in every other, and no race for an append is lost for good."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from loom.background import Background
from loom.errors import ErasedError, LoomError, SequenceConflictError
from loom.journal import Recorded
from loom.journal.following import Follower, Followers, Look, followers_of
from loom.journal.singleton import SingletonJournal
from loom.journal.sqlite import SqliteStore
from loom.people import People
from loom.policies.registry import PolicyRegistry
from loom.policies.tables import Table
from loom.routing.switch import KillSwitch
from loom.sealing.erasures import Erasures
from loom.standings import Standings
from loom.web.keys import Keys
from tests.journal.processes import Node
from tests.journal.support import NotedEntry, notes

TABLE = {
    "format": "loom.table/1",
    "name": "rebate",
    "facts": {"percent": {"type": "integer"}},
    "rules": [{"name": "all", "when": [], "effect": "allow", "why": "why not"}],
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "j.db")
    yield opened
    await opened.close()


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    made = Background()
    yield made
    await made.close()


def following(node: Node) -> Followers:
    found = followers_of(node)
    assert found is not None
    return found


async def test_a_store_of_one_process_is_not_shared(store: SqliteStore) -> None:
    assert followers_of(store) is None
    node = Node(store)
    assert followers_of(node) is following(node)


async def test_a_suspension_and_a_kill_hold_in_the_other_process(
    store: SqliteStore, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, catch_up = asyncio.Event(), Followers.catch_up

    async def noted(self: Followers) -> Look:
        found = await catch_up(self)
        looked.set()
        return found

    monkeypatch.setattr(Followers, "catch_up", noted)
    here, there = Node(store), Node(store)
    standings, switch = Standings(here), KillSwitch(here)
    theirs, their_switch = Standings(there), KillSwitch(there)
    for each in (standings, switch, theirs, their_switch):
        await each.load()
    Follower(there, following(there), background=background, linger_s=0).start()
    await asyncio.wait_for(looked.wait(), 10)  # its first look would find what comes next, if it came late
    await standings.suspend("desk", by="ada", reason="it answers nonsense")
    await switch.kill(by="ada", reason="it answers nonsense")
    assert theirs.of("desk").standing == "ACTIVE"
    assert not their_switch.engaged
    there.learn()
    await _until(lambda: theirs.of("desk").standing == "SUSPENDED" and their_switch.engaged)
    assert following(there).controls() == {"care/kill-switch": 1, "loom/standings": 1}


async def test_what_people_change_holds_in_the_other_process(store: SqliteStore) -> None:
    """A revoked key opens nothing, an adopted version is pinned, and an erased subject is erased: everywhere."""
    here, there = Node(store), Node(store)
    keys, policies, erasures = Keys(here), PolicyRegistry(here), Erasures(here)
    their_keys, their_policies, their_erasures = Keys(there), PolicyRegistry(there), Erasures(there)
    for each in (their_keys, their_policies, their_erasures):
        await each.load()
    key = await keys.issue("ada", "reader", by="root")
    version = await policies.register(Table.of(TABLE), by="grace")
    await policies.adopt(version.version, by="ada")
    await erasures.begin("c-7", generation=1, by="ada", reason="asked for it")
    assert not (await following(there).catch_up()).behind
    assert their_keys.who(key) is not None
    adopted = their_policies.adopted("rebate")
    assert adopted is not None
    assert adopted.hash == version.hash
    with pytest.raises(ErasedError):
        their_erasures.check("c-7")
    await keys.revoke(key.split("_")[1], by="root", reason="left")
    await following(there).catch_up()
    assert their_keys.who(key) is None


async def test_what_an_owner_does_about_entries_of_others_runs_in_the_background(
    store: SqliteStore, background: Background
) -> None:
    here, there = Node(store), Node(store)
    told = asyncio.Event()
    theirs = People(there, now=lambda: datetime.now(UTC), changed=told.set)
    await theirs.load()
    Follower(there, following(there), background=background, linger_s=0).start()
    await _until(lambda: there.looks > 0)
    assert not told.is_set()
    await People(here, now=lambda: datetime.now(UTC)).add("ada", by="root")
    there.learn()
    await asyncio.wait_for(told.wait(), 10)
    assert [each.name for each in theirs.all()] == ["ada"]


async def test_a_journal_that_does_not_fold_keeps_no_other_from_being_followed(store: SqliteStore) -> None:
    there, folded = Node(store), list[int]()

    def refuse(_: Recorded) -> None:
        raise LoomError("it was tampered with")

    broken = SingletonJournal(there, "loom/a", refuse)
    sound = SingletonJournal(there, "loom/b", lambda recorded: folded.append(recorded.sequence))
    for each in (broken, sound):
        await each.load()
    await store.append(notes("loom/a", 0, 2))
    await store.append(notes("loom/b", 0, 2))
    look = await following(there).catch_up()
    assert look.behind == ("loom/a",)
    assert folded == [1, 2]


async def test_a_registry_that_is_gone_is_not_followed(store: SqliteStore) -> None:
    there = Node(store)
    journal = SingletonJournal(there, "loom/a", lambda _: None)
    await journal.load()
    assert following(there).names == ("loom/a",)
    del journal
    gc.collect()
    assert following(there).names == ()


async def test_many_commits_cost_few_looks(store: SqliteStore, background: Background) -> None:
    there = Node(store)
    journal = SingletonJournal(there, "loom/a", lambda _: None)
    await journal.load()
    Follower(there, following(there), background=background, linger_s=0.05).start()
    for sequence in range(200):
        await store.append(notes("loom/a", sequence))
        there.learn()
    await _until(lambda: journal.sequence == 200)
    assert there.looks < 100


async def test_two_processes_that_append_at_once_both_append(store: SqliteStore) -> None:
    """Each makes its entry again from what the other appended first: none is lost, and none comes twice."""
    seen: list[list[str]] = [[], []]

    def registry(number: int) -> SingletonJournal:
        return SingletonJournal(Node(store), "loom/test", lambda recorded: seen[number].append(_text(recorded)))

    async def write(number: int, journal: SingletonJournal) -> None:
        for nth in range(25):
            entry = NotedEntry(text=f"{number}/{nth}")
            await journal.append_if_missing(partial(_missing, entry, seen[number]))

    await asyncio.gather(*(write(number, registry(number)) for number in range(2)))
    kept = [_text(recorded) async for recorded in store.read("loom/test")]
    assert sorted(kept) == sorted(f"{number}/{nth}" for number in range(2) for nth in range(25))


async def test_what_the_other_appended_first_is_what_the_entry_is_made_from(store: SqliteStore) -> None:
    """Two hold and erase one subject at once: one of them wins, and the other one knows it."""
    here, there = Node(store), Node(store)
    erasures, theirs = Erasures(here), Erasures(there)
    here.before_append.append(lambda: theirs.begin("c-7", generation=1, by="bea", reason="asked for it"))
    with pytest.raises(ErasedError):
        await erasures.hold("c-7", by="ada", reason="a law suit")
    here.before_append.append(lambda: theirs.hold("c-8", by="bea", reason="a law suit"))
    assert not await erasures.hold("c-8", by="ada", reason="a law suit")
    here.before_append.append(lambda: theirs.begin("c-9", generation=1, by="bea", reason="asked for it"))
    assert not await erasures.begin("c-9", generation=1, by="ada", reason="asked for it")


async def test_races_end(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom.journal.appending.RACES", 3)
    here, sequence = Node(store), 0
    journal = SingletonJournal(here, "loom/test", lambda _: None)

    async def another() -> None:
        nonlocal sequence
        await store.append(notes("loom/test", sequence))
        sequence += 1

    here.before_append += [another] * 3
    with pytest.raises(SequenceConflictError):
        await journal.append_if_missing(lambda: NotedEntry(text="mine"))
    assert sequence == 3


def _text(recorded: Recorded) -> str:
    assert isinstance(recorded.entry, NotedEntry)
    return recorded.entry.text


def _missing(entry: NotedEntry, seen: list[str]) -> NotedEntry | None:
    return None if entry.text in seen else entry


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)
