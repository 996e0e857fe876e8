"""The registry of policy versions: event-sourced, checked when it is read, and adopted from in a person's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    AppendUnknownError,
    InvalidNameError,
    JournalReadOnlyError,
    PolicyCodeChangedError,
    PolicyNotRegisteredError,
    PolicyTamperedError,
)
from loom.journal import Append, Draft, Receipt
from loom.journal.chain import body_digest
from loom.journal.sqlite import Reader, SqliteOptions, SqliteStore, WriterOptions
from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy
from loom.policies.difference import difference
from loom.policies.entries import PolicyAdoptedEntry, PolicyRegisteredEntry
from loom.policies.policy import Policy
from loom.policies.registry import POLICY_JOURNAL, PolicyRegistry
from loom.policies.tables import Table

_OPTIONS = SqliteOptions(writer=WriterOptions(min_free_bytes=0))


TABLE = {
    "format": "loom.table/1",
    "name": "rebate",
    "facts": {"percent": {"type": "integer"}},
    "rules": [{"name": "all", "when": [], "effect": "allow", "why": "why not"}],
}


class Limit(Params):
    limit: int = 10


class Asked(Facts):
    percent: int


@policy("rebate", Limit(), examples=[Asked(percent=5), Asked(percent=15)])
def rebate(params: Limit, facts: Asked) -> Evaluation:
    return first_match(
        case("within", facts.percent <= params.limit, allow(), why="within", why_not="over"),
        otherwise("over", deny(), why="over"),
    )


@policy("rebate", Limit(), examples=[Asked(percent=5)])
def another_rebate(params: Limit, facts: Asked) -> Evaluation:
    return first_match(
        case("strictly", facts.percent < params.limit, allow(), why="below", why_not="not below"),
        otherwise("over", deny(), why="over"),
    )


def limited(limit: int) -> Policy[Limit, Asked]:
    return rebate.with_params(Limit(limit=limit))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "journal.db", options=_OPTIONS)
    yield store
    await store.close()


@pytest.fixture
async def registry(store: SqliteStore) -> PolicyRegistry:
    registry = PolicyRegistry(store)
    await registry.load()
    return registry


async def reread(store: SqliteStore) -> PolicyRegistry:
    """Return the registry as a process that starts now finds it."""
    registry = PolicyRegistry(store)
    await registry.load()
    return registry


async def kinds(store: SqliteStore) -> list[str]:
    return [each.kind async for each in store.read(POLICY_JOURNAL)]


async def test_a_version_is_known_under_its_hash_which_no_registry_has_a_say_in(
    tmp_path: Path, registry: PolicyRegistry
) -> None:
    await registry.register(another_rebate, by="alice")
    second = await registry.register(rebate, by="alice", reason="why not")
    assert (second.number, second.hash, second.by, second.reason) == (2, rebate.version_hash, "alice", "why not")
    elsewhere = await SqliteStore.open(tmp_path / "elsewhere" / "journal.db", workspace="other", options=_OPTIONS)
    first = await PolicyRegistry(elsewhere).register(rebate, by="bob")
    await elsewhere.close()
    assert (first.number, first.hash) == (1, second.hash)
    assert first.version != second.version  # the number is for people, the hash is the identity
    assert first.document == second.document


async def test_registering_the_same_again_appends_nothing(store: SqliteStore, registry: PolicyRegistry) -> None:
    first = await registry.register(rebate, by="alice")
    assert await registry.register(rebate, by="bob") == first
    assert await (await reread(store)).register(rebate, by="carol") == first
    assert await kinds(store) == ["policy_registered"]


async def test_many_that_register_at_once_get_one_entry_each_version(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    wanted = [limited(limit) for limit in (1, 2, 3)] * 10
    versions = await asyncio.gather(*(registry.register(each, by="alice") for each in wanted))
    assert len(await kinds(store)) == 3
    assert sorted({version.number for version in versions}) == [1, 2, 3]
    assert [version.hash for version in versions] == [each.version_hash for each in wanted]
    assert (await reread(store)).versions("rebate") == registry.versions("rebate")


async def test_who_registers_and_goes_away_at_once_leaves_the_registry_sound(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    for rounds in range(12):
        registering = asyncio.create_task(registry.register(limited(rounds), by="alice"))
        for _ in range(rounds):
            await asyncio.sleep(0)
        registering.cancel()
        await asyncio.gather(registering, return_exceptions=True)
        version = await registry.register(limited(rounds), by="alice")
        assert registry.resolve(version.hash) == version
    await registry.register(limited(99), by="alice")
    assert (await reread(store)).versions("rebate") == registry.versions("rebate")
    numbers = [version.number for version in registry.versions("rebate")]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_who_goes_away_in_the_middle_of_an_append_is_not_in_the_way_of_the_next(
    store: SqliteStore, registry: PolicyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, go_on = store.append, asyncio.Event(), asyncio.Event()

    async def append(given: Append) -> Receipt:
        begun.set()
        await go_on.wait()
        return await real(given)

    monkeypatch.setattr(store, "append", append)
    first = asyncio.create_task(registry.register(limited(1), by="alice"))
    await begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(registry.register(limited(2), by="alice"))
    await asyncio.sleep(0)
    go_on.set()
    assert (await second).number == 2
    assert [version.number for version in registry.versions("rebate")] == [1, 2]


async def test_adopting_takes_a_name_and_is_journaled_once(store: SqliteStore, registry: PolicyRegistry) -> None:
    version = await registry.register(rebate, by="alice")
    assert registry.adopted("rebate") is None
    with pytest.raises(InvalidNameError):
        await registry.adopt(version.version, by=" ")
    assert await registry.adopt(version.version, by="bob", reason="time") == version
    assert await registry.adopt(version.hash[:8], by="carol") == version
    assert await kinds(store) == ["policy_registered", "policy_adopted"]
    assert (await reread(store)).adopted("rebate") == version
    with pytest.raises(PolicyNotRegisteredError):
        await registry.adopt("policy_v1_00000000", by="alice")


async def test_a_version_is_resolved_by_id_hash_or_an_unambiguous_beginning(registry: PolicyRegistry) -> None:
    versions = [await registry.register(limited(limit), by="alice") for limit in range(40)]
    for version in versions:
        for name in (version.version, version.hash, version.hash[:16], f"v{version.number}_{version.hash[:8]}"):
            assert registry.resolve(name) == version
        assert registry.resolve_hash(version.hash_bytes) == version
    with pytest.raises(PolicyNotRegisteredError, match="is not registered; known versions are"):
        registry.resolve("policy_v1_ffffffff")
    with pytest.raises(PolicyNotRegisteredError, match="is not registered"):
        registry.resolve_hash(b"\0" * 32)
    with pytest.raises(InvalidNameError, match="names no policy version"):
        registry.resolve("the latest one")
    with pytest.raises(PolicyNotRegisteredError, match="known are"):
        registry.latest("nothing")


async def test_an_ambiguous_beginning_names_those_it_may_be(registry: PolicyRegistry) -> None:
    seen: dict[str, Any] = {}
    for limit in range(2_000):
        hash_ = limited(limit).version_hash
        if hash_[:4] in seen:
            pair = [await registry.register(limited(each), by="alice") for each in (seen[hash_[:4]], limit)]
            break
        seen[hash_[:4]] = limit
    with pytest.raises(PolicyNotRegisteredError, match="is ambiguous; it may be") as caught:
        registry.resolve(hash_[:4])
    assert all(version.version in str(caught.value) for version in pair)


# --- what code brings at start ------------------------------------------------------------------


async def test_ensure_adopts_what_the_code_gives_when_nothing_is_adopted(registry: PolicyRegistry) -> None:
    version = await registry.ensure(rebate, by="alice")
    assert registry.adopted("rebate") == version


async def test_ensure_adopts_a_version_that_is_new_and_keeps_what_a_person_chose_among_the_old(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    first = await registry.ensure(limited(10), by="alice")
    second = await registry.ensure(limited(20), by="alice")  # the code has changed: its version is new
    assert registry.adopted("rebate") == second
    await registry.adopt(first.version, by="bob", reason="20 was too generous")
    again = await reread(store)
    await again.ensure(limited(20), by="alice")  # the same code starts again
    assert again.adopted("rebate") == first


async def test_ensure_takes_over_from_a_version_of_code_that_this_code_cannot_run(registry: PolicyRegistry) -> None:
    await registry.ensure(another_rebate, by="alice")
    new = await registry.ensure(rebate, by="alice")
    assert registry.adopted("rebate") == new
    await registry.ensure(another_rebate, by="alice")
    back = registry.adopted("rebate")
    assert back is not None
    assert back.hash == another_rebate.version_hash


async def test_a_version_runs_by_the_code_that_gives_it_and_by_no_other(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    ten, fifty = [await registry.register(limited(limit), by="alice") for limit in (10, 50)]
    other = await registry.register(another_rebate, by="alice")
    assert [registry.runnable(each).evaluate(Asked(percent=10)).rule for each in (ten, fifty, other)] == [
        "within",
        "within",
        "over",
    ]
    without_code = await reread(store)
    with pytest.raises(PolicyCodeChangedError, match="has no code in this process"):
        without_code.runnable(ten)
    without_code.attach(another_rebate)
    with pytest.raises(PolicyCodeChangedError, match="does not give version"):
        without_code.runnable(ten)
    without_code.attach(rebate)
    assert without_code.runnable(fifty).evaluate(Asked(percent=40)).allowed


async def test_the_code_of_a_version_is_made_once(registry: PolicyRegistry) -> None:
    ten, table = await registry.register(limited(10), by="alice"), await registry.register(Table.of(TABLE), by="alice")
    for version in (ten, table):
        assert registry.runnable(version) is registry.runnable(version)
        assert registry.runnable(version).gives(version.document)


async def test_who_proposes_or_needs_no_rule_gets_the_version(store: SqliteStore, registry: PolicyRegistry) -> None:
    version = await registry.register(rebate, by="alice")
    assert await registry.propose(version.version, by="bob") == version
    implicit = await registry.register_implicit("desk", by="alice")
    assert implicit == registry.latest("desk")
    entries = [each.entry async for each in store.read(POLICY_JOURNAL)]
    assert [each.via for each in entries if isinstance(each, PolicyRegisteredEntry)][-1] == "code"


async def test_versions_are_compared_from_the_old_one_to_the_new_one(registry: PolicyRegistry) -> None:
    with pytest.raises(PolicyNotRegisteredError, match=r"known versions are \[none\]"):
        registry.resolve("v1")
    old, new = [await registry.register(limited(limit), by="alice") for limit in (10, 20)]
    assert registry.diff(old.version, new.version) == difference(old, new) != difference(new, old)
    with pytest.raises(PolicyNotRegisteredError, match=rf"known versions are \[{old.version}, {new.version}\]"):
        registry.resolve("v7")


async def test_an_implicit_version_has_no_rule(registry: PolicyRegistry) -> None:
    version = await registry.register_implicit("some-agent", by="alice")
    assert (version.name, version.has_rule) == ("some-agent", False)
    assert await registry.register_implicit("some-agent", by="bob") == version


# --- what is read is checked --------------------------------------------------------------------


async def tampered(store: SqliteStore, kind: str, change: dict[str, Any]) -> None:
    """Append a copy of an entry of the registry with something changed, as a thief who can write would."""
    original = [each async for each in store.read(POLICY_JOURNAL) if each.kind == kind][-1]
    body = json.dumps({**json.loads(original.body or b""), **change}).encode()
    salt = b"\0" * 16
    entry = Draft(kind, 1, None, None, salt, body, body_digest(salt, body))
    head = await store.head(POLICY_JOURNAL)
    await store.append(Append(POLICY_JOURNAL, head.sequence, (entry,)))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("policy_registered", {"hash": "0" * 64}),
        (
            "policy_registered",
            {"document": {"format": "loom.policy/1", "language": "none", "semantics": 1, "name": "rebate"}},
        ),
        ("policy_registered", {"name": "another"}),
        ("policy_registered", {"version": "policy_v1_00000000"}),
        ("policy_registered", {"number": 7}),
        ("policy_adopted", {"hash": "0" * 64}),
    ],
    ids=str,
)
async def test_what_was_tampered_with_is_found_when_it_is_read(
    store: SqliteStore, registry: PolicyRegistry, kind: str, change: dict[str, Any]
) -> None:
    await registry.ensure(rebate, by="alice")
    await tampered(store, kind, change)
    with pytest.raises(PolicyTamperedError, match=r"at sequence \[3\] of journal \[loom/policies\]"):
        await reread(store)


async def test_an_entry_of_a_kind_of_a_later_loom_is_passed_over_and_what_follows_it_counts(
    store: SqliteStore, registry: PolicyRegistry
) -> None:
    version = await registry.ensure(rebate, by="alice")
    body, salt = b'{"why":"later"}', b"\0" * 16
    head = await store.head(POLICY_JOURNAL)
    later = Draft("policy_retired", 1, None, None, salt, body, body_digest(salt, body))
    await store.append(Append(POLICY_JOURNAL, head.sequence, (later,)))
    narrower = await registry.register(limited(5), by="bob")
    await registry.adopt(narrower.version, by="carol")
    begun = ["policy_registered", "policy_adopted"]
    assert await kinds(store) == [*begun, "policy_retired", *begun]
    again = await reread(store)
    assert (again.versions("rebate"), again.adopted("rebate")) == ((version, narrower), narrower)


async def test_entries_of_the_registry_say_who_when_and_why(store: SqliteStore, registry: PolicyRegistry) -> None:
    version = await registry.register(rebate, by="alice", reason="first")
    await registry.adopt(version.version, by="bob", reason="agreed")
    registered, adopted = [each.entry async for each in store.read(POLICY_JOURNAL)]
    assert isinstance(registered, PolicyRegisteredEntry)
    assert isinstance(adopted, PolicyAdoptedEntry)
    assert (registered.by, registered.reason, adopted.by, adopted.reason) == ("alice", "first", "bob", "agreed")
    recorded = [each.recorded_at async for each in store.read(POLICY_JOURNAL)]
    assert version.registered_at == recorded[0]
    assert "source" in registered.about


async def test_an_append_of_unknown_outcome_is_resolved(
    store: SqliteStore, registry: PolicyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.append

    async def append(given: Append) -> Receipt:
        receipt = await real(given)
        raise AppendUnknownError(
            "who knows", journal=receipt.journal, sequence=receipt.sequence, entry_hash=receipt.entry_hash
        )

    monkeypatch.setattr(store, "append", append)
    version = await registry.register(rebate, by="alice")
    assert registry.resolve(version.hash) == version
    assert await kinds(store) == ["policy_registered"]


@pytest.mark.sqlite("the reader of a file")
async def test_over_a_reader_code_is_attached_and_nothing_is_written(store: SqliteStore, tmp_path: Path) -> None:
    registered = await PolicyRegistry(store).ensure(limited(10), by="alice")
    before = await kinds(store)
    reader = Reader(tmp_path / "journal.db")
    read = PolicyRegistry(reader)
    await read.load()

    known, new = await read.ensure(limited(10), by="bob"), await read.ensure(limited(11), by="bob")

    assert (known, new.number, new.hash) == (registered, 0, limited(11).version_hash)
    assert read.adopted("rebate") == registered
    assert read.runs(new)
    with pytest.raises(JournalReadOnlyError, match="open for reading"):
        await read.adopt(known.version, by="carol", reason="now")
    assert await kinds(store) == before
    await reader.close()
