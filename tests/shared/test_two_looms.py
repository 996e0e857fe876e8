"""Two looms in processes of their own over the reference of a shared store, which another process serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.journal.sqlite.verify import verify
from tests.shared.place import ReferencePlace, start_server
from tests.shared.two_looms import TwoLooms


@pytest.mark.slow
class TestTwoLooms(TwoLooms):
    """Runs them on a journal of its own for each test."""

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[ReferencePlace]:
        server, address = await asyncio.to_thread(start_server, tmp_path)
        place = ReferencePlace(Path(address))
        try:
            yield place
        finally:
            await place.close()
            server.kill()
            await asyncio.to_thread(server.communicate)
        assert verify(Path(address).with_suffix(".db")).ok
