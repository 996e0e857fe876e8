"""Browsing decisions: filters, counts and how far back, against an oracle in plain Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from loom import Loom
from loom.errors import AdmissionError
from loom.precedents.browsed import FACETS
from loom.precedents.browsing import Browsing
from tests.precedents.browsed import Keeper, everything, filled, matches, wanted_of
from tests.sqlite_files import connected

DECISIONS = 60


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{tmp_path / 'journal.db'}", actors=[Keeper], by="ann") as opened:
        await filled(opened, DECISIONS)
        yield opened


async def test_filters_find_what_the_oracle_finds_and_counts_are_exact(loom: Loom) -> None:
    known = await everything(loom)
    browsing, draw = Browsing(loom.queries), random.Random(11)
    assert len(known) == DECISIONS
    hits = 0
    for number in range(150):
        wanted = wanted_of(draw, known)
        expected = [(each, have) for each, have in known if matches(have, wanted)]
        found = await browsing.find(**wanted, limit=100, values=100)
        assert [each.decision.decision_id for each in found.decisions] == [
            each.decision.decision_id for each, _ in expected
        ], (number, wanted)
        assert (found.total, found.more, found.floor) == (len(expected), False, None)
        for facet in found.facets:
            counts = Counter[str]()
            for _, have in expected:
                value = have[facet.name]
                values = value if isinstance(value, set) else {value}
                counts.update(str(int(one)) if isinstance(one, bool) else one for one in values if one is not None)
            assert {each.value: each.decisions for each in facet.values} == counts, (wanted, facet.name)
            assert all(sum(each.trend) == each.decisions for each in facet.values)
        hits += bool(expected)
    assert hits > 20, "otherwise nothing was compared"
    assert not loom.queries.differences.count


async def test_words_match_all_of_them_together_with_a_filter(loom: Loom) -> None:
    known = await everything(loom)
    found = await Browsing(loom.queries).find(words="case 3", rule="small", limit=100)
    expected = [
        each.decision.decision_id
        for each, have in known
        if have["rule"] == "small" and each.decision.rationale.endswith("case 3")
    ]
    assert [each.decision.decision_id for each in found.decisions] == expected
    assert expected
    assert (await Browsing(loom.queries).find(words="'\"*()")).total == 0


async def test_pages_follow_one_another_and_a_file_has_all_of_them(loom: Loom) -> None:
    browsing = Browsing(loom.queries)
    whole = [each.decision.decision_id for each in await browsing.page(effect="allow")]
    paged: list[str] = []
    after: int | None = None
    while True:
        page = await browsing.find(effect="allow", limit=7, after=after)
        paged += [each.decision.decision_id for each in page.decisions]
        after = page.next_after
        if after is None:
            break
    assert paged == whole
    assert len(whole) == len(set(whole)) == DECISIONS * 3 // 5


async def test_what_is_too_much_is_bounded_and_the_answer_says_so(loom: Loom) -> None:
    browsing = Browsing(loom.queries, most=5, examined=9)
    first = await browsing.find(decision_type=(await everything(loom))[0][0].decision.decision_type)
    assert (first.total, first.more) == (5, True)
    assert first.floor is not None
    assert all(each.decision.position >= first.floor for each in first.decisions)
    seen: list[int] = []
    before: int | None = None
    while True:
        found = await browsing.find(before=before, limit=100)
        seen += [each.decision.position for each in found.decisions]
        if found.floor is None:
            break
        before = found.floor
    assert seen == [each.decision.position for each, _ in await everything(loom)], "looking further back misses none"


async def test_a_window_of_time_in_the_past_is_looked_through_from_its_own_end(loom: Loom) -> None:
    times = sorted(each.decision.decided_at for each, _ in await everything(loom))
    browsing = Browsing(loom.queries, examined=12)
    for by_time in ("decided", "recorded"):
        found = await browsing.find(since=times[3], until=times[10], by_time=by_time, limit=100)
        assert (found.total, found.floor) == (7, None)
        assert [each.decision.decided_at for each in reversed(found.decisions)] == times[3:10]
    assert (await browsing.find(since=times[-1] + timedelta(days=1))).total == 0


async def test_a_value_that_no_decision_has_is_not_shown_whatever_the_views_say(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'journal.db'}"
    async with Loom.open(place, actors=[Keeper], by="ann") as loom:
        await filled(loom, 5)
        views = loom.files.views
    with connected(views) as view:
        view.execute("UPDATE trace_people SET person = 'invented'")
    async with Loom.open(place, actors=[Keeper], by="ann") as loom:
        found = await Browsing(loom.queries).find()
        assert len(found.decisions) == 5
        assert {each.name: each.values for each in found.facets}["person"] == ()
        assert not (await Browsing(loom.queries).find(person="invented")).decisions
    with connected(views) as view:
        view.execute("UPDATE trace_decisions SET rule = 'invented'")
    async with Loom.open(place, actors=[Keeper], by="ann") as loom:
        found = await Browsing(loom.queries).find()
        assert not found.decisions
        assert {each.name: each.values for each in found.facets}["rule"] == ()
        assert {each.name: each.values for each in found.facets}["person"] == ()
        assert loom.queries.differences.count


async def test_unknown_filters_are_refused(loom: Loom) -> None:
    with pytest.raises(AdmissionError, match="unknown filter"):
        await Browsing(loom.queries).find(nothing="x")
    assert {each.name for each in (await Browsing(loom.queries).find()).facets} == set(FACETS)
