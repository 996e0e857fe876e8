"""Two looms in processes of their own over one workspace in PostgreSQL: `make cluster-test` runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.postgres_server import Place, Server
from tests.shared.two_looms import TwoLooms


@pytest.mark.reliability
class TestTwoLoomsOnPostgres(TwoLooms):
    """Runs them in a PostgreSQL schema of its own for each test."""

    @pytest.fixture
    async def place(self, postgres: Server, tmp_path: Path) -> AsyncIterator[Place]:
        place = Place(postgres, tmp_path)
        yield place
        await place.close()
