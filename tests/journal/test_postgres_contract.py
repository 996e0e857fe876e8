"""The PostgreSQL store keeps the contract of all journal stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.journal_store import JournalStoreContract
from tests.postgres_server import Place, Server


class TestPostgresStore(JournalStoreContract):
    """Runs the contract in a PostgreSQL schema of its own for each test."""

    @pytest.fixture
    async def place(self, postgres: Server, tmp_path: Path) -> AsyncIterator[Place]:
        place = Place(postgres, tmp_path)
        yield place
        await place.close()
