"""The views file is a cache: what it says of executions and rejections is held against the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loom import Loom
from loom.gate.audit import CONFIRM_EVENTS
from loom.gate.shell import _EVENTS as EVENTS
from tests.gate.support import Desk, gated

ANY = {"run": None, "flow": None, "agent": None}


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
        assert (again.verdict, again.repeated, again.decision_id == second.decision_id) == ("ACCEPT", True, False)
        assert again.result == second.result
        assert "gate_view_not_confirmed" in caplog.text
        new = await desk.offer("i-3", 6)
        assert (new.verdict, new.repeated) == ("ACCEPT", False)
        assert first.idempotency_key != second.idempotency_key
        assert (await desk.offer("i-1", 5, _attempt=2)).repeated


async def test_what_the_views_hide_is_not_executed_a_second_time(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        first = await desk.offer("i-1", 5)
        await loom.reached()
        forge(tmp_path, "DELETE FROM gate_executions")
        again = await desk.offer("i-1", 5, _attempt=2)
        assert (again.repeated, again.executed, again.result) == (True, False, first.result)
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        assert (await desk.offer("i-1", 5, _attempt=3)).repeated, "also after a restart"
        assert await executions(loom) == 1


async def test_rejections_that_the_views_hide_still_exhaust_their_flow(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for attempt in range(1, 4):
            assert (await desk.offer("i-1", 99, _attempt=attempt)).code == "DISCOUNT_EXCEEDS_CONTRACT"
        await loom.reached()
        forge(tmp_path, "UPDATE gate_rejections SET flow_id = flow_id || position")
        assert (await desk.offer("i-1", 5, _attempt=4)).code == "REASONING_EXHAUSTION"
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        await loom.reached()
        forge(tmp_path, "DELETE FROM gate_rejections")
        assert (await desk.offer("i-1", 5, _attempt=5)).code == "REASONING_EXHAUSTION", "also after a restart"
        assert await executions(loom) == 0


async def test_rejections_that_the_views_invent_exhaust_no_flow(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for attempt in range(1, 4):
            await desk.offer("i-1", 99, _attempt=attempt)
        await loom.reached()
        other = desk.gate.flow(desk.run_id, "i-2").flow_id
        invented = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) SELECT '{}', i FROM n"
        forge(
            tmp_path,
            f"UPDATE gate_rejections SET flow_id = '{other}'",
            f"INSERT OR IGNORE INTO gate_rejections {invented.format(other)}",
        )
        assert (await desk.offer("i-2", 5)).code == "VALIDATION_PASSED"


async def test_the_audit_shows_what_is_so_or_not_at_all(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        run = await loom.runs.start(kind="simulation")
        await desk.offer("i-1", 5)
        await desk.offer("i-2", 99)
        await loom.runs.end(run.run_id)
        await loom.reached()
        rows = await loom.queries.fetch(EVENTS, {**ANY, "limit": 1_000}, names=("gate",))
        assert {"SIMULATION_START", "SIMULATION_END", "DIM_VALIDATION"} <= {row["event"] for row in rows}
        assert await loom.queries.confirmed(rows, CONFIRM_EVENTS) == rows
        forge(
            tmp_path,
            "UPDATE decision_audit_events SET detail_json = replace(detail_json, 'REJECT', 'ACCEPT')",
            "UPDATE decision_audit_events SET event = 'SIMULATION_STOP' WHERE event = 'SIMULATION_END'",
            "INSERT INTO decision_audit_events SELECT max(id) + 1, recorded_at, event, severity, dfid, root_id, agent, "
            "simulation_id, correlation_id, causation_id, journal, sequence, detail_json FROM decision_audit_events",
        )
        forged = await loom.queries.fetch(EVENTS, {**ANY, "limit": 1_000}, names=("gate",))
        shown = await loom.queries.confirmed(forged, CONFIRM_EVENTS)
        told = [dict(row) for row in rows]
        assert [row for row in map(dict, shown) if row not in told] == []
        assert len(shown) == len(rows) - len([row for row in told if "REJECT" in row["detail_json"]]) - 1
