"""What a comparison came to: a report that holds every number it was judged by, and says the same in words."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue, computed_field

from loom.drift.thresholds import Severity
from loom.drift.window import WindowCount
from loom.policies.evaluation import Evaluation

__all__ = [
    "ChiSquareResult",
    "ClassShift",
    "DriftReport",
    "DriftState",
    "JudgedUnder",
    "PermutationResult",
    "PolicySplit",
    "Uncertain",
]

DriftState: TypeAlias = Literal["detected", "not_detected", "insufficient_data"]
"""Whether the pattern changed; `insufficient_data` is neither yes nor no."""

Uncertain: TypeAlias = Literal["both_empty", "baseline_empty", "current_empty", "no_classes", "too_few"]
"""Why there is not enough to say."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class JudgedUnder(_Frozen):
    """The version of the policy `loom.drift` that drew the line, and what it said; number 0 is not registered."""

    name: str
    version: str
    hash: str
    evaluation: Evaluation
    parameters: dict[str, JsonValue]


class ChiSquareResult(_Frozen):
    """Pearson's test; `pooled` is how many rare classes were counted as one. 0 degrees: nothing was left to test."""

    statistic: float
    degrees: int
    p_value: float
    pooled: int


class PermutationResult(_Frozen):
    """The test that decides. `p_pattern` looks at the whole pattern, `p_class` at the class that moved most.

    `expected_divergence` and `expected_upper` say how far apart chance alone lays such windows: mean, 95th percentile.
    """

    p_value: float
    p_pattern: float
    p_class: float
    permutations: int
    seed: str
    expected_divergence: float
    expected_upper: float


class ClassShift(_Frozen):
    """One class: its counts and shares in both windows, and what part of the divergence it has.

    `decision_id`, `decision_type` and `outcome` are those of its newest decision, in the window in which the class has
    the larger share; the last two are None where its body is gone. `alike` says in words, by attribute, what makes the
    class; it is empty where no rule is known.
    """

    precedent: str
    situation: str
    baseline: int
    current: int
    baseline_share: float
    current_share: float
    share_of_divergence: float
    decision_id: str
    decision_type: str | None
    outcome: dict[str, JsonValue] | None
    alike: dict[str, str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def change(self) -> float:
        """By how much the share rose, below zero if it fell: 0.15 is fifteen points."""
        return self.current_share - self.baseline_share


class PolicySplit(_Frozen):
    """How much of the change comes from who came, and how much from how they were answered.

    Divergences in bits over classes of (situation, effect); `population + policy + interaction` is `total`. They are
    None, and `reason` says why, where too little could be judged again. `situations` and its p-value compare who came
    alone, which needs no policy. `answered_otherwise` is how many of the `rejudged` decisions the baseline's policy
    would have answered otherwise, and `transitions` how, old → new; with several baseline versions these are expected
    numbers, each version weighing as much as it decided. docs/drift.md defines all of it exactly.
    """

    total: float | None
    population: float | None
    policy: float | None
    interaction: float | None
    reason: str | None
    situations: float
    situations_p: float
    answered_otherwise: float
    transitions: dict[str, float]
    versions: dict[str, int]
    baseline_decisions: int
    baseline_evaluated: int
    current_decisions: int
    rejudged: int
    not_rejudged: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def coverage(self) -> float:
        """Which share of the current decisions could be judged again, 0..1."""
        return self.rejudged / self.current_decisions if self.current_decisions else 0.0


class DriftReport(_Frozen):
    """Whether the pattern of decisions is still the same: a comparison of two windows over classes of precedents.

    `severity` is stated only for a detected change. `js_divergence` (bits, 0..1), its square root and the tests are
    None where a window is empty. `rose` and `fell` hold the classes that carry the change, the largest share of the
    divergence first; `counts` holds all classes, as (baseline, current). `position` is how far the journal was read,
    `rule` the full hash of the equivalence rule that made the classes.
    """

    state: DriftState
    severity: Severity | None
    reason: Uncertain | None
    baseline: WindowCount
    current: WindowCount
    rule: str | None
    js_divergence: float | None
    js_distance: float | None
    chi_square: ChiSquareResult | None
    permutation: PermutationResult | None
    rose: tuple[ClassShift, ...]
    fell: tuple[ClassShift, ...]
    split: PolicySplit | None
    judged: JudgedUnder
    explanation: tuple[str, ...]
    counts: dict[str, tuple[int, int]]
    position: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def detected(self) -> bool:
        """Whether the pattern changed more than chance gives."""
        return self.state == "detected"
