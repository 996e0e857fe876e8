"""What is read of a shared store in one process, right after another process has written it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from loom.actors.turns_projection import TurnsProjection
from loom.journal import Append
from loom.projections import Projector, Queries, Views
from tests.journal.support import received
from tests.shared.place import ReferencePlace, served

_COUNT = "SELECT count(*) AS n FROM turns"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[ReferencePlace]:
    async with served(tmp_path) as place:
        yield place


async def test_a_consistent_read_holds_what_another_process_has_written_though_nothing_told_of_it(
    place: ReferencePlace, tmp_path: Path
) -> None:
    writer, reader = await place.open(), await place.open()
    assert reader._following is not None
    reader._following.cancel()  # what tells it of other processes is late, or lost
    views = Views(tmp_path / "views.db")
    projector = Projector(reader, views, [TurnsProjection()])
    await projector.start()
    queries = Queries(views, projector)
    try:
        await writer.append(Append("desk/1", 0, [received("c-1")]))
        assert await _count(queries, consistent=False) == 0
        assert await _count(queries) == 1
        assert await queries.position([TurnsProjection.name]) == 1
    finally:
        await projector.close()
        await views.close()


async def _count(queries: Queries, **how: Any) -> int:
    rows: Sequence[Any] = await queries.fetch(_COUNT, names=[TurnsProjection.name], **how)
    return int(rows[0]["n"])
