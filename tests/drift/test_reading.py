"""Reading windows: by an index, as they were at one position, and with what was erased named as such."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loom.drift import Window
from loom.drift.reading import WindowReader
from tests.drift.windows import RULE, Bench, bench, even

EARLY, LATE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as opened:
        await opened.decide(even(count=60), run="one")
        await opened.decide(even(count=60), run="two", percent=20)
        yield opened


@pytest.mark.parametrize("name", ["run", "version", "time", "actor type", "type", "policy"])
async def test_no_window_is_looked_for_in_the_whole_of_the_view(
    work: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await work.version(10), await work.version(20)
    windows = {
        "run": (Window(run="one"), Window(run="two")),
        "version": (Window(policy_version=first.version), Window(policy_version=second.version)),
        "time": (Window(since=EARLY, until=datetime(2001, 1, 1, tzinfo=UTC)), Window(since=LATE)),
        "actor type": (Window(actor_type="limit-agent", run="one"), Window(actor_type="limit-agent", run="two")),
        "type": (Window(decision_type="nothing"), Window(decision_type="exception")),
        "policy": (Window(policy="nothing"), Window(policy="limit", run="one")),
    }
    fetch, plans = work.asked.queries.fetch, list[str]()

    async def explained(
        statement: str, parameters: Any = (), *, names: Iterable[str], consistent: bool = True
    ) -> list[sqlite3.Row]:
        for row in await fetch(f"EXPLAIN QUERY PLAN {statement}", parameters, names=names):
            plans.append(row["detail"])
        return await fetch(statement, parameters, names=names, consistent=consistent)

    monkeypatch.setattr(work.asked.queries, "fetch", explained)
    await work.drift.compare(*windows[name], rule="limit")
    assert any(plan.startswith("SEARCH t") for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN") and "subquer" not in plan.lower()] == []


async def test_what_is_decided_after_the_reader_was_made_is_not_in_it(work: Bench) -> None:
    reader = await WindowReader.now(work.asked.queries, work.policies)
    selected = await reader.select(Window(run="one"))
    before = await reader.tally(selected)
    await work.decide(even(count=10), run="one")
    after = await reader.tally(selected)
    assert (after.classes, after.decisions) == (before.classes, 60)
    assert sum([len(page) async for page in reader.cases(selected, None)]) == 60
    later = await WindowReader.now(work.asked.queries, work.policies)
    assert later.at > reader.at
    assert (await later.tally(selected)).decisions == 70


async def test_classifying_anew_under_the_same_rule_gives_the_classes_that_were_recorded(work: Bench) -> None:
    reader = await WindowReader.now(work.asked.queries, work.policies)
    selected = await reader.select(Window(run="one"))
    anew = await reader.tally_under(selected, RULE)
    assert anew.by_actor == await reader.by_actor(selected)
    anew.by_actor.clear()
    assert anew == await reader.tally(selected)


async def test_pages_hold_every_decision_once_and_in_order(work: Bench) -> None:
    await work.decide(even(count=2_100), run="many")
    reader = await WindowReader.now(work.asked.queries, work.policies)
    selected = await reader.select(Window(run="many"))
    pages = [[each.position for each in page] async for page in reader.cases(selected, None)]
    assert [len(page) for page in pages] == [1_000, 1_000, 100]
    positions = [each for page in pages for each in page]
    assert positions == sorted(set(positions))


async def test_what_was_erased_is_named_and_neither_shown_nor_judged_again(work: Bench) -> None:
    whole = await work.compare("one", "two")
    with contextlib.closing(sqlite3.connect(work.asked.store.files.views)) as views:
        views.execute(
            "DELETE FROM trace_bodies WHERE position IN (SELECT position FROM trace_decisions WHERE run_id = 'two')"
        )
        views.commit()
    report = await work.compare("one", "two")
    assert report.counts == whole.counts
    assert report.split is not None
    assert report.split.not_rejudged == {"erased": 60}
    assert report.rose
    assert {(each.outcome, each.decision_type) for each in report.rose} == {(None, None)}
    assert all(each.alike == {} for each in report.rose)
    assert all(each.outcome is not None for each in report.fell)
    assert any(f"Rose: class {report.rose[0].precedent[:12]}, from" in each for each in report.explanation)
