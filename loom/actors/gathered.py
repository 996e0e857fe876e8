"""What a turn has gathered so far for its decision: look-ups, precedents, approvals and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel, JsonValue

from loom.decisions.decision import ApprovalGiven, ApprovalReference
from loom.decisions.entries import ContextGatheredEntry, PrecedentFound
from loom.journal.entry import StepReference
from loom.policies.evaluation import Evaluation
from loom.sealing import Parts

__all__ = ["Approved", "Evaluated", "Gathered", "KeptFacts", "LookedUp"]


class KeptFacts(NamedTuple):
    """Facts with sealed fields: in plain, as they are written, their declarations, and their subjects.

    `digest` replaces the plain digest that other facts have; None where none of the sealed fields has a value.
    """

    plain: dict[str, JsonValue]
    written: dict[str, JsonValue]
    declared: Parts
    digest: str | None
    subject: str | None


class Evaluated(NamedTuple):
    """The last evaluation by the pinned policy, with its facts. `facts` are as they are written."""

    facts: dict[str, JsonValue]
    evaluation: Evaluation
    kept: KeptFacts | None = None
    """The facts in plain, where they differ from what is written."""
    given: BaseModel | Mapping[str, object] | None = None
    """The facts as the code of the actor gave them."""


class LookedUp(NamedTuple):
    """A look-up of the turn: how a decision refers to it, and its entry, which is built on demand.

    `plain` is the value that the code got, where it differs from the entry.
    """

    reference: StepReference
    entry: Callable[[], ContextGatheredEntry]
    plain: tuple[JsonValue] | None = None


@dataclass(slots=True)
class Approved:
    """An answered request of the turn: the effect that it names, and the key of the effect that was performed."""

    given: ApprovalGiven
    action: str | None
    bound: str | None
    key: str | None = None


@dataclass(slots=True)
class Gathered:
    """What a turn has gathered so far; its decision refers to it."""

    looked_up: list[LookedUp] = field(default_factory=list)
    precedents: list[PrecedentFound] = field(default_factory=list)
    approvals: list[ApprovalGiven] = field(default_factory=list)
    answered: list[ApprovalReference] = field(default_factory=list)
    """The entries of the answers in `approvals`."""
    approved: dict[str, Approved] = field(default_factory=dict)
    """The answered requests, by approval id."""
    decisions: list[str] = field(default_factory=list)
    evaluated: Evaluated | None = None
    model_calls: int = 0
    """The number of calls of models that it has begun, those included that a resumed turn was given again."""
