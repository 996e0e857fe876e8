"""The views of circuits are a cache: what an agent may act on is what its client's journal says has succeeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.circuits import CircuitDependencyError, Circuits
from tests.circuits.support import failing, wired
from tests.projections.tampering import tamper


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE circuit_execution_logs SET success = 1",
        "UPDATE circuit_execution_logs SET execution_id = 'e-2', client_id = 'client-1'",
        "INSERT INTO circuit_execution_logs SELECT position + 1, workspace_id, client_id, circuit_id, execution_id, "
        "timestamp, recorded_at_us, 1, latency_ms, confidence_score, 0, NULL, decision_path, inputs, outputs "
        "FROM circuit_execution_logs WHERE success = 0",
    ],
)
async def test_a_success_that_the_views_invent_lets_nobody_act(tmp_path: Path, statement: str) -> None:
    async with wired(tmp_path, failing("escalate_to_admin", fail=lambda inputs: inputs["word"] == "bad")) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("client-2", [("CX09_MINE", {"word": "good"})], execution_id="e-1")
        await circuits.run("client-1", [("CX09_MINE", {"word": "bad"})], execution_id="e-2")
        await loom.reached()
        assert await circuits.succeeded("client-2", "e-1") == ["CX09_MINE"]
        [views] = (tmp_path / "default").glob("*views*.db")
        assert tamper(views, statement) > 0
        assert await circuits.succeeded("client-1", "e-2") == []
        with pytest.raises(CircuitDependencyError):
            await circuits.require("client-1", "e-2", ["CX09_MINE"])
