"""No query goes through all of history: what SQLite would do for each, over views that know nothing of their sizes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest

from loom.actors.turns_view import TurnsView
from loom.decisions import Traces, relations
from loom.precedents.memory import Memory
from loom.precedents.search import Precedents
from loom.projections.sql import statements
from tests.projections.every import every_projection

_ID = "a" * 64
_HISTORY = re.compile(
    r"SCAN (trace_\w+|turns|precedents|p|precedent_facets|f)\b(?! USING (COVERING )?INDEX)|TEMP B-TREE"
)
"""A table that grows with history, gone through from end to end; or all that matches, laid aside to be sorted."""


class Asking:
    """Stands in for queries: notes what is asked, and gives one decision where one is looked for by its id."""

    differences = None

    def __init__(self) -> None:
        self.entries = self
        self.asked: list[tuple[str, Any]] = []

    async def fetch(self, statement: str, parameters: Any = (), *, names: Sequence[str], **_: object) -> list[Any]:
        self.asked.append((statement, parameters))
        return []

    async def at(self, _: object) -> dict[int, Any]:
        return {}

    async def marks(self, _: object) -> list[Any]:
        return []


QUERIES: dict[str, Callable[[Any], Coroutine[Any, Any, object]]] = {
    "the newest": lambda queries: Traces(queries).find(),
    "of a status": lambda queries: Traces(queries).find(status="failed"),
    "by words": lambda queries: Precedents(queries).find(text="within"),
    "by a facet": lambda queries: Precedents(queries).find(facets={"industry": "health"}),
    "of a situation": lambda queries: Precedents(queries).find(situation="s"),
    "remembered by words": lambda queries: Memory(queries).search(text="within"),
    "failed turns": lambda queries: TurnsView(queries).list(status="failed"),
    "stuck turns": lambda queries: TurnsView(queries).list(status="stuck"),
    "all turns": lambda queries: TurnsView(queries).list(),
}


@pytest.mark.parametrize("query", list(QUERIES))
async def test_a_query_reads_no_further_than_its_limit(query: str) -> None:
    asking = Asking()
    await QUERIES[query](asking)
    assert asking.asked
    for statement, parameters in asking.asked:
        said = plan(statement, parameters)
        assert not _HISTORY.search(said), said


@pytest.mark.parametrize("name", ["_ANCESTORS", "_DESCENDANTS", "_ORIGINALS", "_ALL_REPLAYS"])
def test_relatives_are_looked_for_by_their_links(name: str) -> None:
    said = plan(getattr(relations, name), {"id": _ID, "depth": 3, "limit": 3})
    assert not re.search(r"SCAN trace_decisions", said), said


def plan(statement: str, parameters: Mapping[str, object] | Sequence[object]) -> str:
    """Return what SQLite does for a statement, over the views of every projection."""
    with closing(sqlite3.connect(":memory:")) as views:
        for projection in every_projection():
            for each in statements(projection.schema):
                views.execute(each)
        return "\n".join(row[3] for row in views.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
