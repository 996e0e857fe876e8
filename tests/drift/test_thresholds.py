"""Where the line is drawn, exactly, and for ever the same for one version."""

from __future__ import annotations

import pytest

from loom.drift import DriftParams, drift
from loom.drift.thresholds import DriftFacts, severity_of


@pytest.mark.parametrize(
    ("smaller", "p_value", "divergence", "rule", "severity"),
    [
        (29, 0.001, 0.9, "insufficient_data", None),
        (30, 0.001, 0.9, "critical", "critical"),
        (30, 0.05, 0.9, "not_detected", None),
        (30, 0.0499, 0.3, "critical", "critical"),
        (30, 0.0499, 0.2999, "warning", "warning"),
        (30, 0.0499, 0.1, "warning", "warning"),
        (30, 0.0499, 0.0999, "stable", "stable"),
        (30, 1.0, 0.0, "not_detected", None),
    ],
)
def test_the_borders_are_where_the_parameters_say(
    smaller: int, p_value: float, divergence: float, rule: str, severity: str | None
) -> None:
    said = drift.evaluate(DriftFacts(smaller_window=smaller, p_value=p_value, js_divergence=divergence))
    assert said.rule == rule
    assert severity_of(said) == severity
    assert {miss.rule for miss in said.why_not} | {rule} == {
        "insufficient_data", "not_detected", "critical", "warning", "stable",
    }  # fmt: skip


def test_the_version_that_comes_with_loom_is_always_the_same() -> None:
    assert drift.version_hash == "a3d7bdb1f02bbbe4239b12193ee05b04e48ac4f1a53cb80724dbba7f4a6bc309"
    assert drift.with_params(DriftParams(alpha=0.01)).version_hash != drift.version_hash
    assert drift.with_params(DriftParams()).version_hash == drift.version_hash
