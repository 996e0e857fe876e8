"""What a turn has seen so far: look-ups, precedents, answers, and what the policy said; a decision takes it along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from loom.decisions.decision import ApprovalGiven, ApprovalReference
from loom.decisions.entries import ContextGatheredEntry, PrecedentFound
from loom.journal.entry import StepReference
from loom.policies.evaluation import Evaluation
from loom.sealing import Parts

__all__ = ["Evaluated", "Gathered", "KeptFacts", "LookedUp"]


class KeptFacts(NamedTuple):
    """Facts with sealed fields: plain, as they are written, what is declared of them, and whose they are.

    `digest` stands for them where others have a plain one; None where none of the sealed fields has a value.
    """

    plain: dict[str, JsonValue]
    written: dict[str, JsonValue]
    declared: Parts
    digest: str | None
    subject: str | None


class Evaluated(NamedTuple):
    """What the pinned policy was asked last, and what it said. `facts` are as they are written."""

    facts: dict[str, JsonValue]
    evaluation: Evaluation
    kept: KeptFacts | None = None
    """The facts in plain, where these are not what is written."""


class LookedUp(NamedTuple):
    """A look-up of the turn: how a decision refers to it, and its entry, which is made where somebody asks for it.

    `plain` is what the code got, where that is not what its entry says.
    """

    reference: StepReference
    entry: Callable[[], ContextGatheredEntry]
    plain: tuple[JsonValue] | None = None


@dataclass(slots=True)
class Gathered:
    """What a turn has seen so far; a decision takes it along."""

    looked_up: list[LookedUp] = field(default_factory=list)
    precedents: list[PrecedentFound] = field(default_factory=list)
    approvals: list[ApprovalGiven] = field(default_factory=list)
    answered: list[ApprovalReference] = field(default_factory=list)
    """Which entries say what is in `approvals`."""
    decisions: list[str] = field(default_factory=list)
    evaluated: Evaluated | None = None
