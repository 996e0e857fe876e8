"""What the precedent index gives is held against the journal: it can hide a precedent, and not invent one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, EquivalenceRule, Loom
from loom.decisions import DecisionJournalEntry, PrecedentReference, PrecedentReferencedEntry
from loom.errors import ViewsDifferError
from loom.identity import derived_id
from loom.journal import TurnFailedEntry
from loom.policies.entries import PolicyAdoptedEntry
from loom.precedents import Memory
from tests.projections.journals import RULE, command, decision, whole_turn
from tests.projections.reading import Asked, asked
from tests.projections.tampering import tamper

JOURNAL = "discount-agent/acme"
RETAIL = {"industry": "retail", "percent": 15}


def id_of(name: str) -> str:
    return derived_id("test", name)


def decided(name: str, **changes: object) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, **changes))


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        for name in ("one", "two", "three"):
            await loom.write(JOURNAL, *whole_turn(name, industry="retail"), turn=name)
        yield loom


async def changed(loom: Asked, statement: str, parameters: Sequence[object] = ()) -> None:
    """Change views that are up to date."""
    await loom.precedents.find()
    assert tamper(loom.store.files.views, statement, parameters) > 0


async def ids(loom: Asked, **wanted: Any) -> list[str]:
    return [each.decision_id for each in await loom.precedents.find(**wanted)]


SITUATION = RULE.situation_key(RETAIL)
NEW = [id_of("three"), id_of("two"), id_of("one")]
COLUMNS = {
    "decision_id": "f" * 64,
    "journal": "a/b",
    "command_id": "x",
    "decision_type": "x",
    "rationale": "forged",
    "outcome": '{"granted": false}',
    "is_exception": 0,
    "recorded_at_us": 5,
    "situation": "x",
    "precedent": "x",
    "policy_name": "x",
    "policy_version": "x",
    "policy_hash": "x",
}


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_precedent_that_was_changed_is_not_found(loom: Asked, column: str) -> None:
    await changed(loom, f"UPDATE precedents SET {column} = ? WHERE position = 15", [COLUMNS[column]])
    assert await ids(loom) == [NEW[0], NEW[2]]
    assert [*loom.queries.differences] == [f"precedents 15: other than its entry in {column}"]


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("UPDATE precedents SET situation = 'x' WHERE position = 15", {"situation": "x"}),
        ("UPDATE precedents SET precedent = 'x' WHERE position = 15", {"precedent": "x"}),
        ("UPDATE precedents SET decision_type = 'x' WHERE position = 15", {"decision_type": "x"}),
        ("INSERT INTO precedent_facets VALUES ('industry', '\"health\"', 15)", {"facets": {"industry": "health"}}),
        ("INSERT INTO precedent_facets VALUES ('percent', '99', 15)", {"facets": {"percent": 99}}),
        (
            "INSERT INTO precedent_words (rowid, rationale, reasoning) VALUES (15, 'forged words', '')",
            {"text": "forged"},
        ),
    ],
)
async def test_no_search_finds_what_does_not_match_it(loom: Asked, statement: str, wanted: dict[str, Any]) -> None:
    await changed(loom, statement)
    assert await ids(loom, **wanted) == []
    assert len([*loom.queries.differences]) == 1
    memory = Memory(loom.queries)
    given = {"alike" if name in ("situation", "precedent") else name: value for name, value in wanted.items()}
    assert await memory.search(**given) == ()


async def test_words_and_facets_find_what_has_them(loom: Asked) -> None:
    assert await ids(loom, text="severe incidents", facets={"industry": "retail"}, situation=SITUATION) == NEW


async def test_a_decision_of_a_turn_that_failed_is_no_precedent_whatever_the_index_says(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), decided("lost", facts=RETAIL), turn="lost")
    assert len(await ids(loom, situation=SITUATION)) == 4  # its turn goes on
    await loom.write(JOURNAL, TurnFailedEntry(type_name="ValueError", message="no"), turn="lost")
    await changed(loom, "UPDATE precedents SET excluded = NULL")
    assert await ids(loom, situation=SITUATION) == NEW


async def test_the_index_can_hide_a_precedent(loom: Asked) -> None:
    await changed(loom, "UPDATE precedents SET excluded = 'failed' WHERE position = 15")
    assert await ids(loom, situation=SITUATION) == [NEW[0], NEW[2]]


async def superseded(loom: Asked) -> dict[str, str | None]:
    return {each.decision_id: each.superseded for each in await loom.precedents.find()}


async def test_what_was_not_overruled_is_not_shown_as_overruled(loom: Asked) -> None:
    overruling = PrecedentReference(decision_id=id_of("one"), relation="overruled")
    await loom.write(JOURNAL, decided("later", precedents=(overruling,)))
    assert (await superseded(loom))[id_of("one")] == "overruled"
    await changed(loom, "UPDATE precedents SET overruled_by = ? WHERE position = 15", [id_of("later")])
    assert (await superseded(loom))[id_of("two")] is None
    await changed(loom, "UPDATE precedents SET overruled_by = 'nothing' WHERE position = 23")
    assert (await superseded(loom))[id_of("three")] is None
    assert (await superseded(loom))[id_of("one")] == "overruled"
    assert len([*loom.queries.differences]) == 2


async def test_which_version_is_adopted_the_policies_journal_says_and_no_view(loom: Asked) -> None:
    await changed(loom, "INSERT INTO precedent_policies VALUES ('discount', 'forged')")
    assert set((await superseded(loom)).values()) == {None}
    adopted = PolicyAdoptedEntry(name="discount", version="policy_v2_aaaaaaaa", hash="a" * 64, by="ana")
    await loom.write("loom/policies", adopted)
    await changed(loom, "DELETE FROM precedent_policies")
    assert set((await superseded(loom)).values()) == {"policy"}


async def test_a_class_is_what_its_decisions_are(loom: Asked) -> None:
    [before] = await loom.precedents.classes()
    assert await loom.precedents.of(id_of("two")) == before
    await changed(loom, "UPDATE precedents SET outcome = '{\"granted\": 7}', rationale = 'forged' WHERE position = 23")
    assert await loom.precedents.classes() == ()
    await changed(loom, "DELETE FROM precedents WHERE position = 23")
    [shown] = await loom.precedents.classes()
    assert shown.outcome == before.outcome
    assert shown.decision_id == id_of("two")
    await changed(loom, "UPDATE precedent_classes SET rule = 'forged'")
    assert await loom.precedents.classes() == ()


async def test_the_class_of_a_decision_is_the_one_it_was_given(loom: Asked) -> None:
    await changed(loom, "UPDATE precedents SET precedent = 'x' WHERE position = 15")
    with pytest.raises(ViewsDifferError, match=r"\[precedents 15\]"):
        await loom.precedents.of(id_of("two"))


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ('UPDATE precedents SET outcome = \'{"granted": "x"}\' WHERE position = 15', {"outcome": {"granted": "x"}}),
        ("UPDATE trace_decisions SET command_type = 'x' WHERE position = 15", {"command_type": "x"}),
        ("UPDATE trace_decisions SET rationale = 'x' WHERE position = 15", {"after": 16, "facets": {"percent": 15}}),
    ],
)
async def test_memory_finds_what_is_so(loom: Asked, statement: str, wanted: dict[str, Any]) -> None:
    memory = Memory(loom.queries)
    await memory.search()
    await changed(loom, statement)
    assert id_of("two") not in [each.decision_id for each in await memory.search(**wanted)]
    assert len([*loom.queries.differences]) == 1


# --- what a turn rests on -----------------------------------------------------------------------------


class Ask(Command[str]):
    size: int


class Cautious(Actor[None]):
    actor_type = "cautious"
    equivalence = EquivalenceRule("cautious", attributes=("size",), outcome=("granted",))

    async def execute(self, command: Ask) -> str:
        found = await self.find_precedents({"size": command.size})
        await self.record_decision(rationale="as ever", facts={"size": command.size}, outcome={"granted": True})
        return " ".join(each.rationale for each in found)


async def test_a_turn_sees_no_precedent_that_nobody_decided_and_records_how_far_the_index_was(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Cautious], by="robin") as loom:
        ref = loom.actor(Cautious, "a")
        assert await ref.ask(Ask(size=1)) == ""
        assert await ref.ask(Ask(size=1)) == "as ever"
        await loom.reached()
        assert tamper(loom.files.views, "UPDATE precedents SET rationale = 'always grant'") == 2
        assert await ref.ask(Ask(size=1)) == ""
        seen = [
            each async for each in loom.store.read("cautious/a") if isinstance(each.entry, PrecedentReferencedEntry)
        ]
    entries = [each.entry for each in seen if isinstance(each.entry, PrecedentReferencedEntry)]
    assert [each.schema_version for each in seen] == [4, 4, 4]
    for recorded, entry in zip(seen, entries, strict=True):
        assert entry.position is not None
        assert 0 <= entry.position < recorded.position
    assert [len(entry.found) for entry in entries] == [0, 1, 0]
    assert [entry.position or 0 for entry in entries] == sorted(entry.position or 0 for entry in entries)


def test_a_body_of_before_does_not_say_how_far_the_index_was() -> None:
    body = PrecedentReferencedEntry(situation="s").model_dump(mode="json", exclude={"position"})
    assert PrecedentReferencedEntry.upcast(1, body) == {**body, "position": None}
