"""Measuring two windows, and judging what was measured under the version of `loom.drift` that is adopted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from loom.drift.chi_square import chi_square
from loom.drift.distance import Pairs, js_divergence
from loom.drift.permutation import permutation_test
from loom.drift.report import ChiSquareResult, JudgedUnder, PermutationResult
from loom.drift.thresholds import DriftFacts, DriftParams, drift
from loom.errors import PolicyCodeChangedError
from loom.policies.policy import Policy
from loom.policies.registry import PolicyRegistry, PolicyVersion

__all__ = ["Line", "Measured", "measure"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a comparison; None, all but the first, where a window is empty."""

    smaller_window: int
    js_divergence: float | None = None
    chi_square: ChiSquareResult | None = None
    permutation: PermutationResult | None = None

    @property
    def js_distance(self) -> float | None:
        """The square root of the divergence."""
        return None if self.js_divergence is None else math.sqrt(self.js_divergence)


def measure(pairs: Pairs, params: DriftParams) -> Measured:
    """Return the figures of a table of counts."""
    smaller = min(sum(a for a, _ in pairs), sum(b for _, b in pairs))
    if not smaller:
        return Measured(smaller_window=0)
    tested = permutation_test(pairs, permutations=params.permutations)
    return Measured(
        smaller_window=smaller,
        js_divergence=js_divergence(pairs),
        chi_square=ChiSquareResult(**asdict(chi_square(pairs, pool_below=params.pool_below))),
        permutation=PermutationResult(
            p_value=tested.p_value, p_pattern=tested.p_pattern, p_class=tested.p_class,
            permutations=tested.permutations, seed=tested.seed, expected_divergence=tested.mean,
            expected_upper=tested.upper,
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """Where the line is drawn: a version of the policy `loom.drift`, and the parameters that it holds."""

    version: PolicyVersion
    policy: Policy[DriftParams, DriftFacts]

    @classmethod
    async def adopted(cls, policies: PolicyRegistry, *, by: str) -> Line:
        """Return the version that is adopted; where none is, the code's own is registered in the name of `by`."""
        policies.attach(drift)
        version = policies.adopted(drift.name)
        if version is None or not drift.gives(version.document):  # what a person adopted before the first use stands
            own = await policies.ensure(drift, by=by)
            version = policies.adopted(drift.name) or own
        ready = drift if version.hash == drift.version_hash else policies.runnable(version)
        if not isinstance(ready, Policy) or not isinstance(ready.params, DriftParams):
            raise PolicyCodeChangedError(
                f"policy [{drift.name}] has version [{version.version}] adopted, which is no version of loom's rule; "
                "expected one that `drift.with_params(…)` gives: adopt such a one"
            )
        return cls(version, ready)

    @property
    def params(self) -> DriftParams:
        """What the version holds."""
        return self.policy.params

    def judge(self, measured: Measured) -> JudgedUnder:
        """Return what the version says about what was measured."""
        facts = DriftFacts(
            smaller_window=measured.smaller_window,
            p_value=1.0 if measured.permutation is None else measured.permutation.p_value,
            js_divergence=measured.js_divergence or 0.0,
        )
        return JudgedUnder(
            name=self.version.name, version=self.version.version, hash=self.version.hash,
            evaluation=self.policy.evaluate(facts), parameters=self.params.model_dump(mode="json"),
        )  # fmt: skip
