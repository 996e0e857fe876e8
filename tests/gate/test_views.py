"""The views file is a cache: what it says of executions and rejections is held against the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loom import Loom
from tests.gate.support import Desk, gated


def forge(path: Path, *statements: str) -> None:
    [views] = (path / "default").glob("*views*.db")
    with closing(sqlite3.connect(views)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def executions(loom: Loom) -> int:
    return len([each async for each in loom.store.read_all() if each.kind == "gate.executed"])


async def test_an_execution_that_the_views_invent_stops_nothing_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        first = await desk.offer("i-1", 5)
        second = await desk.offer("i-2", 6)
        await loom.reached()
        # Everything points at the first execution; one that never was points at an entry of another kind.
        forge(tmp_path, "UPDATE gate_executions SET position = (SELECT min(position) FROM gate_executions)")
        again = await desk.offer("i-2", 6, _attempt=2)
        assert (again.verdict, again.repeated) == ("ACCEPT", False)
        assert "gate_view_not_confirmed" in caplog.text
        assert first.idempotency_key != second.idempotency_key
        assert (await desk.offer("i-1", 5, _attempt=2)).repeated


async def test_rejections_that_the_views_hide_still_exhaust_their_flow(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for attempt in range(1, 4):
            assert (await desk.offer("i-1", 99, _attempt=attempt)).code == "DISCOUNT_EXCEEDS_CONTRACT"
        await loom.reached()
        forge(tmp_path, "UPDATE gate_flows SET rejections = 0")
        assert (await desk.offer("i-1", 5, _attempt=4)).code == "REASONING_EXHAUSTION"
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        await loom.reached()
        forge(tmp_path, "DELETE FROM gate_flows")
        assert (await desk.offer("i-1", 5, _attempt=5)).code == "REASONING_EXHAUSTION", "also after a restart"
        assert await executions(loom) == 0
