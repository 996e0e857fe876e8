"""Law 1: everything that lasts is an entry; everything else can be deleted and comes back the same."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from loom.actors.turns_view import TurnsView
from loom.decisions import (
    RUN_JOURNAL,
    ApprovalChains,
    DecisionJournalEntry,
    RunEndedEntry,
    RunStartedEntry,
    RunsView,
    Traces,
)
from loom.identity import derived_id
from loom.journal import CommandReceivedEntry, PrunedEntry, TurnFailedEntry
from loom.journal.sqlite import SqliteStore
from loom.precedents import Precedents
from loom.projections import Projector, Queries, Snapshot, Snapshots, Views, digest
from tests.projections.every import every_projection
from tests.projections.journals import decision, open_store, request, whole_turn, write


async def everything_said(store: SqliteStore) -> tuple[str, list[object]]:
    """Return the digest of the views, and what every query says."""
    views = Views(store.files.views)
    projector = Projector(store, views, every_projection())
    await projector.start()
    queries = Queries(views, projector)
    traces, precedents = Traces(queries), Precedents(queries)
    found = await traces.find(limit=1_000)
    said: list[object] = [
        [await traces.get(each.decision_id) for each in found],
        [(await traces.explain(each.decision_id)).text() for each in found],
        [await traces.chain(each.decision_id) for each in found],
        [await traces.lineage(each.decision_id) for each in found],
        await RunsView(queries).find(limit=1_000),
        await ApprovalChains(queries).list(limit=1_000),
        await TurnsView(queries).list(limit=1_000),
        await precedents.classes(limit=1_000),
        await precedents.find(text="severe incidents", limit=1_000),
        await precedents.find(facets={"industry": "retail"}, limit=1_000),
    ]
    await projector.close()
    await views.close()
    with contextlib.closing(sqlite3.connect(store.files.views)) as connection:
        return digest(connection), said


def delete_views(directory: Path) -> None:
    for file in directory.glob("journal.views.db*"):
        file.unlink()


async def fill(store: SqliteStore) -> None:
    for number in range(30):
        turn = whole_turn(f"n{number}", percent=2 * number, industry=("healthcare", "retail")[number % 2])
        if number % 7 == 3:
            turn = (*turn[:-1], TurnFailedEntry(type_name="ValueError", message="no"))
        await write(store, f"discount-agent/{number % 5}", *turn, command_id=f"c{number}")
    received = CommandReceivedEntry(command_type="x", payload=None, correlation_id="c")
    await write(store, "discount-agent/0", received, request("parked"), command_id="parked")
    await write(store, RUN_JOURNAL, RunStartedEntry(run_id="r", run_kind="replay", by="ana", parameters={"of": "n"}))
    for number in range(3):
        again = decision(
            f"again {number}", origin="replayed", replayed_from=derived_id("test", f"n{number}"), run_id="r"
        )
        await write(store, "replay/r", DecisionJournalEntry(decision=again))
    await write(store, RUN_JOURNAL, RunEndedEntry(run_id="r", status="completed", by="ana", result={"flipped": 0}))


async def test_views_that_were_deleted_come_back_the_same(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await fill(store)
    before = await everything_said(store)
    delete_views(tmp_path)
    assert await everything_said(store) == before
    assert all(before[1])
    await store.close()


async def test_with_the_views_snapshots_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await fill(store)
    entries = [(each.position, each.entry_hash, each.body) async for each in store.read_all()]
    views = Views(store.files.views)
    await views.start(every_projection())
    await Snapshots(views).put_many([Snapshot("discount-agent/0", "discount-agent", 1, 8, b"h", b"{}")])
    await views.close()
    store.files.views.unlink()
    views = Views(store.files.views)
    await views.start(every_projection())
    assert await Snapshots(views).get("discount-agent/0") is None
    await views.close()
    assert [(each.position, each.entry_hash, each.body) async for each in store.read_all()] == entries
    await store.close()


@pytest.mark.sqlite("the tables of the file")
async def test_only_what_was_declared_pruned_does_not_come_back(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await fill(store)
    _, before = await everything_said(store)
    pruned = PrunedEntry(journal="discount-agent/0", first_sequence=1, last_sequence=6, by="ana", reason="asked to")
    await write(store, "loom/pruning", pruned)
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as journal, journal:
        journal.execute(
            "UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'discount-agent/0' AND sequence <= 6"
        )
    delete_views(tmp_path)
    store = await open_store(tmp_path)
    _, after = await everything_said(store)
    await store.close()
    gone = {trace.decision_id for trace in before[0]} - {trace.decision_id for trace in after[0]}  # type: ignore[attr-defined]
    assert len(gone) == 1
    kept = [trace for trace in before[0] if trace.decision_id not in gone]  # type: ignore[attr-defined]
    assert after[0] == kept
