"""What circuits are expected to come to is compared and shown; what waits for a person is on the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.circuits import Circuits, Result, circuit
from loom.circuits.targets import TARGETS, compared
from tests.circuits.support import wired


def metrics(**figures: Any) -> dict[str, Any]:
    return {
        "total_executions": 100,
        "success_rate": 0.99,
        "avg_latency_ms": 212.0,
        "avg_confidence": 0.9,
        "error_count": 1,
        **figures,
    }


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        ({}, []),
        ({"success_rate": 0.95}, ["success_rate"]),
        ({"success_rate": 0.9501}, []),
        ({"avg_latency_ms": 500.0}, ["avg_latency_ms"]),
        ({"avg_latency_ms": 499.999}, []),
        ({"avg_confidence": 0.85}, ["avg_confidence"]),
        ({"avg_confidence": 0.8501}, []),
        ({"error_count": 5}, ["error_rate"]),
        ({"error_count": 4}, []),
    ],
)
def test_a_bound_itself_does_not_meet_its_target(figures: dict[str, Any], missed: list[str]) -> None:
    found = compared(metrics(**figures))
    assert [name for name, each in found.items() if not each["met"]] == missed


def test_where_nothing_ran_nothing_is_met_or_missed() -> None:
    none = dict.fromkeys(("success_rate", "avg_latency_ms", "avg_confidence"))
    found = compared({"total_executions": 0, "error_count": 0, **none})
    assert {each["met"] for each in found.values()} == {None}


@given(st.floats(0, 1), st.floats(0, 10_000), st.floats(0, 1), st.integers(0, 100))
def test_every_target_says_what_it_compares(success: float, latency: float, confidence: float, errors: int) -> None:
    figures = {"success_rate": success, "avg_latency_ms": latency, "avg_confidence": confidence, "error_count": errors}
    found = compared(metrics(**figures))
    assert found.keys() == TARGETS.keys()
    for name, each in found.items():
        sign, bound = each["target"].split()
        assert each["met"] == (each["value"] > float(bound) if sign == ">" else each["value"] < float(bound)), name


async def test_metrics_and_dashboard_say_which_targets_are_met_by_circuit_and_in_all(tmp_path: Path) -> None:
    @circuit(
        "CX10_UNSURE",
        category="t",
        inputs=("on",),
        outputs=("x",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    def unsure(inputs: Any) -> Result:
        """Be unsure, or fail."""
        if not inputs["on"]:
            raise RuntimeError("no luck")
        return Result(outputs={"x": 1}, confidence=0.6)

    async with wired(tmp_path, unsure) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("c", [("CX01_INTENT_DETECTION", {"business_profile": "SaaS B2B"})])
        for on in (True, False, False):
            await circuits.run("d", [("CX10_UNSURE", {"on": on})])
        audit, board = await circuits.view.audit(), await circuits.view.dashboard()
        mine = await circuits.view.dashboard(client_id="c")
    assert (board["metrics"], board["by_circuit"]) == (audit["metrics"], audit["by_circuit"])
    good, bad = (audit["by_circuit"][name]["targets"] for name in ("CX01_INTENT_DETECTION", "CX10_UNSURE"))
    assert all(each["met"] for each in good.values())
    assert {name: each["met"] for name, each in bad.items()} == {
        "success_rate": False,
        "avg_latency_ms": True,
        "avg_confidence": False,
        "error_rate": False,
    }
    assert audit["metrics"]["targets"]["error_rate"] == {"target": "< 0.05", "value": 0.5, "met": False}
    [notified] = board["notifications"]
    assert (notified["cause"], notified["repeats"], notified["open"]) == ("d/CX10_UNSURE/failed", 1, True)
    assert mine["notifications"] == [], "another client's"


async def test_what_somebody_looked_at_is_no_notification_any_more(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("c", [("CX08_SELF_CORRECTION", {"engagement_score": "x", "baseline": 1})])
        [notified] = (await circuits.view.dashboard())["notifications"]
        await circuits.escalations.close(notified["escalation_id"], by="vera", reason="a typo")
        assert (await circuits.view.dashboard())["notifications"] == []
