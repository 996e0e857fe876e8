"""Where the line is drawn, exactly, and for ever the same for one version."""

from __future__ import annotations

import pytest

from loom.drift import DriftParams, drift
from loom.drift.earlier import RawDriftFacts, RawDriftParams, drift_by_raw_divergence
from loom.drift.thresholds import DriftFacts, severity_of


@pytest.mark.parametrize(
    ("smaller", "p_value", "excess", "certain", "rule", "severity"),
    [
        (29, 0.001, 0.9, 1.0, "insufficient_data", None),
        (30, 0.001, 0.9, 0.0, "critical", "critical"),
        (30, 0.05, 0.9, 0.0, "not_detected", None),
        (30, 0.05, 0.9, 0.0099, "not_detected", None),
        (30, 0.05, 0.9, 0.01, "critical", "critical"),
        (30, 1.0, 0.0, 0.01, "minor", "minor"),
        (30, 0.0499, 0.2, 0.0, "critical", "critical"),
        (30, 0.0499, 0.1999, 0.0, "warning", "warning"),
        (30, 0.0499, 0.01, 0.0, "warning", "warning"),
        (30, 0.0499, 0.0099, 0.0, "minor", "minor"),
        (30, 1.0, 0.0, 0.0, "not_detected", None),
    ],
)
def test_the_borders_are_where_the_parameters_say(
    smaller: int, p_value: float, excess: float, certain: float, rule: str, severity: str | None
) -> None:
    facts = DriftFacts(
        smaller_window=smaller, p_value=p_value, excess=excess, answered_otherwise=certain, js_divergence=0.76
    )
    said = drift.evaluate(facts)
    assert said.rule == rule
    assert severity_of(said) == severity
    assert {miss.rule for miss in said.why_not} | {rule} == {
        "insufficient_data",
        "not_detected",
        "critical",
        "warning",
        "minor",
    }


def test_what_a_sparse_rule_gives_by_chance_is_never_grave() -> None:
    facts = DriftFacts(smaller_window=500, p_value=0.03, excess=0.006, answered_otherwise=0.0, js_divergence=0.76)
    assert severity_of(drift.evaluate(facts)) == "minor"


def test_the_version_that_comes_with_loom_is_always_the_same() -> None:
    assert drift.version_hash == "83d9e6570083cd7096edafd7f8238b9035c93b36e3f9b33fa3a957fc62c8b2ca"
    assert drift.with_params(DriftParams(alpha=0.01)).version_hash != drift.version_hash
    assert drift.with_params(DriftParams()).version_hash == drift.version_hash


def test_the_earlier_rule_is_the_version_that_it_was() -> None:
    assert drift_by_raw_divergence.version_hash == "a3d7bdb1f02bbbe4239b12193ee05b04e48ac4f1a53cb80724dbba7f4a6bc309"
    tuned = drift_by_raw_divergence.with_params(RawDriftParams(alpha=0.01))
    assert drift_by_raw_divergence.gives(tuned.document)
    assert not drift.gives(tuned.document)


@pytest.mark.parametrize(
    ("p_value", "divergence", "severity"),
    [(0.05, 0.9, None), (0.01, 0.3, "critical"), (0.01, 0.1, "warning"), (0.01, 0.0999, "stable")],
)
def test_the_earlier_rule_says_what_it_said(p_value: float, divergence: float, severity: str | None) -> None:
    facts = RawDriftFacts(smaller_window=30, p_value=p_value, js_divergence=divergence)
    assert severity_of(drift_by_raw_divergence.evaluate(facts)) == severity
