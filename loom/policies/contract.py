"""What every policy can do, whether its rule is written in Python or as a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel

from loom.policies.canonical import Document, Json
from loom.policies.evaluation import BAD_FACTS, EffectName, Evaluation

__all__ = ["AnyPolicy", "Verdict"]


class Verdict(NamedTuple):
    """The part of an evaluation that counts when two versions are compared, without the words."""

    effect: EffectName
    rule: str
    tier: str | None


class AnyPolicy(ABC):
    """One version of a policy that can be evaluated here and now. Pure: the same facts give the same evaluation."""

    name: str
    version_hash: str

    @property
    @abstractmethod
    def document(self) -> Document:
        """A copy of everything that can change an answer: what the version hash is taken over."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Json]:
        """What belongs to the version and does not count: source, description, author."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, object]:
        """The values of its parameters, as JSON has them."""

    @abstractmethod
    def evaluate(self, facts: BaseModel | Mapping[str, object] | str | bytes) -> Evaluation:
        """Return what the rule says about facts; raise `PolicyRuleError` for a model of the wrong type."""

    @abstractmethod
    def evaluate_json(self, facts: Mapping[str, object] | str | bytes, *, ignore_unknown: bool = False) -> Evaluation:
        """Return what the rule says about facts as they were recorded; a bad fact gives an indeterminate evaluation."""

    def verdict(self, facts: Mapping[str, object]) -> Verdict:
        """Return effect, rule and tier alone, for recorded facts that may be more than this version asks for."""
        said = self.evaluate_json(facts, ignore_unknown=True)
        return Verdict(said.effect, said.rule, said.tier)

    def verdict_again(self, facts: Mapping[str, object], *, recorded_rule: str | None) -> Verdict:
        """Return what is said about facts that some version has judged before, with `recorded_rule`.

        A fact that only this version does not ask for is passed over; one that made the recorded facts bad is not.
        """
        if recorded_rule != BAD_FACTS:
            return self.verdict(facts)
        said = self.evaluate_json(facts)
        return Verdict(said.effect, said.rule, said.tier)

    @abstractmethod
    def departure(self, document: Mapping[str, object]) -> str | None:
        """Return in what this policy differs from one that could run a version, or None if it can."""

    def gives(self, document: Mapping[str, object]) -> bool:
        """Return whether a version can be run with what is at hand."""
        return self.departure(document) is None

    @abstractmethod
    def under(self, document: Mapping[str, object]) -> AnyPolicy:
        """Return the policy that is this version; raise `PolicyCodeChangedError` where it cannot be had."""
