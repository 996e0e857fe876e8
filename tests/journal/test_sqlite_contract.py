"""The SQLite store keeps the contract of all journal stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.clock import Clock
from loom.journal.sqlite import SqliteOptions, SqliteStore
from tests.contracts.journal_store import JournalStoreContract


class SqlitePlace:
    """A journal file; the stores that a test leaves open are closed behind it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: list[SqliteStore] = []

    async def open(
        self,
        *,
        workspace: str = "default",
        clock: Clock | None = None,
        max_pending_entries: int = 10_000,
        page: int = 1_000,
    ) -> SqliteStore:
        options = SqliteOptions(max_pending_entries=max_pending_entries, page=page)
        store = await SqliteStore.open(self._path, workspace=workspace, clock=clock, options=options)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class TestSqliteStore(JournalStoreContract):
    """Runs the contract on a file of its own for each test."""

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[SqlitePlace]:
        place = SqlitePlace(tmp_path / "journal.db")
        yield place
        await place.close()
