"""What `loom` and `loom.ext` export is enough for an extension that names people and shows only rows with an entry."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

from loom import Entry, Loom, Recorded
from loom.ext import By, Confirmation, Extension, Host, Identity, PersonEntry, Published, Queries, SingletonJournal
from loom.projections.published import published_by


class ThankedEntry(PersonEntry):
    kind: ClassVar[str] = "test.kit.thanked"
    sources_since: ClassVar[int] = 1

    agent: str
    by: str


class Thanks:
    """A projection of one row for each entry."""

    name = "test_thanks"
    version = 1
    kinds = frozenset({ThankedEntry.kind})
    schema = "CREATE TABLE test_thanks (position INTEGER PRIMARY KEY, agent TEXT NOT NULL, by TEXT NOT NULL) STRICT;"
    tables = ("test_thanks",)
    publish = (Published("test_thanks"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        entry = recorded.entry
        if isinstance(entry, ThankedEntry):
            view.execute("INSERT INTO test_thanks VALUES (?, ?, ?)", (recorded.position, entry.agent, entry.by))


CONFIRM = Confirmation(Thanks(), "test_thanks")


class Kit:
    """The part of the extension in an open loom."""

    def __init__(self, host: Host) -> None:
        self._journal = SingletonJournal(host.store, "test/thanks", lambda _: None, make_draft=host.draft)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, host: Host) -> AsyncIterator[Kit]:
        kit = cls(host)
        await kit._journal.load()
        yield kit

    async def thank(self, agent: str, *, by: By) -> None:
        def entry() -> Entry:
            return ThankedEntry(agent=agent, **Identity.of(by).written())

        await self._journal.append_if_missing(entry)


async def counts(queries: Queries) -> Mapping[str, int]:
    rows = await queries.fetch("SELECT * FROM test_thanks ORDER BY position", (), names=("test_thanks",))
    return Counter(str(row["agent"]) for row in await queries.confirmed(rows, CONFIRM))


async def test_an_extension_of_public_names_alone_names_people_and_counts_confirmed_rows(tmp_path: Path) -> None:
    extension = Extension("test-kit", projections=(Thanks(),), start=Kit.open)
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", extensions=[extension]) as loom:
        for agent in ("a", "a", "b"):
            await loom.part(Kit).thank(agent, by="mira")
        await loom.reached()
        [first, *_] = [each async for each in loom.store.read("test/thanks")]
        assert isinstance(first.entry, ThankedEntry)
        assert first.entry.identity == Identity("mira")
        assert await counts(loom.queries) == {"a": 2, "b": 1}

        with contextlib.closing(sqlite3.connect(loom.files.views, timeout=10)) as views, views:
            views.execute("INSERT INTO test_thanks VALUES (99, 'b', 'nobody')")
            views.execute("UPDATE test_thanks SET agent = 'b' WHERE position = ?", (first.position,))
        assert await counts(loom.queries) == {"a": 1, "b": 1}
    assert [each.table for each in published_by(Thanks())] == ["test_thanks"]
