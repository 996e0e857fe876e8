"""The rule against what was done: compare the effect that a version gives with the effect of the recorded outcome.

The result is a table of what the rule says by what was done, whole and for each month or decider, in cases and weighed
by a fact. A rule that requires approval agrees with neither a grant nor a refusal, so those cases are counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC
from decimal import Context, Decimal, InvalidOperation
from typing import Literal, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import datetime_from_us
from loom.errors import AdmissionError
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyVersion
from loom.precedents.contradictions import decider_of
from loom.replay.done import OutcomeMap
from loom.replay.judging import OBSERVED, OWN_VERSION
from loom.replay.saying import Reason, UnderWhich, not_judgeable, open_words, said_of
from loom.replay.selection import Recalled

__all__ = [
    "ALSO",
    "THEN_AND_NOW",
    "AgainstCase",
    "AgainstTally",
    "Cell",
    "Grouping",
    "OutcomeJudgement",
    "compared",
    "verdict_of",
]

Grouping: TypeAlias = Literal["month", "decider"]
"""How a comparison is grouped: by the month of the decision (UTC), or by who decided."""

AgainstVerdict: TypeAlias = Literal["agrees", "differs", "consent", "indeterminate", "unmapped", "not_judged"]

THEN_AND_NOW = "indeterminate then and now"
"""The label of a case that was indeterminate when it was decided, and is indeterminate now."""

_EXAMPLES = 5
_MOST_GROUPS = 1_000
_OTHERS = "(others)"
ALSO = ("outcome", "approvals", "origin", "decided_by")
"""The fields of a decision that are read in addition to those that judging needs."""
_EXACT = Context(prec=60)


class AgainstCase(NamedTuple):
    """One decision: what the rule says about it now, what was done, or the reason why the rule says nothing.

    `done` is None without a mapping, and if no line of the mapping matches. `missing` are facts that were not recorded.
    """

    decision_id: str
    journal: str
    said: str | None
    done: str | None
    rule: str | None
    reason: Reason | None = None
    missing: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()

    @property
    def verdict(self) -> AgainstVerdict:
        """The result of comparing the two."""
        return verdict_of(self.said, self.done)


class Cell(BaseModel):
    """The number of cases with one pair of `said` and `done`; `weight` is the sum of a fact over them."""

    model_config = ConfigDict(frozen=True)

    said: str
    done: str | None
    cases: int
    weight: Decimal | None = None
    examples: tuple[str, ...] = ()


class OutcomeJudgement(BaseModel):
    """What the rule says against what was done.

    `cells` has every combination, the most frequent first; `groups` has them for each month or decider. `unmapped`
    counts outcomes that no line of the mapping matches. `coverage` is the share of cases for which the rule gives an
    effect and, with a mapping, the effect of the outcome is known. Without a mapping there is nothing to compare:
    `agrees`, `differs` and `consent` are 0. `unweighed` counts cases in cells whose fact to weigh by is not a number.
    """

    model_config = ConfigDict(frozen=True)

    policy: str
    under: str
    hash: str
    mapping: dict[str, str] | None
    cases: int
    agrees: int
    differs: int
    consent: int
    indeterminate: int
    unmapped: int
    not_replayable: dict[str, int]
    compared: dict[str, int]
    """The number of decisions made under each version."""
    cells: tuple[Cell, ...]
    groups: dict[str, dict[str, tuple[Cell, ...]]]
    weight_fact: str | None = None
    unweighed: int = 0
    gaps: bool = False
    filled: int = 0
    open: dict[str, int]
    left_out: int = 0

    @property
    def coverage(self) -> float | None:
        """The share of cases with a result; None if there are no cases."""
        if not self.cases:
            return None
        spoken = self.agrees + self.differs + self.consent + (self.unmapped if self.mapping is None else 0)
        return spoken / self.cases

    @property
    def differing(self) -> float | None:
        """The share of differing cases among those that agree or differ."""
        both = self.agrees + self.differs
        return self.differs / both if both else None


def compared(
    page: Iterable[Recalled], under_which: UnderWhich, mapping: OutcomeMap | None, *, gaps: bool = False
) -> Iterator[AgainstCase]:
    """Yield what a version says about recorded decisions, and what was done."""
    for recalled in page:
        under, policy = under_which(recalled.policy_hash)
        done = None if mapping is None else mapping.done(recalled.more[0])
        yield _case(recalled, under, policy, done, gaps=gaps, mapped=mapping is not None)


def _case(
    recalled: Recalled,
    under: PolicyVersion | None,
    policy: AnyPolicy | None,
    done: str | None,
    *,
    gaps: bool,
    mapped: bool,
) -> AgainstCase:
    reason = not_judgeable(recalled, under, policy)
    if reason is None and mapped and done is None:
        reason = recalled.outcome_closed  # what was done may be in a sealed value that is not opened
    if reason is not None:
        return AgainstCase(recalled.decision_id, recalled.journal, None, done, None, reason)
    assert policy is not None and recalled.facts is not None  # noqa: S101, PT018 - checked above
    said = said_of(policy, recalled.facts, recorded_rule=recalled.rule, gaps=gaps)
    both = said.label == "indeterminate" and recalled.effect == "indeterminate"
    return AgainstCase(
        recalled.decision_id,
        recalled.journal,
        THEN_AND_NOW if both else said.label,
        done,
        said.rule,
        said.reason,
        said.missing,
        said.depends_on,
    )


def verdict_of(said: str | None, done: str | None) -> AgainstVerdict:
    """Compare what the rule says with what was done; a rule that requires approval allows both."""
    if said is None:
        return "not_judged"
    effect = said.partition(":")[0]
    if effect.startswith("indeterminate"):
        return "indeterminate"
    if done is None:
        return "unmapped"
    if effect == done:
        return "agrees"
    return "consent" if effect == "require_approval" else "differs"


class _Cells:
    """Adds cases up into the cells of one table."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None], tuple[int, Decimal, list[str]]] = {}

    def add(self, case: AgainstCase, weight: Decimal) -> None:
        key = (str(case.said), case.done)
        cases, total, examples = self._found.get(key, (0, Decimal(0), []))
        if len(examples) < _EXAMPLES:
            examples.append(case.decision_id)
        self._found[key] = cases + 1, _EXACT.add(total, weight), examples

    def cells(self, *, weighed: bool) -> tuple[Cell, ...]:
        found = [
            Cell(said=said, done=done, cases=cases, weight=total if weighed else None, examples=tuple(examples))
            for (said, done), (cases, total, examples) in self._found.items()
        ]
        return tuple(sorted(found, key=lambda each: (-each.cases, each.said, each.done or "")))


class AgainstTally:
    """Adds cases up one at a time, in memory that grows with the groups and not with the cases."""

    def __init__(
        self,
        under: PolicyVersion | None,
        mapping: OutcomeMap | None,
        *,
        per: Iterable[str] = (),
        weigh: str | None = None,
        gaps: bool = False,
    ) -> None:
        self._under = under
        self._mapping = mapping
        self._weigh = weigh
        self._gaps = gaps
        self._whole = _Cells()
        self._groups: dict[Grouping, dict[str, _Cells]] = {_grouping(each): {} for each in per}
        self._verdicts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._compared: Counter[str] = Counter()
        self._policies: set[str] = set()
        self._open: Counter[str] = Counter()
        self._unweighed = self._filled = self._of_policy = 0

    @property
    def foreign(self) -> int:
        """The number of cases if none of them is of this policy; otherwise 0."""
        return 0 if self._under is None or self._of_policy else self._verdicts.total()

    def add(self, recalled: Recalled, case: AgainstCase) -> None:
        """Count a case."""
        self._verdicts[case.verdict] += 1
        self._compared[recalled.policy_version or OBSERVED] += 1
        self._policies.add(recalled.policy_name or OBSERVED)
        self._of_policy += case.reason != "other_policy"
        if case.reason is not None:
            self._reasons[case.reason] += 1
            if case.reason in ("open", "not_looked_at"):
                self._open[open_words(case.reason, case.depends_on)] += 1
            return
        self._filled += bool(case.missing)
        weight = Decimal(0)
        if self._weigh is not None:
            found = _number((recalled.facts or {}).get(self._weigh))
            self._unweighed += found is None
            weight = found or weight
        self._whole.add(case, weight)
        for grouping, groups in self._groups.items():
            name = _group(grouping, recalled)
            if name not in groups and len(groups) >= _MOST_GROUPS:
                name = _OTHERS
            groups.setdefault(name, _Cells()).add(case, weight)

    def judgement(self, *, left_out: int = 0) -> OutcomeJudgement:
        """Return the sums so far."""
        weighed = self._weigh is not None
        return OutcomeJudgement(
            policy=", ".join(sorted(self._policies)) if self._under is None else self._under.name,
            under=OWN_VERSION if self._under is None else self._under.version,
            hash="" if self._under is None else self._under.hash,
            mapping=None if self._mapping is None else self._mapping.plain,
            cases=self._verdicts.total(),
            agrees=self._verdicts["agrees"],
            differs=self._verdicts["differs"],
            consent=self._verdicts["consent"],
            indeterminate=self._verdicts["indeterminate"],
            unmapped=self._verdicts["unmapped"],
            not_replayable=dict(sorted(self._reasons.items())),
            compared=dict(sorted(self._compared.items())),
            cells=self._whole.cells(weighed=weighed),
            groups={
                grouping: {name: cells.cells(weighed=weighed) for name, cells in sorted(groups.items())}
                for grouping, groups in self._groups.items()
            },
            weight_fact=self._weigh,
            unweighed=self._unweighed,
            gaps=self._gaps,
            filled=self._filled,
            open=dict(self._open.most_common(_MOST_GROUPS)),
            left_out=left_out,
        )


def _grouping(name: str) -> Grouping:
    for each in get_args(Grouping):
        if each == name:
            found: Grouping = each
            return found
    raise AdmissionError(
        f"grouping [{name!r:.40}] of a comparison is unknown; expected one of "
        f"[{', '.join(get_args(Grouping))}]: name one"
    )


def _group(grouping: Grouping, recalled: Recalled) -> str:
    if grouping == "month":
        return datetime_from_us(recalled.decided_at_us).astimezone(UTC).strftime("%Y-%m")
    return decider_of(dict(zip(ALSO, recalled.more, strict=True)))


def _number(value: JsonValue) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
