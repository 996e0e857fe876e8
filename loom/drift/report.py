"""The result of a comparison: a report with every number that was judged, and an explanation in words."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue, computed_field

from loom.drift.metric_rule import MetricSeverity
from loom.drift.thresholds import Severity
from loom.drift.window import WindowCount
from loom.policies.evaluation import Evaluation

__all__ = [
    "SEED_MARKS",
    "ChiSquareResult",
    "ClassShift",
    "DriftReport",
    "DriftState",
    "JudgedUnder",
    "MetricShift",
    "Metrics",
    "PairResult",
    "PermutationResult",
    "PolicySplit",
    "TestMethod",
    "TestPart",
    "Uncertain",
]

DriftState: TypeAlias = Literal["detected", "not_detected", "insufficient_data"]
"""Whether the pattern changed; `insufficient_data` is neither yes nor no."""

TestMethod: TypeAlias = Literal["permutation", "sign_flips"]
"""Whether decisions are permuted, or the two sides of a subject exchanged."""

SEED_MARKS = (0.1, 0.3)
"""The limits of the raw divergence for a warning, and for critical, before severity became relative to chance."""

Uncertain: TypeAlias = Literal["both_empty", "baseline_empty", "current_empty", "no_classes", "too_few"]
"""Why there is not enough data."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class JudgedUnder(_Frozen):
    """The version of the policy `loom.drift` that judged, and its evaluation; number 0 is not registered."""

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


class TestPart(_Frozen):
    """One test: by `permutation` where windows are two samples, by `sign_flips` where the same subjects are in both.

    `dealt` says what is moved by lot as one: a decision, a subject with all of its decisions, or a pair.
    `looks` has the p-value of each way to look, before it counts that there are several; `p_value` counts it.
    `decisions` are those of either window that it is about. `js_divergence` is theirs; `expected_divergence` and
    `expected_upper` say how far apart chance alone lays them: mean, 95th percentile. `excess` is how far they lie apart
    beyond that, as a share of what is left to 1: the larger of that of all classes and that of rare ones pooled by
    outcome. `weight` is the part of alpha that the test has.
    """

    __test__: ClassVar[bool] = False  # its name makes it no test of pytest's

    method: TestMethod
    dealt: Literal["decision", "subject", "pair"]
    decisions: tuple[int, int]
    p_value: float
    looks: dict[str, float]
    permutations: int
    seed: str
    js_divergence: float
    expected_divergence: float
    expected_upper: float
    excess: float
    weight: float


class PermutationResult(_Frozen):
    """What decides: `p_value` is that of the one test, or of both, the smallest p-value divided by its weight.

    That is Bonferroni's correction with weights: it never promises too much, however the two depend on each other.
    `untested` decisions have no partner and too few to be compared with.
    """

    p_value: float
    parts: tuple[TestPart, ...]
    untested: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def test(self) -> Literal["permutation", "sign_flips", "both"]:
        """Which test was used: `both` where some decisions have a partner in the other window and others have none."""
        return self.parts[0].method if len(self.parts) == 1 else "both"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def excess(self) -> float:
        """How far the windows lie apart beyond what chance gives, 0..1: each part counts by its weight."""
        return sum(each.weight * each.excess for each in self.parts)


class PairResult(_Frozen):
    """The subjects that are in both windows, and how the same step was decided the second time: plain counts.

    `turned` pairs are of one situation and were decided otherwise; `transitions` says how, by outcome. Of the
    `same_facts` pairs every recorded fact was the same: what a rule `answered_otherwise` there is no chance, as a rule
    has none in it. `tested` says whether there were enough to be tested in pairs, `exchanged` what was exchanged as
    one: all decisions of a subject, or each pair by itself. `pair_by` is the key that was asked for, empty for the
    actor with the type of decision and the facts that have to be the same in a class.
    """

    pair_by: tuple[str, ...]
    subjects: int
    pairs: int
    same_situation: int
    turned: int
    transitions: dict[str, int]
    same_facts: int
    answered_otherwise: int
    answers: dict[str, int]
    tested: bool
    exchanged: Literal["subject", "pair"]


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
    """How much of the change comes from the population, and how much from the policy.

    Divergences in bits over classes of (situation, effect); `population + policy + interaction` is `total`. They are
    None, and `reason` says why, where too little could be judged again. `situations` and its p-value compare who came
    alone, which needs no policy. `answered_otherwise` is how many of the `rejudged` decisions the baseline's policy
    would have answered otherwise, and `transitions` how, old → new; with several baseline versions these are expected
    numbers, each version weighing as much as it decided. `acted` is by how much more the windows lie apart in what was
    done than in what the policy said: people's answers, and what the actor's code made of them; it is no part of
    `total`, and above 0 by chance alone where people answer. docs/drift.md defines all of it exactly.
    """

    total: float | None
    population: float | None
    policy: float | None
    interaction: float | None
    acted: float
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
        """The share of the current decisions that could be judged again, 0..1."""
        return self.rejudged / self.current_decisions if self.current_decisions else 0.0


class MetricShift(_Frozen):
    """One figure in both windows; `change` is its share of the baseline's, None where that was 0.

    A `rate` is over so many in either window (`of`); its `severity` is None where they are too few to judge.
    """

    name: str
    kind: Literal["rate", "parameter", "run parameter"]
    baseline: float
    current: float
    change: float | None
    severity: MetricSeverity | None
    of: tuple[int, int] | None = None


class Metrics(_Frozen):
    """Metric drift: figures that are compared by size alone, under the version `judged` of `loom.metric-drift`.

    It is separate from the pattern: nothing here is tested statistically, or decides whether a pattern changed.
    """

    judged: str
    parameters: dict[str, JsonValue]
    shifts: tuple[MetricShift, ...]

    @property
    def moved(self) -> tuple[MetricShift, ...]:
        """The metrics with a change that is reported."""
        return tuple(each for each in self.shifts if each.severity in ("warning", "critical"))


class DriftReport(_Frozen):
    """Whether the pattern of decisions is still the same: a comparison of two windows over classes of precedents.

    `severity` is stated only for a detected change. `js_divergence` (bits, 0..1), its square root and the tests are
    None where a window is empty. `rose` and `fell` hold the classes that carry the change, the largest share of the
    divergence first; `pairs` is None where no subject is known to be in both windows; `counts` holds all classes, as
    (baseline, current). `position` is how far the journal was read, `rule` the full hash of the equivalence rule that
    made the classes.
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
    pairs: PairResult | None
    rose: tuple[ClassShift, ...]
    fell: tuple[ClassShift, ...]
    split: PolicySplit | None
    metrics: Metrics
    judged: JudgedUnder
    explanation: tuple[str, ...]
    counts: dict[str, tuple[int, int]]
    position: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def detected(self) -> bool:
        """Whether the pattern changed more than chance gives."""
        return self.state == "detected"
