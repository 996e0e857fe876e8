"""A projection that folds pages leaves what it leaves entry by entry, however the entries are divided."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from loom.journal import Recorded
from loom.projections import PageProjection, Projection
from loom.projections.sql import quoted, statements
from tests.projections.every import every_projection
from tests.projections.histories import Happening, histories
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


@settings(max_examples=60, deadline=None)
@given(histories, st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_pages_leave_what_entries_leave_one_after_the_other(happenings: list[Happening], sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        entries = asyncio.run(record(Path(name), happenings))
    for projection in PAGED:
        assert folded(projection, entries, sizes) == folded(projection, entries, None)
