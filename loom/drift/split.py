"""Population against policy: which part of a change comes from each.

Three distributions over classes of (situation, effect): A is the baseline as it was decided, B the current window as it
was decided, and C the current cases as the baseline's policy would have answered them. From A to C only who came
changes, from C to B only the policy. Recorded facts are judged again; nothing is fetched, executed or invented.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from loom.decisions.decision import PolicyReference
from loom.drift.distance import js_divergence
from loom.drift.permutation import permutation_test
from loom.drift.reading import Case
from loom.drift.report import PolicySplit
from loom.drift.thresholds import DriftParams
from loom.errors import PolicyCodeChangedError, PolicyNotRegisteredError
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import BAD_FACTS, RULE_FAILED
from loom.policies.registry import PolicyRegistry
from loom.sealing.facts import why_closed

__all__ = ["Answers", "Rejudging"]

_Key = TypeVar("_Key")
_ROUNDING = 1e-12

Answers: TypeAlias = Mapping[tuple[str, str | None, str], int]
"""How often a decision was of a situation, an effect (None where nothing was evaluated), and a precedent class."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A against B, A against C, and C against B, in bits."""

    total: float
    population: float
    policy: float


@dataclass(frozen=True, slots=True)
class _Judge:
    """The versions of one policy that decided in the baseline, and the weight of each."""

    versions: Sequence[tuple[AnyPolicy, int]] = ()
    unable: str | None = None


@dataclass(slots=True)
class Rejudging:
    """Judges current decisions under the baseline's versions, page by page, and separates the parts of the change."""

    baseline: Answers
    versions: Sequence[tuple[PolicyReference, int]]
    policies: PolicyRegistry
    _judges: dict[str, _Judge] = field(default_factory=dict)
    _whole: int = 1
    _current: Counter[tuple[str, str]] = field(default_factory=Counter)
    _again: Counter[tuple[str, str]] = field(default_factory=Counter)
    _came: Counter[str] = field(default_factory=Counter)
    _done: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    _transitions: Counter[str] = field(default_factory=Counter)
    _unable: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Find the code of each version, and a number that the weights of every policy make up together."""
        by_name: dict[str, list[tuple[PolicyReference, int]]] = defaultdict(list)
        for reference, decisions in self.versions:
            by_name[reference.name].append((reference, decisions))
        self._whole = math.lcm(*(sum(count for _, count in each) for each in by_name.values()))
        self._judges = {name: self._judge(each) for name, each in by_name.items()}

    def feed(self, page: Iterable[Case]) -> None:
        """Judge some decisions of the current window again."""
        for case in page:
            if case.situation is None:
                continue  # it has no class, and so is not part of the pattern
            self._came[case.situation] += 1
            self._done[case.situation, case.effect, case.precedent or ""] += 1
            unable = self._rejudge(case, case.situation)
            if unable is not None:
                self._unable[unable] += 1

    @property
    def seen(self) -> int:
        """The number of decisions with a class that were examined so far."""
        return self._came.total()

    def split(self, params: DriftParams) -> PolicySplit:
        """Return the parts of the change, as far as they can be separated."""
        evaluated: Counter[tuple[str, str]] = Counter()
        came_before: Counter[str] = Counter()
        for (situation, effect, _), decisions in self.baseline.items():
            came_before[situation] += decisions
            if effect is not None:
                evaluated[situation, effect] += decisions
        came = _pairs(came_before, self._came)
        rejudged, current = sum(self._current.values()), sum(self._came.values())
        reason = self._reason(evaluated, rejudged / current if current else 0.0, params.minimum_coverage)
        parts = None if reason is not None else self._parts(evaluated)
        return PolicySplit(
            total=None if parts is None else parts.total,
            population=None if parts is None else parts.population,
            policy=None if parts is None else parts.policy,
            interaction=None if parts is None else parts.total - parts.population - parts.policy,
            acted=_acted(self.baseline, self._done),
            reason=reason,
            situations=js_divergence(came),
            situations_p=permutation_test(came, permutations=params.permutations, pool_below=params.pool_below).p_value,
            answered_otherwise=sum(self._transitions.values()) / self._whole,
            transitions={name: n / self._whole for name, n in sorted(self._transitions.items())},
            versions={reference.version: n for reference, n in self.versions},
            baseline_decisions=sum(self.baseline.values()),
            baseline_evaluated=sum(evaluated.values()),
            current_decisions=current,
            rejudged=rejudged,
            not_rejudged=dict(sorted(self._unable.items())),
        )

    def _parts(self, evaluated: Mapping[tuple[str, str], int]) -> _Parts:
        return _Parts(
            total=js_divergence(_pairs(evaluated, self._current)),
            population=js_divergence(_pairs(evaluated, self._again)),
            policy=js_divergence(_pairs(self._again, self._current)),
        )

    def _reason(self, evaluated: Mapping[tuple[str, str], int], coverage: float, least: float) -> str | None:
        if not evaluated:
            return "no decision of the baseline was evaluated by a policy"
        if coverage == 0:
            return "no current decision could be judged again"
        if coverage < least:
            return f"only {coverage:.1%} of the current decisions could be judged again, fewer than {least:.0%}"
        return None

    def _rejudge(self, case: Case, situation: str) -> str | None:
        """Count how the baseline's versions judge a case; return a stable reason where they cannot judge it."""
        judge = self._judges.get(case.policy, _Judge(unable="other_policy"))
        if judge.unable is not None:
            return judge.unable
        if case.effect is None:
            return "not_evaluated"
        if case.facts is None:
            return "erased" if case.erased else "no_facts"
        if (closed := why_closed(case.facts)) is not None:
            return closed
        said = [(version.verdict(case.facts), weight) for version, weight in judge.versions]
        for verdict, _ in said:
            if verdict.rule in (BAD_FACTS, RULE_FAILED):
                return "missing_facts" if verdict.rule == BAD_FACTS else "rule_failed"
        parts = self._whole // sum(weight for _, weight in said)
        for verdict, weight in said:
            self._again[situation, verdict.effect] += weight * parts
            if verdict.effect != case.effect:
                self._transitions[f"{verdict.effect} → {case.effect}"] += weight * parts
        self._current[situation, case.effect] += 1
        return None

    def _judge(self, versions: Sequence[tuple[PolicyReference, int]]) -> _Judge:
        found = []
        for reference, decisions in versions:
            try:
                version = self.policies.resolve(reference.hash)
                if not version.has_rule:
                    return _Judge(unable="no_rule")
                found.append((self.policies.runnable(version), decisions))
            except PolicyNotRegisteredError:
                return _Judge(unable="policy_missing")
            except PolicyCodeChangedError:
                return _Judge(unable="code_changed")
        return _Judge(versions=found)


def _acted(baseline: Answers, current: Answers) -> float:
    """Return how much the divergence grows when the outcomes are compared too, in addition to the policy's effects."""
    said: tuple[Counter[tuple[str, str | None]], ...] = (Counter(), Counter())
    for counter, side in zip(said, (baseline, current), strict=True):
        for (situation, effect, _), decisions in side.items():
            counter[situation, effect] += decisions
    more = js_divergence(_pairs(baseline, current)) - js_divergence(_pairs(*said))
    return more if more > _ROUNDING else 0.0


def _pairs(first: Mapping[_Key, int], second: Mapping[_Key, int]) -> list[tuple[int, int]]:
    return [(first.get(each, 0), second.get(each, 0)) for each in {**first, **second}]
