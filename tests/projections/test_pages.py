"""A projection that folds pages leaves what it leaves entry by entry, however the entries are divided."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.decisions import DecisionJournalEntry
from loom.journal import Recorded, TurnCompletedEntry, TurnResumedEntry
from loom.projections import PageProjection, Projection
from loom.projections.sql import quoted, statements
from tests.projections.every import every_projection
from tests.projections.histories import Happening, histories
from tests.projections.journals import command, decision, request
from tests.projections.test_rebuild import record

PAGED: list[Projection] = [each for each in every_projection() if isinstance(each, PageProjection)]


def tables(projection: Projection, view: sqlite3.Connection) -> list[list[str]]:
    return [sorted(map(repr, view.execute(f"SELECT * FROM {quoted(table)}"))) for table in projection.tables]


def folded(projection: Projection, entries: Sequence[Recorded], sizes: Sequence[int] | None) -> list[list[str]]:
    """Return the tables after folding one entry after the other, or pages of these sizes, over and over."""
    wanted = [each for each in entries if projection.kinds is None or each.kind in projection.kinds]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as view:
        for statement in statements(projection.schema):
            view.execute(statement)
        if sizes is None:
            for each in wanted:
                projection.apply(each, view)
            return tables(projection, view)
        assert isinstance(projection, PageProjection)
        place = number = 0
        while place < len(wanted):
            size = sizes[number % len(sizes)]
            projection.apply_page(wanted[place : place + size], view)
            place, number = place + size, number + 1
        return tables(projection, view)


def test_there_are_projections_that_fold_pages() -> None:
    assert {each.name for each in PAGED} >= {"turns", "traces"}


def decided(name: str) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, run_id="one"))


DONE = TurnCompletedEntry(reply=None)
ODD: dict[str, tuple[list[Happening], list[int]]] = {
    "a decision before its command": (
        [("a/1", "t", decided("a")), ("a/1", "t", command()), ("a/1", "t", DONE)],
        [1, 2],
    ),
    "a request before its command": ([("a/1", "t", request("a")), ("a/1", "t", command()), ("a/1", "t", DONE)], [1, 2]),
    "decisions of one run, in turns of this page and of the one before": (
        [
            ("a/1", "t", command()),
            ("a/2", "u", command()),
            ("a/2", "u", decided("u")),
            ("a/1", "t", decided("t")),
            ("a/2", "u", DONE),
            ("a/1", "t", DONE),
        ],
        [1, 5],
    ),
    "a decision after the end of its turn": (
        [("a/1", "t", command()), ("a/1", "t", decided("a")), ("a/1", "t", DONE), ("a/1", "t", decided("b"))],
        [9],
    ),
    "a turn that diverges between its decisions": (
        [
            ("a/1", "t", command()),
            ("a/1", "t", decided("a")),
            ("a/1", "t", TurnResumedEntry(attempt=1)),
            ("a/1", "t", decided("b")),
            ("a/1", "t", DONE),
        ],
        [9],
    ),
}


@pytest.mark.parametrize("name", ODD)
async def test_what_is_odd_in_a_page_is_folded_as_it_comes(tmp_path: Path, name: str) -> None:
    happenings, sizes = ODD[name]
    entries = await record(tmp_path, happenings)
    for projection in PAGED:
        assert folded(projection, entries, sizes) == folded(projection, entries, None)


@settings(max_examples=60, deadline=None)
@given(histories, st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_pages_leave_what_entries_leave_one_after_the_other(happenings: list[Happening], sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        entries = asyncio.run(record(Path(name), happenings))
    for projection in PAGED:
        assert folded(projection, entries, sizes) == folded(projection, entries, None)
