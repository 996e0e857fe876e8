"""Who adopts a policy version: another person than the one who proposed it, or code at start, never over a person."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from loom import Actor, Command, Loom
from loom.errors import ActorFailedError, AdmissionError, SelfAdoptionError
from loom.identity import Identity
from loom.journal.entry import KINDS
from loom.journal.kinds import TurnFailedEntry
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.policies.entries import PolicyAdoptedEntry, PolicyProposedEntry, PolicyRegisteredEntry
from loom.policies.registry import POLICY_JOURNAL, PolicyRegistry
from loom.policies.tables import Table
from tests.journal.processes import Node
from tests.policies.test_registry import TABLE, Asked, another_rebate, limited, rebate

_OPTIONS = SqliteOptions(writer=WriterOptions(min_free_bytes=0))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "journal.db", workspace="test", options=_OPTIONS)
    yield store
    await store.close()


@pytest.fixture
def registry(store: SqliteStore) -> PolicyRegistry:
    return PolicyRegistry(store)


async def reread(store: SqliteStore) -> PolicyRegistry:
    again = PolicyRegistry(store)
    await again.load()
    return again


async def written(store: SqliteStore) -> list[Any]:
    return [each.entry async for each in store.read(POLICY_JOURNAL)]


def who(registry: PolicyRegistry) -> tuple[str, str]:
    adoption = registry.adoption("rebate")
    assert adoption is not None
    return adoption.identity.name, adoption.trigger


# --- the proposer --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["alice", "Alice", "ＡＬＩＣＥ", Identity("alice", "api_key:1", "http")])
async def test_the_person_who_registered_a_version_does_not_adopt_it(
    store: SqliteStore, registry: PolicyRegistry, by: str | Identity
) -> None:
    version = await registry.register(rebate, by="alice")
    for at in (registry, await reread(store)):
        with pytest.raises(SelfAdoptionError, match="expected another person to adopt it"):
            await at.adopt(version.version, by=by)
        assert at.adopted("rebate") is None
    assert await registry.adopt(version.version, by="bob") == version
    assert who(registry) == ("bob", "person")


async def test_a_person_may_adopt_what_came_with_code_also_where_that_is_in_the_same_name(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    old = await registry.ensure(limited(10), by="alice")
    await registry.ensure(limited(20), by="alice")
    assert registry.proposers(old.version) == ()
    await registry.adopt(old.version, by="alice")
    assert who(registry) == ("alice", "person")
    assert who(await reread(store)) == ("alice", "person")


async def test_a_person_who_adopts_what_code_adopted_makes_it_a_persons(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    version = await registry.ensure(limited(10), by="alice")
    assert who(registry) == ("alice", "code")
    await registry.adopt(version.version, by="bob", reason="it stays")
    assert who(registry) == ("bob", "person")
    await registry.adopt(version.version, by="carol")
    assert who(registry) == ("bob", "person"), "it is adopted already"
    again = await reread(store)
    await again.ensure(limited(20), by="alice")
    assert again.adopted("rebate") == version


async def test_who_proposed_a_version_that_was_known_does_not_adopt_it_either(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    version = await registry.register(rebate, by="alice")
    await registry.propose(version.hash, by="bob", reason="a suggestion comes to it")
    await registry.propose(version.hash, by="BOB")
    await registry.propose(version.hash, by="alice")
    proposed = [each for each in await written(store) if isinstance(each, PolicyProposedEntry)]
    assert [each.by for each in proposed] == ["bob"]
    again = await reread(store)
    assert [each.name for each in again.proposers(version.hash)] == ["alice", "bob"]
    for by in ("alice", "bob"):
        with pytest.raises(SelfAdoptionError):
            await again.adopt(version.hash, by=by)
    await again.adopt(version.hash, by="carol")


# --- code at start -------------------------------------------------------------------------------


async def test_what_code_does_at_start_is_marked_as_such(store: SqliteStore, registry: PolicyRegistry) -> None:
    await registry.ensure(rebate, by="alice")
    registered, adopted = await written(store)
    for entry in (registered, adopted):
        assert (entry.trigger, entry.by, entry.identity_source, entry.via) == ("code", "alice", "claimed", "code")


@pytest.mark.parametrize("attached_before", [True, False])
async def test_a_version_that_a_person_adopted_is_never_replaced_by_code(
    store: SqliteStore, registry: PolicyRegistry, caplog: pytest.LogCaptureFixture, *, attached_before: bool
) -> None:
    old = await registry.ensure(another_rebate, by="alice")
    await registry.adopt(old.version, by="bob")
    again = await reread(store)
    if attached_before:
        again.attach(another_rebate)
    with caplog.at_level(logging.WARNING):
        new = await again.ensure(rebate, by="alice")
    assert again.adopted("rebate") == old != new
    assert who(again) == ("bob", "person")
    assert again.runs(old) is attached_before
    assert ("policy_code_missing" in caplog.text) is not attached_before


async def test_a_table_that_a_person_adopted_needs_no_code(store: SqliteStore, registry: PolicyRegistry) -> None:
    await registry.ensure(rebate, by="alice")
    table = await registry.register(Table.of(TABLE), by="alice")
    await registry.adopt(table.version, by="bob")
    again = await reread(store)
    await again.ensure(another_rebate, by="alice")
    assert again.adopted("rebate") == table
    assert again.runs(table)


async def test_code_that_is_new_replaces_what_code_adopted_also_where_the_earlier_is_attached(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    await registry.ensure(another_rebate, by="alice")
    again = await reread(store)
    again.attach(another_rebate)
    new = await again.ensure(rebate, by="alice")
    assert again.adopted("rebate") == new
    await again.ensure(rebate, by="alice")
    assert len([each for each in await written(store) if isinstance(each, PolicyAdoptedEntry)]) == 2


class Quote(Command[str]):
    percent: int


class Desk(Actor[None]):
    policy = rebate

    async def execute(self, command: Quote) -> str:
        return self.evaluate(Asked(percent=command.percent)).rule


class OtherDesk(Desk):
    actor_type = "desk"
    policy = another_rebate

    async def execute(self, command: Quote) -> str:
        return self.evaluate(Asked(percent=command.percent)).rule


async def endings(loom: Loom) -> AsyncIterator[TurnFailedEntry]:
    async for recorded in loom.store.read("desk/one"):
        if isinstance(recorded.entry, TurnFailedEntry):
            yield recorded.entry


async def test_turns_under_a_persons_version_without_code_end_until_a_person_adopts_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(url, actors=[Desk], by="alice") as loom:
        first = loom.policies.latest("rebate")
        await loom.policies.adopt(first.version, by="bob")
        assert await loom.actor(Desk, "one").ask(Quote(percent=10)) == "within"
    async with Loom.open(url, actors=[OtherDesk], by="alice") as loom:
        with pytest.raises(ActorFailedError) as caught:
            await loom.actor(OtherDesk, "one").ask(Quote(percent=10))
        assert caught.value.type_name == "PolicyCodeChangedError"
        assert [each.reason async for each in endings(loom)] == ["policy_code_changed"]
        assert loom.policies.adopted("rebate") == first
        await loom.policies.adopt(loom.policies.latest("rebate").version, by="bob")
        assert await loom.actor(OtherDesk, "one").ask(Quote(percent=10)) == "over"


# --- entries of before ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "language", "trigger"),
    [
        ("policy_registered", "registered from code", "python", "code"),
        ("policy_registered", "a circuit", "python", "code"),
        ("policy_registered", None, "none", "code"),
        ("policy_registered", None, "python", "person"),
        ("policy_registered", "would 15 do?", "table", "person"),
        ("policy_adopted", "adopted with its code", "", "code"),
        ("policy_adopted", "agreed", "", "person"),
        ("policy_adopted", None, "", "person"),
    ],
)
def test_entries_of_schema_1_are_told_apart_by_what_they_say(
    kind: str, reason: str | None, language: str, trigger: str
) -> None:
    about = {"number": 1, "document": {"language": language}, "about": {}} if kind == "policy_registered" else {}
    body = {"step": None, "name": "p", "version": "v", "hash": "h", "by": "alice", "reason": reason, **about}
    entry = KINDS.decode(kind, 1, json.dumps(body).encode())
    assert isinstance(entry, PolicyRegisteredEntry | PolicyAdoptedEntry)
    assert (entry.trigger, entry.identity_source, entry.via) == (trigger, None, None)
    assert str(entry.identity) == "alice (source not recorded)"


async def test_an_adoption_says_since_when_it_was_gone_by_and_only_of_the_past(store: SqliteStore) -> None:
    since = datetime(2015, 1, 1, tzinfo=UTC)
    registry = PolicyRegistry(store)
    version = await registry.register(rebate, by="bob")

    for wrong, said in ((datetime(2015, 1, 1), "has no zone"), (datetime(2999, 1, 1, tzinfo=UTC), "later than now")):  # noqa: DTZ001
        with pytest.raises(AdmissionError, match=said):
            await registry.adopt(version.version, by="carol", effective_from=wrong)
    assert registry.adoption(rebate.name) is None
    await registry.adopt(version.version, by="carol")
    await registry.adopt(version.version, by="carol", effective_from=since)  # it is not lost, as it says more
    await registry.adopt(version.version, by="carol", effective_from=since)

    again = PolicyRegistry(store)
    await again.load()
    adoption = again.adoption(rebate.name)
    assert adoption is not None
    assert (adoption.effective_from, adoption.as_json()["effective_from"]) == (since, "2015-01-01T00:00:00+00:00")
    assert len([each async for each in store.read("loom/policies") if each.kind == "policy_adopted"]) == 2


async def test_a_time_that_is_now_is_past_enough(store: SqliteStore) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    registry = PolicyRegistry(store, now=lambda: now)
    version = await registry.register(rebate, by="bob")
    assert await registry.adopt(version.version, by="carol", effective_from=now) == version


async def test_code_that_still_gives_what_code_adopted_leaves_it(store: SqliteStore, registry: PolicyRegistry) -> None:
    await registry.ensure(rebate, by="alice")
    five = await registry.ensure(limited(5), by="alice")
    assert registry.adopted("rebate") == five
    ten = await registry.ensure(rebate, by="alice")
    assert ten.hash == rebate.version_hash
    assert registry.adopted("rebate") == (await reread(store)).adopted("rebate") == five


async def test_two_that_start_at_once_adopt_once_and_never_over_a_person(store: SqliteStore) -> None:
    here, there = Node(store), Node(store)
    ours, theirs = PolicyRegistry(here), PolicyRegistry(there)
    version = await ours.register_code(rebate, by="alice", reason="registered from code")
    await theirs.load()
    here.before_append.append(lambda: theirs.adopt(version.version, by="bob"))
    assert await ours.ensure(rebate, by="alice") == version
    assert who(ours) == ("bob", "person")
    again = PolicyRegistry(store)
    await asyncio.gather(*(again.ensure(another_rebate, by="alice") for _ in range(3)))
    assert [type(each) for each in await written(store)].count(PolicyAdoptedEntry) == 1


async def test_several_that_ensure_at_once_adopt_once(store: SqliteStore, registry: PolicyRegistry) -> None:
    await asyncio.gather(*(registry.ensure(rebate, by="alice") for _ in range(3)))
    assert [type(each) for each in await written(store)].count(PolicyAdoptedEntry) == 1


async def test_what_a_person_adopted_and_no_code_runs_is_logged(store: SqliteStore, registry: PolicyRegistry) -> None:
    first = await registry.register(rebate, by="bob")
    await registry.adopt(first.version, by="carol")
    with capture_logs() as logs:
        again = await reread(store)
        version = await again.ensure(another_rebate, by="alice")
    assert version.hash == another_rebate.version_hash
    [said] = [each for each in logs if each["event"] == "policy_code_missing"]
    assert (said["policy"], said["adopted"]) == ("rebate", first.version)
    assert version.version in said["expected"]
