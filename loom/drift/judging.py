"""Measure two windows, and judge the figures under the adopted version of `loom.drift`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from loom.drift.chi_square import chi_square
from loom.drift.clusters import cluster_test
from loom.drift.distance import js_divergence
from loom.drift.earlier import RawDriftFacts, RawDriftParams, drift_by_raw_divergence
from loom.drift.flips import flip_test
from loom.drift.pairing import Pairing
from loom.drift.permutation import Permutations, permutation_test
from loom.drift.report import ChiSquareResult, JudgedUnder, PermutationResult, TestMethod, TestPart
from loom.drift.thresholds import DriftFacts, DriftParams, drift
from loom.errors import PolicyCodeChangedError
from loom.identity import By
from loom.policies.policy import Policy
from loom.policies.registry import PolicyRegistry, PolicyVersion

__all__ = ["DriftPolicy", "Measured", "is_paired", "measure"]


_LEAST_WEIGHT = 0.1
"""The minimum share of alpha for one of two tests, however few decisions it has: a change of few may be evident."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a comparison. If a window is empty, all but the first are None."""

    smaller_window: int
    js_divergence: float | None = None
    chi_square: ChiSquareResult | None = None
    permutation: PermutationResult | None = None
    answered_otherwise: float = 0.0
    """The share of all pairs that the policy answered otherwise on the same facts."""

    @property
    def js_distance(self) -> float | None:
        """The square root of the divergence."""
        return None if self.js_divergence is None else math.sqrt(self.js_divergence)


def measure(
    counts: Mapping[str, tuple[int, int]], outcomes: Mapping[str, str], params: DriftParams, pairing: Pairing
) -> Measured:
    """Return the figures of two windows, from counts by class, outcomes of classes, and the pairing of subjects."""
    pairs = list(counts.values())
    smaller = min(sum(a for a, _ in pairs), sum(b for _, b in pairs))
    if not smaller:
        return Measured(smaller_window=0)
    return Measured(
        smaller_window=smaller,
        js_divergence=js_divergence(pairs),
        chi_square=ChiSquareResult(**asdict(chi_square(pairs, pool_below=params.pool_below))),
        permutation=_tested(outcomes, params, pairing),
        answered_otherwise=pairing.answered_otherwise.total() / pairing.pairs if pairing.pairs else 0.0,
    )


def is_paired(pairing: Pairing, params: DriftParams) -> bool:
    """Tell whether there are enough pairs for windows to be tested in pairs."""
    return pairing.pairs >= params.minimum_decisions


def _tested(outcomes: Mapping[str, str], params: DriftParams, pairing: Pairing) -> PermutationResult:
    rest = [_Sample(*each) for each in zip(pairing.alone, pairing.together, strict=True)]
    sides = [_Sample(Counter(), side) for side in pairing.sides()]
    if not is_paired(pairing, params):
        before, now = (a.plus(b) for a, b in zip(rest, sides, strict=True))
        part = _by_permutation(before, now, outcomes, params)
        return PermutationResult(p_value=part.p_value, parts=(part,))
    flipped = flip_test(pairing.units, outcomes, permutations=params.permutations, pool_below=params.pool_below)
    parts = [_part("sign_flips", flipped, *(side.counts() for side in sides), dealt=pairing.unit)]
    left_over = sum(side.decisions for side in rest)
    compared = _comparable(rest, sides, least=params.minimum_decisions)
    if compared is None:
        return PermutationResult(p_value=flipped.p_value, parts=tuple(parts), untested=left_over)
    share = max(_LEAST_WEIGHT, left_over / (left_over + sum(parts[0].decisions)))
    parts = [
        parts[0].model_copy(update={"weight": 1 - share}),
        _by_permutation(*compared, outcomes, params).model_copy(update={"weight": share}),
    ]
    return PermutationResult(p_value=min(1.0, *(each.p_value / each.weight for each in parts)), parts=tuple(parts))


@dataclass(frozen=True, slots=True)
class _Sample:
    """The units of one window that are permuted: single decisions, and subjects with all of their decisions."""

    alone: Counter[str]
    together: list[Counter[str]]

    @property
    def decisions(self) -> int:
        return self.alone.total() + sum(each.total() for each in self.together)

    @property
    def subjects(self) -> int:
        return self.alone.total() + len(self.together)

    def counts(self) -> Counter[str]:
        found = self.alone.copy()
        for each in self.together:
            found.update(each)
        return found

    def plus(self, other: _Sample) -> _Sample:
        return _Sample(self.alone + other.alone, self.together + other.together)

    def units(self) -> list[Counter[str]]:
        return [*self.together, *(Counter({name: 1}) for name in sorted(self.alone.elements()))]


def _comparable(rest: Sequence[_Sample], sides: Sequence[_Sample], *, least: int) -> tuple[_Sample, _Sample] | None:
    """Return the decisions without a partner that are compared; None where there are too few.

    If only one window has enough of them, they are compared with all decisions of the other window.
    """
    before, now = rest
    if min(before.decisions, now.decisions) >= least:
        return before, now
    whole = [a.plus(b) for a, b in zip(rest, sides, strict=True)]
    if before.decisions >= max(least, now.decisions) and whole[1].decisions >= least:
        return before, whole[1]
    if now.decisions >= least and whole[0].decisions >= least:
        return whole[0], now
    return None


def _by_permutation(before: _Sample, now: _Sample, outcomes: Mapping[str, str], params: DriftParams) -> TestPart:
    """Permute whole subjects if some decided several times and there are enough of them; otherwise single decisions."""
    counts = before.counts(), now.counts()
    numbers: dict[str, int] = {"permutations": params.permutations, "pool_below": params.pool_below}
    repeated = any(each.total() > 1 for side in (before, now) for each in side.together)
    if repeated and min(before.subjects, now.subjects) >= params.minimum_subjects:
        return _part(
            "permutation", cluster_test(before.units(), now.units(), outcomes, **numbers), *counts, dealt="subject"
        )
    classes = sorted({*counts[0], *counts[1]})
    table = [(counts[0][each], counts[1][each]) for each in classes]
    found = permutation_test(table, groups=[outcomes[each] for each in classes], **numbers)
    return _part("permutation", found, *counts)


def _part(
    method: TestMethod,
    found: Permutations,
    before: Counter[str],
    now: Counter[str],
    *,
    dealt: Literal["decision", "subject", "pair"] = "decision",
) -> TestPart:
    return TestPart(
        method=method,
        dealt=dealt,
        decisions=(before.total(), now.total()),
        p_value=found.p_value,
        looks=found.looks,
        permutations=found.permutations,
        seed=found.seed,
        js_divergence=js_divergence([(before[each], now[each]) for each in {**before, **now}]),
        expected_divergence=found.mean,
        expected_upper=found.upper,
        excess=found.excess,
        weight=1.0,
    )


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """A version of the policy `loom.drift`, with its parameters."""

    version: PolicyVersion
    policy: Policy[DriftParams, DriftFacts] | Policy[RawDriftParams, RawDriftFacts]

    @classmethod
    async def adopted(cls, policies: PolicyRegistry, *, by: By) -> DriftPolicy:
        """Return the adopted version. If there is none, register the code's own in the name of `by`.

        A version that a person adopted stays in force, also one of an earlier rule. One that code adopted does not.
        """
        policies.attach(drift_by_raw_divergence)
        policies.attach(drift)
        version = policies.adopted(drift.name)
        if version is None or not drift.gives(version.document):
            own = await policies.ensure(drift, by=by)
            version = policies.adopted(drift.name) or own
        ready = drift if version.hash == drift.version_hash else policies.runnable(version)
        if not isinstance(ready, Policy) or not isinstance(ready.params, DriftParams | RawDriftParams):
            raise PolicyCodeChangedError(
                f"policy [{drift.name}] has version [{version.version}] adopted, which is no version of loom's rule; "
                "expected one that `drift.with_params(…)` gives: adopt such a one"
            )
        return cls(version, ready)

    @property
    def params(self) -> DriftParams:
        """The parameters of the version; those that an earlier rule does not have are the present defaults."""
        held = self.policy.params
        if isinstance(held, DriftParams):
            return held
        return DriftParams(
            alpha=held.alpha,
            minimum_decisions=held.minimum_decisions,
            pool_below=held.pool_below,
            permutations=held.permutations,
            minimum_coverage=held.minimum_coverage,
        )

    def judge(self, measured: Measured) -> JudgedUnder:
        """Return the evaluation of the figures by the version."""
        permutation = measured.permutation
        p_value = 1.0 if permutation is None else permutation.p_value
        divergence = measured.js_divergence or 0.0
        facts: DriftFacts | RawDriftFacts
        if isinstance(self.policy.params, RawDriftParams):
            facts = RawDriftFacts(smaller_window=measured.smaller_window, p_value=p_value, js_divergence=divergence)
        else:
            facts = DriftFacts(
                smaller_window=measured.smaller_window,
                p_value=p_value,
                js_divergence=divergence,
                excess=0.0 if permutation is None else round(permutation.excess, 4),
                answered_otherwise=round(measured.answered_otherwise, 4),
            )
        return JudgedUnder(
            name=self.version.name,
            version=self.version.version,
            hash=self.version.hash,
            evaluation=self.policy.evaluate(facts),
            parameters=self.policy.params.model_dump(mode="json"),
        )
