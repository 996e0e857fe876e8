"""What tests of the publisher share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.postgres_server import Place
from tests.publishing.support import dropped


@pytest.fixture
async def place(place: Place) -> AsyncIterator[Place]:
    """A workspace on the server whose published views are taken away, too."""
    yield place
    await dropped(place)
