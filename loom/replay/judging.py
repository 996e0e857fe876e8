"""Judge again: what another version of a policy says about the facts that decisions were made on.

Only the rule runs. A case whose recorded facts do not suffice is `not_replayable`, with the reason; no value is ever
invented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.policies.registry import PolicyVersion
from loom.replay.saying import Reason, Said, UnderWhich, label, not_judgeable, open_words, said_of
from loom.replay.scenario import Scenario
from loom.replay.selection import Recalled

__all__ = ["OBSERVED", "OWN_VERSION", "Case", "CaseVerdict", "Judgement", "Tally", "Transition", "judged"]

OBSERVED = "observed"
"""The name in place of a policy for decisions that were made before loom was in use."""

OWN_VERSION = "the version of each"
"""The version of a judgement in which only the facts differ."""

CaseVerdict: TypeAlias = Literal["unchanged", "flipped", "indeterminate", "not_replayable"]
"""The result of a case; `indeterminate` means that the rule gave no answer then, and gives none now."""

_RANKS = {"deny": 0, "indeterminate": 1, "require_approval": 2, "allow": 3}
_EXAMPLES = 5
_MOST_OPEN = 1_000


class Case(NamedTuple):
    """One decision judged again: the recorded evaluation and the new one, each as effect, or effect and tier.

    With gaps, `missing` are the facts that were not recorded, and `depends_on` those that decide an open case.
    """

    decision_id: str
    journal: str
    verdict: CaseVerdict
    old: str | None
    new: str | None
    old_rule: str | None
    new_rule: str | None
    reason: Reason | None = None
    untouched: bool = False
    missing: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


class Transition(BaseModel):
    """The number of cases that changed from one effect to another, with a few of their ids."""

    model_config = ConfigDict(frozen=True)

    old: str
    new: str
    cases: int
    examples: tuple[str, ...]

    @property
    def loosens(self) -> int:
        """How much more is permitted now: positive if refusals become grants, negative for the opposite."""
        return _rank(self.new) - _rank(self.old)


class Judgement(BaseModel):
    """The result of judging again. `coverage` is the share of cases that could be judged, None if there were no cases.

    For `indeterminate` cases the rule gave no answer, then and now: they count neither as unchanged nor as covered.
    `transitions` lists the flips, refusals that became grants first. `defects` are cases with another result under the
    same version that judged them first: that is damage, not a change.

    With `gaps`, `filled` counts the cases that are decided for every value of their missing facts, and `open` the
    others, by the facts that they depend on; with a missing fact, a difference is not a defect.

    With a `scenario`, `scenario` says how the facts were changed, and `untouched` counts the cases whose facts stayed
    the same; with changed facts, a difference is not a defect.
    """

    model_config = ConfigDict(frozen=True)

    policy: str
    under: str
    hash: str
    compared: dict[str, int]
    """The number of decisions made under each version."""
    cases: int
    unchanged: int
    flipped: int
    indeterminate: int = 0
    not_replayable: dict[str, int]
    transitions: tuple[Transition, ...]
    defects: tuple[str, ...] = ()
    run_id: str | None = None
    scenario: dict[str, JsonValue] | None = None
    untouched: int = 0
    gaps: bool = False
    filled: int = 0
    open: dict[str, int] = Field(default_factory=dict)
    left_out: int = 0
    """The number of rows of the views that differ from the journal: their decisions were not judged."""

    @property
    def coverage(self) -> float | None:
        """The share of cases that are unchanged or flipped; None if there are no cases."""
        return None if not self.cases else (self.unchanged + self.flipped) / self.cases


def judged(
    page: Iterable[Recalled], under_which: UnderWhich, scenario: Scenario | None = None, *, gaps: bool = False
) -> Iterator[Case]:
    """Yield what a version says about the facts of recorded decisions, changed by a scenario if one is given.

    Without the code of a version its cases are `code_changed`; if a scenario cannot be applied to the recorded facts,
    the case is `scenario_failed`. With `gaps` a table says what holds for every value of the missing facts.
    """
    for recalled in page:
        under, policy = under_which(recalled.policy_hash)
        reason = not_judgeable(recalled, under, policy)
        if reason is None and recalled.effect is None:
            reason = "no_evaluation"
        if reason is not None:
            yield _not_replayable(recalled, Said(None, reason=reason))
            continue
        assert recalled.facts is not None  # noqa: S101 - checked above
        facts = recalled.facts if scenario is None else scenario.facts(recalled.facts)
        if facts is None:
            yield _not_replayable(recalled, Said(None, reason="scenario_failed"))
            continue
        assert policy is not None  # noqa: S101 - checked above
        said = said_of(policy, facts, recorded_rule=recalled.rule, gaps=gaps)
        if said.reason is not None:
            yield _not_replayable(recalled, said)
            continue
        old, new = label(recalled.effect, recalled.tier), said.label
        verdict: CaseVerdict = "flipped" if old != new else "indeterminate" if new == "indeterminate" else "unchanged"
        untouched = scenario is not None and facts == recalled.facts
        yield Case(
            recalled.decision_id,
            recalled.journal,
            verdict,
            old,
            new,
            recalled.rule,
            said.rule,
            None,
            untouched,
            said.missing,
        )


class Tally:
    """Adds cases up one at a time, in memory that does not grow with them."""

    def __init__(self, under: PolicyVersion | None, scenario: Scenario | None = None, *, gaps: bool = False) -> None:
        self._under = under
        self._scenario = scenario
        self._gaps = gaps
        self._filled = 0
        self._open: Counter[str] = Counter()
        self._policies: set[str] = set()
        self._untouched = 0
        self._verdicts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._compared: Counter[str] = Counter()
        self._flips: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._defects: list[str] = []
        self._of_policy = 0

    @property
    def foreign(self) -> int:
        """The number of cases if none of them is of this policy; otherwise 0."""
        return 0 if self._under is None or self._of_policy else self._verdicts.total()

    def add(self, recalled: Recalled, case: Case) -> None:
        """Count a case."""
        self._verdicts[case.verdict] += 1
        self._of_policy += case.reason != "other_policy"
        self._policies.add(recalled.policy_name or OBSERVED)
        self._untouched += case.untouched
        self._compared[recalled.policy_version or OBSERVED] += 1
        if case.reason is not None:
            self._reasons[case.reason] += 1
        if case.missing:
            if case.reason is None:
                self._filled += 1
            else:
                self._open[open_words(case.reason, case.depends_on)] += 1
        if case.verdict == "flipped":
            count, examples = self._flips.get((str(case.old), str(case.new)), (0, []))
            if len(examples) < _EXAMPLES:
                examples.append(case.decision_id)
            self._flips[str(case.old), str(case.new)] = count + 1, examples
        judged_again = case.verdict in ("unchanged", "indeterminate")
        differs = case.verdict == "flipped" or (judged_again and case.old_rule != case.new_rule)
        own = self._under is None or recalled.policy_hash == self._under.hash
        if differs and own and not case.missing and (self._scenario is None or case.untouched):
            self._defects.append(case.decision_id)

    def judgement(self, *, run_id: str | None = None, left_out: int = 0) -> Judgement:
        """Return the sums so far."""
        transitions = [
            Transition(old=old, new=new, cases=count, examples=tuple(examples))
            for (old, new), (count, examples) in self._flips.items()
        ]
        transitions.sort(key=lambda each: (-each.loosens, -each.cases, each.old, each.new))
        return Judgement(
            policy=", ".join(sorted(self._policies)) if self._under is None else self._under.name,
            under=OWN_VERSION if self._under is None else self._under.version,
            hash="" if self._under is None else self._under.hash,
            scenario=None if self._scenario is None else self._scenario.said,
            untouched=self._untouched,
            compared=dict(sorted(self._compared.items())),
            cases=self._verdicts.total(),
            unchanged=self._verdicts["unchanged"],
            flipped=self._verdicts["flipped"],
            indeterminate=self._verdicts["indeterminate"],
            not_replayable=dict(sorted(self._reasons.items())),
            transitions=tuple(transitions),
            defects=tuple(self._defects),
            run_id=run_id,
            left_out=left_out,
            gaps=self._gaps,
            filled=self._filled,
            open=dict(self._open.most_common(_MOST_OPEN)),
        )


def _not_replayable(recalled: Recalled, said: Said) -> Case:
    old = None if recalled.effect is None else label(recalled.effect, recalled.tier)
    return Case(
        recalled.decision_id,
        recalled.journal,
        "not_replayable",
        old,
        None,
        recalled.rule,
        None,
        said.reason,
        False,
        said.missing,
        said.depends_on,
    )


def _rank(of: str) -> int:
    return _RANKS.get(of.partition(":")[0], 0)
