"""Equivalence rules are registered, each with its author, time and reason; versions are never mixed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Bin, Command, EquivalenceRule, Evaluation, Facts, Loom, Params, SetOf, allow, otherwise, policy
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    AppendUnknownError,
    EquivalenceRuleNotRegisteredError,
    EquivalenceRuleTamperedError,
    InvalidNameError,
)
from loom.journal import Append, Draft, Receipt
from loom.journal.chain import body_digest
from loom.journal.sqlite import Reader, SqliteOptions, SqliteStore, WriterOptions
from loom.policies import first_match
from loom.precedents import EQUIVALENCE_JOURNAL, EquivalenceRegistry
from loom.precedents.entries import EquivalenceRuleRegisteredEntry

_OPTIONS = SqliteOptions(writer=WriterOptions(min_free_bytes=0))


def rule(name: str = "cases", *, bins: int = 5) -> EquivalenceRule:
    return EquivalenceRule(
        name, attributes=("industry", Bin("percent", low=0, high=50, bins=bins)), outcome=("granted",)
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "journal.db", options=_OPTIONS)
    yield store
    await store.close()


async def reread(store: SqliteStore) -> EquivalenceRegistry:
    """Return the registry as a process that starts now finds it."""
    registry = EquivalenceRegistry(store)
    await registry.load()
    return registry


async def count(store: SqliteStore) -> int:
    return len([each async for each in store.read(EQUIVALENCE_JOURNAL)])


async def test_a_rule_is_registered_with_author_time_reason_and_a_number_of_its_name(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    first = await registry.register(rule(), by="alice", reason="what sales thinks is alike")
    other = await registry.register(rule("others"), by="alice")
    second = await registry.register(rule(bins=10), by="bob", reason="finer")
    assert [(each.name, each.number) for each in (first, other, second)] == [("cases", 1), ("others", 1), ("cases", 2)]
    assert (first.by, first.reason, first.hash) == ("alice", "what sales thinks is alike", rule().hash)
    assert first.version == f"rule_v1_{rule().hash[:8]}"
    assert first.registered_at <= second.registered_at
    again = await reread(store)
    assert again.versions() == registry.versions() == (first, second, other)
    assert again.versions("cases") == (first, second)
    assert again.versions("nobody's") == ()


async def test_registering_an_equal_rule_appends_nothing_and_gives_the_one_there_is(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    first = await registry.register(rule(), by="alice")
    reordered = EquivalenceRule("cases", attributes=reversed(rule().attributes), outcome=rule().outcome)
    assert await registry.register(reordered, by="bob") == first
    assert await (await reread(store)).register(rule(), by="carol") == first
    assert await count(store) == 1


async def test_many_that_register_at_once_get_one_version_each(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    wanted = [rule(bins=bins) for bins in (2, 3, 4)] * 10
    versions = await asyncio.gather(*(registry.register(each, by="alice") for each in wanted))
    assert sorted({each.number for each in versions}) == [1, 2, 3]
    assert [each.hash for each in versions] == [each.hash for each in wanted]
    assert await count(store) == 3


async def test_who_registers_and_goes_away_at_once_leaves_the_registry_sound(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    for bins in range(2, 10):
        registering = asyncio.create_task(registry.register(rule(bins=bins), by="alice"))
        for _ in range(bins - 2):
            await asyncio.sleep(0)
        registering.cancel()
        await asyncio.gather(registering, return_exceptions=True)
    last = await registry.register(rule(bins=20), by="alice")
    numbers = [each.number for each in (await reread(store)).versions("cases")]
    assert numbers == list(range(1, last.number + 1))


async def test_an_append_whose_end_is_unknown_is_asked_about(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = store.append

    async def unknown(wanted: Append) -> Receipt:
        receipt = await append(wanted)
        raise AppendUnknownError("?", journal=receipt.journal, sequence=receipt.sequence, entry_hash=receipt.entry_hash)

    monkeypatch.setattr(store, "append", unknown)
    registry = EquivalenceRegistry(store)
    assert (await registry.register(rule(), by="alice")).number == 1
    assert await count(store) == 1


async def test_a_version_is_named_by_id_hash_beginning_or_the_name_for_the_last_one(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    first = await registry.register(rule(), by="alice")
    second = await registry.register(rule(bins=10), by="alice")
    for name in (first.version, first.version.removeprefix("rule_"), first.hash, first.hash[:9]):
        assert registry.resolve(name) == first
    assert registry.resolve("cases") == second
    assert registry.knows(first.hash)
    assert not registry.knows(first.hash[:9])
    for unknown in ("rule_v2_" + first.hash[:8], "nobody's", "ffffffff", "", first.hash[:3]):
        with pytest.raises(EquivalenceRuleNotRegisteredError, match=r"is not registered; known are \[rule_v1_"):
            registry.resolve(unknown)


async def test_nobody_registers_nothing(store: SqliteStore) -> None:
    with pytest.raises(InvalidNameError):
        await EquivalenceRegistry(store).register(rule(), by=" ")
    assert await count(store) == 0


async def test_a_rule_that_cannot_tell_a_denial_from_a_grant_is_not_registered(store: SqliteStore) -> None:
    with pytest.raises(AdmissionError, match="has no attribute of the outcome"):
        await EquivalenceRegistry(store).register(EquivalenceRule("r", attributes=("a",)), by="alice")
    assert await count(store) == 0


async def test_a_rule_whose_bounds_would_be_lost_is_not_registered(store: SqliteStore) -> None:
    low: Any = "0.1234567890123456789"
    lossy = EquivalenceRule("r", attributes=(Bin("a", low=low, high=1),), outcome=("b",))
    with pytest.raises(AdmissionError, match="bounds that are lost"):
        await EquivalenceRegistry(store).register(lossy, by="alice")


async def test_a_registered_rule_makes_the_same_keys_with_no_code_at_hand(store: SqliteStore) -> None:
    made = EquivalenceRule(
        "all kinds",
        attributes=("industry", Bin("x", low=0.1, high=0.3, bins=7), Bin("y", low=-1e300, high=2**53), SetOf("tags")),
        outcome=("granted", Bin("given", low=0, high=1)),
    )
    await EquivalenceRegistry(store).register(made, by="alice")
    again = (await reread(store)).resolve("all kinds").rule
    facts = {"industry": "retail", "x": 0.2, "y": 3, "tags": ["b", "a"]}
    assert again == made
    assert again.classify(facts, {"granted": True, "given": 0.5}) == made.classify(
        facts, {"granted": True, "given": 0.5}
    )


async def test_a_rule_at_hand_is_known_to_this_process_alone_until_somebody_registers_it(store: SqliteStore) -> None:
    registry = EquivalenceRegistry(store)
    beside = registry.at_hand(rule(), by="replay")
    assert (beside.number, registry.versions(), await count(store)) == (0, (), 0)
    assert registry.knows(rule().hash)
    assert registry.resolve(rule().hash) == registry.at_hand(rule(), by="replay") == beside
    registered = await registry.register(rule(), by="alice")
    assert registered.number == 1
    assert registry.resolve(rule().hash) == registry.at_hand(rule(), by="replay") == registered


async def test_over_a_reader_a_rule_is_known_to_this_process_alone(store: SqliteStore, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "journal.db")
    registry = EquivalenceRegistry(reader)
    await registry.load()
    assert (await registry.register(rule(), by="alice")).number == 0
    assert registry.knows(rule().hash)
    assert await count(store) == 0
    await reader.close()


@pytest.mark.parametrize("change", ["bins", "hash", "name", "version"])
async def test_a_rule_that_was_changed_in_the_journal_is_not_read(store: SqliteStore, change: str) -> None:
    document = rule().document()
    given: dict[str, Any] = {
        "name": "cases",
        "number": 1,
        "version": f"rule_v1_{rule().hash[:8]}",
        "hash": rule().hash,
        "document": document,
        "by": "mallory",
    }
    if change == "bins":
        given["document"] = rule(bins=6).document()
    else:
        given[change] = {"hash": "f" * 64, "name": "others", "version": "rule_v7_00000000"}[change]
    body = EquivalenceRuleRegisteredEntry(**given).model_dump_json().encode()
    salt = b"s" * 16
    forged = Draft("equivalence_rule_registered", 1, None, None, salt, body, body_digest(salt, body))
    await store.append(Append(EQUIVALENCE_JOURNAL, 0, (forged,)))
    with pytest.raises(EquivalenceRuleTamperedError, match=r"at sequence \[1\] of journal \[loom/equivalence\]"):
        await reread(store)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"format": "loom.equivalence/2", "name": "r", "attributes": [], "outcome": []},
        {"format": "loom.equivalence/1", "name": "r", "attributes": [{"fuzzy": "a"}], "outcome": []},
        {
            "format": "loom.equivalence/1",
            "name": "r",
            "attributes": [{"bin": "a", "low": "x", "high": "1"}],
            "outcome": [],
        },
        {"format": "loom.equivalence/1", "name": "r", "attributes": 3, "outcome": []},
    ],
    ids=lambda each: json.dumps(each)[:50],
)
def test_a_document_that_declares_no_rule_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(AdmissionError, match="expected"):
        EquivalenceRule.from_document(document)


# --- with the actors that bring them -------------------------------------------------------------


class Asked(Facts):
    industry: str
    percent: int


@policy("rebate", Params())
def rebate(params: Params, facts: Asked) -> Evaluation:
    return first_match(otherwise("all", allow(), why="everybody gets it"))


class Ask(Command[str]):
    percent: int


class RebateAgent(Actor[None]):
    policy = rebate
    equivalence = rule()

    async def execute(self, command: Ask) -> str:
        facts = Asked(industry="retail", percent=command.percent)
        self.evaluate(facts)
        return await self.record_decision(rationale="everybody gets it", outcome={"granted": True})


async def test_the_rule_of_a_class_is_registered_in_the_name_of_whoever_opened_the_loom() -> None:
    async with Loom.open("sqlite://", actors=[RebateAgent], by="robin") as loom:
        [version] = loom.precedents.rules()
        assert (version.name, version.number, version.by, version.hash) == ("cases", 1, "robin", rule().hash)
        made = await loom.actor(RebateAgent, "a").ask(Ask(percent=60), by="ana")
        decision = (await loom.traces.get(made)).decision
        assert decision.precedent_class is not None
        assert decision.precedent_class.rule == version.hash
        told = (await loom.traces.explain(made)).text()
    assert f"cases, version {version.version}" in told
    assert "percent: 40 to 50 (part 5 of 5), above the range" in told
    assert "granted: yes" in told


async def test_another_rule_of_the_same_name_is_another_version_and_its_cases_are_never_mixed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(url, actors=[RebateAgent], by="robin") as loom:
        first = await loom.actor(RebateAgent, "a").ask(Ask(percent=15), by="ana")

    class Finer(RebateAgent):
        actor_type = "rebate-agent"
        equivalence = rule(bins=10)

    async with Loom.open(url, actors=[Finer], by="kim") as loom:
        second = await loom.actor(Finer, "a").ask(Ask(percent=15), by="ana")
        coarse, fine = loom.precedents.rules("cases")
        assert [(each.number, each.by) for each in (coarse, fine)] == [(1, "robin"), (2, "kim")]
        classes = await loom.precedents.classes()
        assert {(each.rule, each.support) for each in classes} == {(coarse.hash, 1), (fine.hash, 1)}
        for version, made in ((coarse, first), (fine, second)):
            [only] = await loom.precedents.classes(rule=version.version)
            assert (only.rule, only.decision_id) == (version.hash, made)
            [found] = await loom.precedents.find(
                situation=version.rule.situation_key({"industry": "retail", "percent": 15})
            )
            assert found.decision_id == made
        assert await loom.precedents.classes(rule="cases") == await loom.precedents.classes(rule=fine.hash)
        with pytest.raises(EquivalenceRuleNotRegisteredError):
            await loom.precedents.classes(rule="nobody's")


async def test_a_decision_by_a_rule_that_nobody_registered_is_refused() -> None:
    class Sly(RebateAgent):
        actor_type = "sly"

        async def execute(self, command: Ask) -> str:
            type(self).equivalence = rule("sly", bins=3)
            return await super().execute(command)

    async with Loom.open("sqlite://", actors=[Sly], by="robin") as loom:
        with pytest.raises(ActorFailedError, match=r"EquivalenceRuleNotRegisteredError|is not registered"):
            await loom.actor(Sly, "a").ask(Ask(percent=15), by="ana")
        await loom.precedents.register(rule("sly", bins=3), by="kim", reason="now it is known")
        made = await loom.actor(Sly, "a").ask(Ask(percent=15), by="ana")
        found = await loom.precedents.of(made)
        assert found is not None
        assert found.rule == loom.precedents.rules("sly")[0].hash
