"""The evaluation of the facts of one case by a policy, and the models of parameters and facts that it reads.

An evaluation is not the outcome: what was done in the end, after an approval, is recorded separately.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from loom.absent import is_none

__all__ = [
    "BAD_FACTS",
    "NO_MATCH",
    "RULE_FAILED",
    "EffectName",
    "Evaluation",
    "Facts",
    "FailedCondition",
    "Params",
    "RuleMiss",
    "Scalar",
]

EffectName: TypeAlias = Literal["allow", "require_approval", "deny", "indeterminate"]
"""The effects of a rule. `indeterminate` means that there is no answer; it never executes."""

Scalar: TypeAlias = bool | int | float | str | None
"""One JSON value that has no parts."""

NO_MATCH = "none"
"""The rule of an evaluation for which no rule matched."""

BAD_FACTS = "facts"
"""The rule of an evaluation whose facts are missing, null or ill-typed."""

RULE_FAILED = "error"
"""The rule of an evaluation whose rule raised, or returned what is not an evaluation."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class FailedCondition(NamedTuple):
    """The condition that failed in a rule of a table, as the table has it: fact, operator, value.

    `value` is what the fact is compared with: what a parameter stands for, a list where the operator takes one.
    """

    fact: str
    operator: str
    value: Scalar | tuple[Scalar, ...]


class RuleMiss(BaseModel):
    """One rule that did not apply, and its failed condition: in words and, for a table, in the form of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    rule: str = Field(min_length=1)
    why: str = Field(min_length=1)
    condition: FailedCondition | None = Field(default=None, exclude_if=is_none)


class Evaluation(BaseModel):
    """The evaluation of the facts of one case by a policy version: the effect, why, and why not otherwise.

    `rule` names the rule that applied, `why_not` has all other rules; `tier` says who has to approve.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    effect: EffectName
    rule: str = Field(min_length=1)
    why: str = Field(min_length=1)
    why_not: tuple[RuleMiss, ...] = ()
    tier: str | None = Field(default=None, min_length=1)
    is_exception: bool = False
    exception_reason: str | None = Field(default=None, min_length=1)
    details: dict[str, Scalar] = Field(default_factory=dict)

    @field_validator("details")
    @classmethod
    def _keys_are_names(cls, details: dict[str, Scalar]) -> dict[str, Scalar]:
        for key in details:
            if not _KEY.match(key):
                raise ValueError(
                    f"key [{key!r}] of the details is not a name; expected [letters, digits, _]: rename it"
                )
        return details

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Evaluation:
        if self.tier is not None and self.effect != "require_approval":
            raise ValueError(f"tier [{self.tier}] is set for [{self.effect}]; expected [require_approval]: drop it")
        if self.exception_reason is not None and not self.is_exception:
            raise ValueError(f"exception reason [{self.exception_reason}] without an exception: set is_exception")
        return self

    @property
    def allowed(self) -> bool:
        """Whether it may be done as it is."""
        return self.effect == "allow"

    @property
    def needs_approval(self) -> bool:
        """Whether it may be done after an approval."""
        return self.effect == "require_approval"

    @property
    def denied(self) -> bool:
        """Whether it may not be done, even with an approval."""
        return self.effect == "deny"


class _Plain(BaseModel):
    """Frozen, strict, closed data: `True` is no integer, NaN is no number, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Params(_Plain):
    """Base of a policy's parameters: the values that can be changed to change its answers."""


class Facts(_Plain):
    """Base of a policy's facts: all data about one case that the rule may use."""
