"""The figures of circuits count the whole window, tell what was substituted apart, and count what is repeated."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.circuits import Circuits, Result, circuit
from tests.circuits.support import failing, wired

MINE = failing("mark_as_neutral", fail=lambda inputs: inputs["word"] == "bad")
ASKING = failing("escalate_to_admin", circuit_id="CX10_ASKS")


async def ran(loom: Loom, count: int, *, word: str = "good", client: str = "c") -> None:
    for _ in range(count):
        await Circuits.of(loom).run(client, [("CX09_MINE", {"word": word})])


async def test_metrics_are_of_all_that_match_whatever_page_is_shown(tmp_path: Path) -> None:
    async with wired(tmp_path, MINE, ASKING) as loom:
        await ran(loom, 130)
        for _ in range(5):
            await Circuits.of(loom).run("c", [("CX10_ASKS", {"word": "x"})])
        view = Circuits.of(loom).view
        whole = await view.audit(limit=1_000)
        shown = [await view.audit(limit=limit, before=before) for limit, before in [(100, None), (1, None), (7, 60)]]
        shown.append(await view.audit(limit=10, before=1))
    assert whole["metrics"]["total_executions"] == 135
    assert whole["metrics"]["success_rate"] == round(130 / 135, 4)
    assert whole["metrics"]["error_count"] == 5
    assert [len(each["execution_history"]) for each in shown] == [100, 1, 7, 0]
    for each in shown:
        assert each["metrics"] == whole["metrics"]
        assert each["by_circuit"] == whole["by_circuit"]


async def test_what_a_failure_mode_put_in_is_no_success_and_is_counted_apart(tmp_path: Path) -> None:
    async with wired(tmp_path, MINE) as loom:
        await ran(loom, 3)
        await ran(loom, 2, word="bad")
        found = await Circuits.of(loom).view.audit()
    assert found["metrics"] == found["by_circuit"]["CX09_MINE"]
    metrics = found["metrics"]
    assert (metrics["success_rate"], metrics["substituted_count"], metrics["error_count"]) == (0.6, 2, 0)


async def test_what_failed_lowers_no_confidence_that_it_never_had(tmp_path: Path) -> None:
    @circuit(
        "CX11_SURE", category="t", inputs=("on",), outputs=("x",), failure_mode="escalate_to_admin", success_metric="n"
    )
    def sure(given: Any) -> Result:
        """Be sure, or fail."""
        if not given["on"]:
            raise RuntimeError("no luck")
        return Result(outputs={"x": 1}, confidence=0.9)

    async with wired(tmp_path, sure) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("c", [("CX11_SURE", {"on": False})])
        assert (await circuits.view.audit())["metrics"]["avg_confidence"] is None
        await circuits.run("c", [("CX11_SURE", {"on": True})])
        assert (await circuits.view.audit())["metrics"]["avg_confidence"] == 0.9


async def test_percentiles_are_those_of_the_nearest_rank(tmp_path: Path) -> None:
    async with wired(tmp_path, MINE) as loom:
        await ran(loom, 41)
        found = await Circuits.of(loom).view.audit(limit=1_000)
    latencies = sorted(each["latency_ms"] for each in found["execution_history"])
    metrics = found["metrics"]
    assert (metrics["p50_latency_ms"], metrics["p95_latency_ms"]) == (latencies[20], latencies[38])
    assert metrics["avg_latency_ms"] == pytest.approx(sum(latencies) / 41, abs=0.001)


async def test_an_escalation_that_is_repeated_shows_how_often(tmp_path: Path) -> None:
    async with wired(tmp_path, ASKING) as loom:
        circuits = Circuits.of(loom)
        for client in random.Random(3).sample([*["c"] * 108, "d"], 109):
            await circuits.run(client, [("CX10_ASKS", {"word": "x"})])
        every, of_c = [(await circuits.view.dashboard(client_id=each))["summary"] for each in (None, "c")]
        [one] = [each for each in circuits.escalations.open() if each.about["client_id"] == "c"]
        assert one.repeats == 107
        assert (every["escalations"], every["repeated_escalations"]) == (109, 107)
        assert (of_c["escalations"], of_c["repeated_escalations"]) == (108, 107)
        assert (await circuits.view.dashboard(days=1e-10))["summary"]["escalations"] == 0
        await loom.rebuild()
        assert (await circuits.view.dashboard())["summary"] == every
