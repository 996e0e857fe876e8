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
    """The part of an evaluation that counts when two versions are compared, without the text."""

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
        """A copy of everything that can change an answer. The version hash is computed from it."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Json]:
        """What belongs to the version and does not count: source, description, author."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, object]:
        """The values of its parameters, in JSON form."""

    @abstractmethod
    def evaluate(self, facts: BaseModel | Mapping[str, object] | str | bytes) -> Evaluation:
        """Return the evaluation of facts; raise `PolicyRuleError` for a model of the wrong type."""

    @abstractmethod
    def evaluate_json(self, facts: Mapping[str, object] | str | bytes, *, ignore_unknown: bool = False) -> Evaluation:
        """Return the evaluation of recorded facts; an invalid fact gives an indeterminate evaluation."""

    def verdict(self, facts: Mapping[str, object]) -> Verdict:
        """Return effect, rule and tier alone, for recorded facts that may be more than this version asks for."""
        said = self.evaluate_json(facts, ignore_unknown=True)
        return Verdict(said.effect, said.rule, said.tier)

    def verdict_again(self, facts: Mapping[str, object], *, recorded_rule: str | None) -> Verdict:
        """Return the evaluation of facts that another version has judged before, with `recorded_rule`.

        A fact that this version does not ask for is ignored, unless it made the recorded facts invalid.
        """
        if recorded_rule != BAD_FACTS:
            return self.verdict(facts)
        said = self.evaluate_json(facts)
        return Verdict(said.effect, said.rule, said.tier)

    @abstractmethod
    def departure(self, document: Mapping[str, object]) -> str | None:
        """Return why this policy cannot run a version, or None if it can."""

    def gives(self, document: Mapping[str, object]) -> bool:
        """Return whether this policy can run a version."""
        return self.departure(document) is None

    @abstractmethod
    def under(self, document: Mapping[str, object]) -> AnyPolicy:
        """Return the policy that is this version; raise `PolicyCodeChangedError` where there is none."""
