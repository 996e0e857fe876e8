"""A suspension that one process takes holds in another real one within a bounded time."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.postgres_server import Server

pytestmark = pytest.mark.slow

MOST_MS = 1_000.0
"""What docs/scale.md says; a poll alone takes a quarter of it, and a notification some milliseconds."""


async def test_a_suspension_holds_in_another_process_within_a_second(postgres: Server) -> None:
    from benchmarks.following import measure

    figures = await measure(postgres.url(workspace="w", schema=f"t_{uuid4().hex[:16]}"), 60)
    assert figures.suspensions == 60
    assert 0 < figures.lag_p50 <= figures.lag_p99 < MOST_MS
