"""Reading windows: by an index, as they were at one position, and with what was erased named as such."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loom.drift import Window
from loom.drift.reading import WindowReader
from loom.journal import PrunedEntry
from tests.drift.windows import RULE, Bench, bench, even
from tests.projections.tampering import tamper

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
    async with WindowReader.now(work.asked.queries, work.policies) as reader:
        selected = await reader.select(Window(run="one"))
        await work.decide(even(count=10), run="one")
        await reader.hold(selected)
        tally = await reader.tally(selected)
        assert tally.decisions == tally.classes.total() == 60
        assert sum([len(page) async for page in reader.cases(selected, None)]) == 60
    async with WindowReader.now(work.asked.queries, work.policies) as later:
        assert later.at > reader.at
        await later.hold(selected)
        assert (await later.tally(selected)).decisions == 70


async def test_classifying_anew_under_the_same_rule_gives_the_classes_that_were_recorded(work: Bench) -> None:
    async with WindowReader.now(work.asked.queries, work.policies) as reader:
        selected = await reader.select(Window(run="one"))
        await reader.hold(selected)
        anew = await reader.tally_under(selected, RULE)
        assert anew.by_actor == await reader.by_actor(selected)
        anew.by_actor.clear()
        assert anew == await reader.tally(selected)


async def test_pages_hold_every_decision_once_and_in_order(work: Bench) -> None:
    await work.decide(even(count=2_100), run="many")
    async with WindowReader.now(work.asked.queries, work.policies) as reader:
        selected = await reader.select(Window(run="many"))
        await reader.hold(selected)
        pages = [[each.position for each in page] async for page in reader.cases(selected, None)]
    assert [len(page) for page in pages] == [1_000, 1_000, 100]
    positions = [each for page in pages for each in page]
    assert positions == sorted(set(positions))


TAMPERED = [
    "UPDATE trace_decisions SET effect = 'deny'",
    "UPDATE trace_decisions SET policy_hash = 'x', policy_version = 'x'",
    "UPDATE precedents SET precedent = 'x', situation = 'y' WHERE position % 2",
    "UPDATE precedents SET rule = 'x'",
    "UPDATE precedents SET outcome = '{}'",
]


@pytest.mark.parametrize("statement", TAMPERED)
async def test_nothing_is_compared_by_what_a_row_of_the_views_says(work: Bench, statement: str) -> None:
    whole = await work.compare("one", "two")
    assert tamper(work.asked.store.files.views, statement) > 0
    assert await work.compare("one", "two") == whole


async def test_a_decision_of_another_run_is_not_put_into_a_window(work: Bench) -> None:
    whole = await work.compare("one", "two")
    await work.decide(even(count=30), run="three")
    await work.compare("one", "two")
    assert (
        tamper(work.asked.store.files.views, "UPDATE trace_decisions SET run_id = 'two' WHERE run_id = 'three'") == 30
    )
    assert (await work.compare("one", "two")).counts == whole.counts


async def test_a_view_can_hide_a_decision_from_a_window(work: Bench) -> None:
    await work.compare("one", "two")
    assert tamper(work.asked.store.files.views, "UPDATE trace_decisions SET run_id = 'x' WHERE position % 2") == 60
    report = await work.compare("one", "two")
    assert (report.baseline.decisions, report.current.decisions) == (30, 30)


async def test_what_was_pruned_is_in_no_window(work: Bench) -> None:
    journals = {name: last for name, last in await work.asked.store.journals() if name.startswith("limit-agent/")}
    await work.compare("one", "two")
    for name, last in journals.items():
        pruned = PrunedEntry(journal=name, first_sequence=1, last_sequence=last, by="ana", reason="asked to")
        await work.asked.write("loom/pruning", pruned)
        await work.asked.store.prune(name, until=last)
    report = await work.compare("one", "two")
    assert (report.baseline.decisions, report.current.decisions) == (0, 0)
