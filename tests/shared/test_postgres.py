"""The PostgreSQL store keeps the contract of shared stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loom.journal import JournalStore
from loom.journal.postgres import PostgresStore
from tests.contracts.shared_journal_store import SharedJournalStoreContract
from tests.postgres_server import Place, Server


class Breaking:
    """A connection that breaks before or after the next COMMIT."""

    def __init__(self, connection: Any, when: str) -> None:
        self._connection = connection
        self._when = when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, statement: str, *given: Any) -> Any:
        if statement != "COMMIT":
            return await self._connection.execute(statement, *given)
        if self._when == "after":
            await self._connection.execute(statement)
        self._connection.terminate()
        raise ConnectionResetError(f"broken {self._when} the commit")


class TestPostgresStore(SharedJournalStoreContract):
    """Runs the contract in a PostgreSQL schema of its own for each test."""

    @pytest.fixture
    async def place(self, postgres: Server, tmp_path: Path) -> AsyncIterator[Place]:
        place = Place(postgres, tmp_path, reconnect_timeout_s=0.0)
        yield place
        await place.close()

    async def drop_connection(self, store: JournalStore, when: str) -> None:
        assert isinstance(store, PostgresStore)
        store._writer._connection = Breaking(store._writer._connection, when)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_store_that_may_wait_looks_up_the_outcome_by_itself(
    postgres: Server, tmp_path: Path, when: str
) -> None:
    from loom.errors import AppendRefusedError
    from tests.journal.support import notes

    place = Place(postgres, tmp_path)
    store = await place.open()
    await store.append(notes("desk/1", 0))
    store._writer._connection = Breaking(store._writer._connection, when)
    following = [store.submit(notes("desk/1", 1)), store.submit(notes("desk/2", 0))]
    if when == "after":
        assert [(await each).position for each in following] == [2, 3]
    else:
        for each in following:
            with pytest.raises(AppendRefusedError, match="nothing was written"):
                await each
        assert (await store.append(notes("desk/1", 1))).position == 2
    await place.close()
