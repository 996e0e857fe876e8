"""Earlier decisions are found by what they were about, newest first, and only those that may serve as precedents."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.decisions import DecisionJournalEntry, PrecedentFound
from loom.errors import AdmissionError, DecisionNotFoundError
from loom.identity import derived_id
from loom.journal import TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.precedents import PrecedentsProjection
from loom.precedents.conditions import match_expression
from tests.projections.journals import RULE, command, decision
from tests.projections.reading import Asked, asked

JOURNAL = "discount-agent/acme"


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


def decided(name: str, **changes: Any) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, **changes))


def names(found: tuple[PrecedentFound, ...], *known: str) -> list[str]:
    by_id = {derived_id("test", name): name for name in known}
    return [by_id[each.decision_id] for each in found]


async def test_a_precedent_shows_what_was_decided_and_why(loom: Asked) -> None:
    made = decision("one")
    await loom.write(JOURNAL, DecisionJournalEntry(decision=made))
    (found,) = await loom.precedents.find()
    assert made.precedent_class is not None
    assert found.model_dump(exclude={"recorded_at"}) == {
        "decision_id": made.decision_id,
        "journal": JOURNAL,
        "decision_type": "exception",
        "rationale": made.rationale,
        "outcome": {"granted": True},
        "is_exception": True,
        "situation": made.precedent_class.situation,
        "precedent": made.precedent_class.precedent,
        "superseded": None,
        "basis": None,
        "similarity": None,
    }


async def test_cases_in_the_same_situation_are_found_newest_first(loom: Asked) -> None:
    for number, percent in enumerate((11, 25, 12, 19)):
        await loom.write(JOURNAL, decided(f"n{number}", facts={"industry": "healthcare", "percent": percent}))
    situation = RULE.situation_key({"industry": "healthcare", "percent": 15})
    known = [f"n{number}" for number in range(4)]
    assert names(await loom.precedents.find(situation=situation), *known) == ["n3", "n2", "n0"]
    assert names(await loom.precedents.find(situation=situation, limit=1), *known) == ["n3"]
    assert names(await loom.precedents.find(situation=situation, before=4), *known) == ["n2", "n0"]


async def test_denials_and_acceptances_are_never_of_one_class(loom: Asked) -> None:
    for number in range(5):
        await loom.write(JOURNAL, decided(f"n{number}", outcome={"granted": number % 5 < 3}))
    granted, denied = await loom.precedents.classes()
    assert [(each.support, each.outcome) for each in (granted, denied)] == [
        (3, {"granted": True}),
        (2, {"granted": False}),
    ]
    assert granted.situation == denied.situation
    assert granted.rule == RULE.hash
    assert granted.first_at < granted.last_at
    assert granted.decision_id == derived_id("test", "n2")
    assert await loom.precedents.classes(limit=1) == (granted,)
    assert await loom.precedents.of(derived_id("test", "n4")) == denied
    assert len(await loom.precedents.find(precedent=granted.precedent)) == 3


async def test_a_decision_without_a_class_has_none_and_an_unknown_one_is_not_found(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one", precedent_class=None))
    assert await loom.precedents.of(derived_id("test", "one")) is None
    assert await loom.precedents.classes() == ()
    with pytest.raises(DecisionNotFoundError):
        await loom.precedents.of("ffff")


async def test_replayed_decisions_are_no_precedents(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("again", origin="replayed", replayed_from=derived_id("test", "one")))
    assert await loom.precedents.find() == ()


@pytest.mark.parametrize(
    ("end", "usable"),
    [
        (TurnCompletedEntry(reply=None), True),
        (TurnFailedEntry(type_name="ValueError", message="no"), False),
        (TurnAbandonedEntry(by="ana", reason="enough"), False),
    ],
    ids=lambda each: str(each) if isinstance(each, bool) else each.kind,
)
async def test_decisions_of_failed_turns_are_no_precedents(
    loom: Asked,
    end: TurnCompletedEntry,
    usable: bool,  # noqa: FBT001
) -> None:
    await loom.write(JOURNAL, command(), decided("one"), end, turn="t")
    assert bool(await loom.precedents.find()) == usable
    assert bool(await loom.precedents.find(text="severe")) == usable
    assert bool(await loom.precedents.find(facets={"percent": 15})) == usable
    assert bool(await loom.precedents.classes()) == usable
    assert bool(await loom.precedents.of(derived_id("test", "one"))) == usable


async def test_a_turn_does_not_find_itself(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), decided("mine"), turn="t")
    await loom.write(JOURNAL, command(), decided("other"), turn="u")
    await loom.write("discount-agent/beta", command(), decided("elsewhere"), turn="t")
    await loom.write(JOURNAL, decided("outside"))
    found = await loom.precedents.find(exclude_turn=(JOURNAL, "t"))
    assert names(found, "mine", "other", "elsewhere", "outside") == ["outside", "elsewhere", "other"]


async def test_facets_are_exact_and_all_of_them_count(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one", facts={"industry": "healthcare", "percent": 15, "big": True}))
    await loom.write(JOURNAL, decided("two", facts={"industry": "healthcare", "percent": 20, "big": 1}))
    known = ("one", "two")

    async def found(**facets: Any) -> list[str]:
        return names(await loom.precedents.find(facets=facets), *known)

    assert await found(industry="healthcare") == ["two", "one"]
    assert await found(industry="healthcare", percent=15) == ["one"]
    assert await found(percent=15.0) == ["one"]
    assert await found(big=True) == ["one"]
    assert await found(big=1) == ["two"]
    assert await found(customer="two") == ["two"], "context counts, too"
    assert await found(percent="15") == []
    assert await found(industry="health") == []
    assert await found(**{"' OR 1=1 --": "x"}) == []


async def test_facets_reach_one_level_into_objects(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"))
    assert len(await loom.precedents.find(facets={"deal.region": "emea"})) == 1
    with pytest.raises(AdmissionError, match=r"facet \[deal\] .*name a part of it, as in deal.part"):
        await loom.precedents.find(facets={"deal": {"region": "emea"}})
    with pytest.raises(AdmissionError, match=r"\[17\] facets were given; expected at most \[16\]"):
        await loom.precedents.find(facets={f"f{number}": number for number in range(17)})


async def test_words_are_looked_for_in_rationale_and_reasoning(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one", rationale="Größere Störung im März", reasoning=("the pumps failed",)))
    await loom.write(JOURNAL, decided("two", rationale="The valves failed"))
    for text, expected in (
        ("failed", ["two", "one"]),
        ("pumps FAILED", ["one"]),
        ("storung", ["one"]),
        ("pumps valves", []),
        ("fail", []),
    ):
        assert names(await loom.precedents.find(text=text), "one", "two") == expected, text
    assert names(await loom.precedents.find(text="failed", decision_type="exception", limit=1), "one", "two") == ["two"]


@pytest.mark.parametrize(
    "text",
    [
        'severe" OR "x',
        "severe OR nothing",
        "NOT severe",
        "rationale : severe",
        "^severe",
        "seve*",
        "NEAR(severe incidents)",
        "severe)",
        '"',
        '""""',
        "*",
        "- - -",
        "\x00",
        "\ud800 \udfff",
        "{severe}",
        "severe; DROP TABLE precedents",
        "",
        "x " * 5_000,
    ],
)
async def test_whatever_is_looked_for_is_words_and_never_a_query(loom: Asked, text: str) -> None:
    await loom.write(JOURNAL, decided("one"))
    found = await loom.precedents.find(text=text)
    assert len(found) == (1 if text in ("^severe", "severe)", "{severe}") else 0)
    assert len(await loom.precedents.find(text="severe incidents")) == 1


_index = sqlite3.connect(":memory:", check_same_thread=False)
_index.executescript(PrecedentsProjection.schema)
_index.execute("INSERT INTO precedent_words (rowid, rationale, reasoning) VALUES (1, 'alpha beta', 'gamma')")


@given(st.text(max_size=60) | st.text('"*^(){}:-+ ANDORNOTalphabeta\x00', max_size=60))
def test_no_text_makes_a_bad_query(text: str) -> None:
    expression = match_expression(text)
    if expression:
        _index.execute("SELECT rowid FROM precedent_words WHERE precedent_words MATCH ?", (expression,)).fetchall()


@given(st.lists(st.sampled_from(("alpha", "beta", "gamma", "delta")), min_size=1, max_size=5))
def test_all_words_have_to_be_there(words: list[str]) -> None:
    query = "SELECT rowid FROM precedent_words WHERE precedent_words MATCH ?"
    found = _index.execute(query, (match_expression(" ".join(words)),)).fetchall()
    assert bool(found) == ("delta" not in words)


async def test_filters_apply_before_the_limit(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one", decision_type="override"))
    for number in range(10):
        await loom.write(JOURNAL, decided(f"n{number}"))
    assert names(await loom.precedents.find(decision_type="override", limit=1), "one") == ["one"]


async def test_a_decision_with_very_many_facts_keeps_the_first_ones(tmp_path: Path) -> None:
    many = {f"fact{number:03}": number for number in range(200)}
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, decided("one", facts={"percent": 1, **many, "long": "x" * 999}, precedent_class=None))
        assert len(await loom.precedents.find(facets={"fact010": 10})) == 1
        assert await loom.precedents.find(facets={"fact199": 199}) == ()
        views = loom.store.files.views
        with contextlib.closing(sqlite3.connect(views)) as connection:
            assert connection.execute("SELECT count(*) FROM precedent_facets").fetchone() == (64,)
