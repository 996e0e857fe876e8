"""What tests of published views share: publishers over a journal, and the rows there and here."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loom.journal import Recorded
from loom.journal.election import Election
from loom.journal.postgres import PostgresStore
from loom.journal.store import JournalStore
from loom.projections import Projection
from loom.projections.published import published_by
from loom.projections.writer import ViewsWriter
from loom.publishing.capture import Rows, tables_of
from loom.publishing.publisher import PUBLISHER, Publisher
from loom.publishing.server import PublishedSchema
from tests.postgres_server import Place
from tests.projections.every import every_projection

PUBLISHED = [each for each in every_projection() if published_by(each)]
FEW = [each for each in PUBLISHED if each.name in ("traces", "runs", "approvals")]


def publisher(
    place: Place,
    store: JournalStore,
    path: Path,
    *,
    projections: Sequence[Projection] = PUBLISHED,
    batch: int = 2_000,
    lease_s: float = 0.5,
    readers: Sequence[str] = (),
    election: Election | None = None,
) -> Publisher:
    """Return a publisher into the schema of a place's views; `path` is its own file."""
    url = place.url()
    writer = (url.schema, store.writer) if isinstance(store, PostgresStore) else None
    schema = PublishedSchema(replace(url, schema=views_of(place)), readers=readers, writer=writer)
    election = election or Election(store, PUBLISHER, lease_s=lease_s)
    return Publisher(store, path, projections, schema, election, batch=batch, every_s=0.001)


@contextlib.asynccontextmanager
async def publishing(*given: Any, **more: Any) -> AsyncIterator[Publisher]:
    """Run a publisher, and close it."""
    one = publisher(*given, **more)
    await one.start()
    try:
        yield one
    finally:
        await one.close()


def views_of(place: Place) -> str:
    """Return the schema of the published views."""
    return f"{place.schema}_views"


async def published(place: Place, projections: Sequence[Projection] = PUBLISHED) -> dict[str, Rows]:
    """Return the rows of all published tables, sorted."""
    connection = await place.connect()
    try:
        found = {}
        for name, columns in _columns(projections).items():
            names = ", ".join(columns)
            rows = await connection.fetch(f'SELECT {names} FROM "{views_of(place)}"."{name}"')
            found[name] = sorted((tuple(row) for row in rows), key=repr)
        return found
    finally:
        await connection.close()


def folded(path: Path, entries: Sequence[Recorded], projections: Sequence[Projection] = PUBLISHED) -> dict[str, Rows]:
    """Return the rows of the same tables as a views file has them that is folded from entries."""
    writer = ViewsWriter(path, projections)
    writer.open()
    writer.apply(entries)
    writer.close()
    with contextlib.closing(sqlite3.connect(path)) as view:
        return {
            name: sorted(view.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall(), key=repr)
            for name, columns in _columns(projections).items()
        }


def _columns(projections: Sequence[Projection]) -> dict[str, tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as view:
        found = {}
        for projection in projections:
            view.executescript(projection.schema)
            found.update({table.name: table.columns for table in tables_of(projection, view)})
        return found


async def dropped(place: Place) -> None:
    """Take the published views away."""
    connection = await place.connect()
    await connection.execute(f'DROP SCHEMA IF EXISTS "{views_of(place)}" CASCADE')
    await connection.close()
