"""What is superseded is marked, what is counted is right whatever happens, and no question reads a whole table."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.decisions import DecisionJournalEntry, PolicyReference, PrecedentReference
from loom.errors import PrecedentClassNotFoundError
from loom.identity import derived_id
from loom.journal import Entry, Recorded, TurnAbandonedEntry, TurnFailedEntry, draft
from loom.policies.entries import PolicyAdoptedEntry
from loom.precedents import Precedents, PrecedentsProjection, PrecedentSupport
from loom.projections import Queries, Views
from loom.projections.projection import Projection
from tests.projections.journals import RULE, command, decision
from tests.projections.reading import Asked, asked

JOURNAL = "discount-agent/acme"
OLD, NEW = "9af01c22" * 8, "b" * 64


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


def under(full_hash: str, name: str = "discount") -> PolicyReference:
    return PolicyReference(name=name, version=f"policy_v1_{full_hash[:8]}", hash=full_hash)


def adopted(full_hash: str) -> PolicyAdoptedEntry:
    return PolicyAdoptedEntry(name="discount", version=f"policy_v1_{full_hash[:8]}", hash=full_hash, by="dana")


def decided(name: str, *, overrules: tuple[str, ...] = (), **changes: Any) -> DecisionJournalEntry:
    seen = tuple(PrecedentReference(decision_id=derived_id("test", each), relation="overruled") for each in overrules)
    return DecisionJournalEntry(decision=decision(name, precedents=seen, **changes))


async def marks(loom: Asked) -> dict[str, str | None]:
    known = {derived_id("test", name): name for name in ("one", "two", "three", "four")}
    return {known[each.decision_id]: each.superseded for each in await loom.precedents.find(limit=10)}


async def test_a_decision_of_a_version_that_is_no_longer_adopted_is_superseded(loom: Asked) -> None:
    await loom.write("loom/policies", adopted(OLD))
    await loom.write(JOURNAL, decided("one"), decided("two", policy=under(NEW, "another policy")))
    assert await marks(loom) == {"one": None, "two": None}
    await loom.write("loom/policies", adopted(NEW))
    await loom.write(JOURNAL, decided("three", policy=under(NEW)))
    assert await marks(loom) == {"one": "policy", "two": None, "three": None}
    [kind] = await loom.precedents.classes()
    assert (kind.support, kind.superseded) == (3, 1)
    await loom.write("loom/policies", adopted(OLD))
    assert await marks(loom) == {"one": None, "two": None, "three": "policy"}


async def test_a_decision_under_a_policy_that_nobody_adopts_is_not_superseded(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"))
    assert await marks(loom) == {"one": None}
    assert [each.superseded for each in await loom.precedents.classes()] == [0]


async def test_a_decision_that_a_later_one_overruled_is_superseded_and_still_found(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"), decided("two"))
    await loom.write(JOURNAL, decided("three", overrules=("one",), outcome={"granted": False}))
    assert await marks(loom) == {"one": "overruled", "two": None, "three": None}
    granted, denied = await loom.precedents.classes()
    assert (granted.support, granted.superseded) == (2, 1)
    assert (denied.support, denied.superseded) == (1, 0)
    assert len(await loom.precedents.find(situation=granted.situation)) == 3


async def test_what_is_superseded_twice_is_counted_once(loom: Asked) -> None:
    await loom.write("loom/policies", adopted(NEW))
    await loom.write(JOURNAL, decided("one"), decided("two"))
    await loom.write(JOURNAL, decided("three", overrules=("one",), policy=under(NEW)))
    assert await marks(loom) == {"one": "overruled", "two": "policy", "three": None}
    [kind] = await loom.precedents.classes()
    assert (kind.support, kind.superseded) == (3, 2)


@pytest.mark.parametrize(
    "end",
    [TurnFailedEntry(type_name="E", message="no"), TurnAbandonedEntry(by="ana", reason="no")],
    ids=lambda e: e.kind,
)
async def test_a_turn_that_failed_has_overruled_nothing(loom: Asked, end: Entry) -> None:
    await loom.write(JOURNAL, decided("one"), decided("two"))
    await loom.write(JOURNAL, command(), decided("three", overrules=("one", "two")), turn="t")
    await loom.write("discount-agent/beta", decided("four", overrules=("two",)))
    assert await marks(loom) == {"one": "overruled", "two": "overruled", "three": None, "four": None}
    await loom.write(JOURNAL, end, turn="t")
    assert await marks(loom) == {"one": None, "two": "overruled", "four": None}
    [kind] = await loom.precedents.classes()
    assert (kind.support, kind.superseded) == (3, 1)


async def test_a_replayed_decision_overrules_nothing_and_counts_nowhere(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"))
    again = decided("two", overrules=("one",), origin="replayed", replayed_from=derived_id("test", "one"))
    await loom.write("replay/r1", again)
    assert await marks(loom) == {"one": None}
    assert [each.support for each in await loom.precedents.classes()] == [1]


async def test_an_overruling_that_is_known_first_counts_as_soon_as_its_decision_is(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("two", overrules=("one",)))
    await loom.write("discount-agent/beta", decided("one"))
    assert await marks(loom) == {"one": "overruled", "two": None}


async def test_all_decisions_of_a_class_come_in_pages_without_gap_or_repetition(loom: Asked) -> None:
    names = [f"n{number}" for number in range(7)]
    for name in names:
        await loom.write(JOURNAL, decided(name), decided(f"{name} denied", outcome={"granted": False}))
    kind = await loom.precedents.of(derived_id("test", "n0"))
    assert kind is not None
    seen: list[str] = []
    after = None
    while page := await loom.precedents.members(kind.precedent, limit=3, after=after):
        seen += [each.decision_id for each in page]
        after = page[-1].position
        assert {each.policy for each in page} == {"discount"}
        assert all(each.outcome == {"granted": True} for each in page)
    assert seen == [derived_id("test", name) for name in reversed(names)]


async def test_classes_come_in_pages_without_gap_or_repetition(loom: Asked) -> None:
    for number in range(12):
        facts = {"industry": f"i{number % 5}", "percent": 15}
        await loom.write(JOURNAL, decided(f"n{number}", facts=facts))
    every = await loom.precedents.classes()
    assert [each.support for each in every] == [3, 3, 2, 2, 2]
    paged: list[PrecedentSupport] = []
    after = None
    while page := await loom.precedents.classes(limit=2, after=after):
        paged += page
        after = page[-1]
    assert tuple(paged) == every


async def test_a_class_is_named_by_its_key_or_how_only_one_begins(loom: Asked) -> None:
    for number in range(40):
        await loom.write(JOURNAL, decided(f"n{number}", facts={"industry": f"i{number}", "percent": 15}))
    classes = await loom.precedents.classes()
    assert await loom.precedents.get(classes[0].precedent[:12]) == classes[0]
    for unknown, said in (
        ("", "not known"),
        ("zz", "not known"),
        (_shared([c.precedent for c in classes]), "ambiguous"),
    ):
        with pytest.raises(PrecedentClassNotFoundError, match=said):
            await loom.precedents.get(unknown)


def _shared(keys: list[str]) -> str:
    return Counter(key[0] for key in keys).most_common(1)[0][0]


# --- counting ------------------------------------------------------------------------------------

_HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 3), st.booleans(), st.sampled_from((OLD, NEW)), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("adopt"), st.sampled_from((OLD, NEW))),
    ),
    max_size=25,
)


def recorded(position: int, entry: Entry, turn: str | None) -> Recorded:
    ready = draft(entry)
    header = (position, JOURNAL, position, entry.kind, entry.schema_version, turn, 1, position, 0, None)
    return Recorded(*header, ready.salt, ready.body, ready.body_digest, b"")


@given(_HISTORY)
def test_what_is_counted_is_what_a_count_from_the_start_would_give(history: list[tuple[Any, ...]]) -> None:
    projection = PrecedentsProjection()
    with contextlib.closing(sqlite3.connect(":memory:")) as view:
        view.executescript(projection.schema)
        usable: dict[str, tuple[int, str, str, str | None]] = {}
        current: str | None = None
        for position, (what, *given) in enumerate(history, 1):
            if what == "decide":
                turn, granted, full_hash, target = given
                overruled = f"d{target}" if 0 < target != position else None
                made = decided(
                    f"d{position}",
                    overrules=() if overruled is None else (overruled,),
                    policy=under(full_hash),
                    outcome={"granted": granted},
                )
                projection.apply(recorded(position, made, f"t{turn}"), view)
                assert made.decision.precedent_class is not None
                usable[f"d{position}"] = (turn, made.decision.precedent_class.precedent, full_hash, overruled)
            elif what == "fail":
                projection.apply(recorded(position, TurnFailedEntry(type_name="E", message="no"), f"t{given[0]}"), view)
                usable = {name: each for name, each in usable.items() if each[0] != given[0]}
            else:
                projection.apply(recorded(position, adopted(given[0]), None), view)
                current = given[0]
        _check_counts(view, usable, current)


def _check_counts(
    view: sqlite3.Connection, usable: dict[str, tuple[int, str, str, str | None]], current: str | None
) -> None:
    from loom.precedents import search

    view.row_factory = sqlite3.Row
    support = Counter(precedent for _, precedent, _, _ in usable.values())
    overruled = {target for *_, target in usable.values() if target is not None} & set(usable)
    superseded = Counter(
        precedent
        for name, (_, precedent, full_hash, _) in usable.items()
        if name in overruled or (current is not None and full_hash != current)
    )
    statement = search._CLASS.format(f"{search._LARGEST} {search._LARGEST_FIRST}")
    rows = view.execute(statement, {"limit": 100}).fetchall()
    assert {row["precedent"]: row["support"] for row in rows} == support
    assert {row["precedent"]: row["superseded"] for row in rows if row["superseded"]} == superseded
    marked = view.execute("SELECT decision_id FROM precedents WHERE overruled_by IS NOT NULL AND excluded IS NULL")
    assert {row[0] for row in marked} == {derived_id("test", name) for name in overruled}


# --- how it is looked up -------------------------------------------------------------------------


class Plans(Queries):
    """Asks SQLite how it would look something up, and finds nothing."""

    def __init__(self, views: Views) -> None:
        super().__init__(views)
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(PrecedentsProjection.schema)
        self.steps: list[str] = []

    async def fetch(self, statement: str, parameters: Any = (), **_: Any) -> list[sqlite3.Row]:
        plan = self.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        self.steps += [row[3] for row in plan]
        return []


_SEARCHES: dict[str, dict[str, Any]] = {
    "newest": {},
    "situation": {"situation": "s"},
    "situation and type": {"situation": "s", "decision_type": "t"},
    "situation of another turn": {"situation": "s", "exclude_turn": ("a/b", "t")},
    "class": {"precedent": "p"},
    "class and type": {"precedent": "p", "decision_type": "t"},
    "type": {"decision_type": "t"},
    "words": {"text": "two words"},
    "words and type": {"text": "two words", "decision_type": "t"},
    "facet": {"facets": {"a": 1}},
    "facets and situation": {"facets": {"a": 1, "b": 2}, "situation": "s", "decision_type": "t"},
    "before": {"situation": "s", "before": 7},
}
_BY_CLASS = ("situation", "class", "before")


@pytest.fixture
def plans(tmp_path: Path) -> Iterator[Plans]:
    made = Plans(Views(tmp_path / "none.db"))
    yield made
    made.connection.close()


@pytest.mark.parametrize("name", _SEARCHES)
async def test_no_search_reads_a_whole_table(plans: Plans, name: str) -> None:
    await Precedents(plans).find(**_SEARCHES[name])
    assert plans.steps
    assert [step for step in plans.steps if _is_scan(step) or "TEMP B-TREE" in step] == []
    if name.startswith(_BY_CLASS):
        assert any("precedents_by_situation" in step or "precedents_by_class" in step for step in plans.steps)


@pytest.mark.parametrize("rule", [None, RULE.hash])
@pytest.mark.parametrize("page", [1, 2])
async def test_no_list_of_classes_reads_a_whole_table(plans: Plans, rule: str | None, page: int) -> None:
    from tests.precedents.support import support

    await Precedents(plans).classes(rule=rule, after=support() if page == 2 else None)
    index = "precedent_classes_by_support" if rule is None else "precedent_classes_of_rule"
    assert any(index in step for step in plans.steps)
    within = [step for step in plans.steps if _is_scan(step) and index not in step and step.split()[-1] != "class"]
    assert within == []


async def test_a_class_is_looked_up_by_a_key(plans: Plans) -> None:
    precedents = Precedents(plans)
    await precedents.members("p", limit=5, after=9)
    await precedents._class("p")
    for lookup in (precedents.get("p"), precedents.of("d")):
        with pytest.raises(Exception, match="not known"):
            await lookup
    assert [step for step in plans.steps if _is_scan(step)] == []


def _is_scan(step: str) -> bool:
    """Tell whether a step of a plan reads all there is; a row of constants and an index of words are not meant."""
    return step.startswith("SCAN") and "VIRTUAL TABLE INDEX" not in step and "CONSTANT ROW" not in step


def test_the_projection_names_all_its_tables() -> None:
    projection: Projection = PrecedentsProjection()
    with contextlib.closing(sqlite3.connect(":memory:")) as view:
        view.executescript(projection.schema)
        listed = view.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    names = {name for (name,) in listed if not name.startswith("precedent_words_")}
    assert names == set(projection.tables)
