"""Outcomes alone: classes by the outcome and nothing else, for decisions without an equivalence rule.

It is a constant of drift and no registered rule: actors cannot use its classes, and nothing is journaled under it. All
cases are one situation, so "who came" means nothing under it.
"""

from __future__ import annotations

import hashlib
import json

import rfc8785

from loom.decisions.decision import PrecedentClass
from loom.journal.admission import json_value
from loom.policies.canonical import Json
from loom.precedents.attributes import exact_value
from loom.precedents.equivalence import EquivalenceRule, Given, KeyOf

__all__ = ["OUTCOMES_ALONE", "OutcomesAlone"]

OUTCOMES_ALONE = "outcomes alone"
"""The name for `rule=`: `rule="outcomes alone"`."""

_DOMAIN = b"loom/drift/outcomes-alone/v1\n"


class OutcomesAlone(EquivalenceRule):
    """Two decisions are alike whose recorded outcomes are equal, whatever their facts."""

    def __init__(self) -> None:
        self.name = OUTCOMES_ALONE
        self.attributes = ()
        self.outcome = ()

    def document(self) -> dict[str, Json]:
        """Return its declaration, which is a constant."""
        return {"format": "loom.drift/outcomes-alone", "name": self.name, "attributes": [], "outcome": []}

    def classify(
        self, facts: Given, outcome: Given, *, context: Given | None = None, key_of: KeyOf | None = None
    ) -> PrecedentClass:
        """Return the one situation, and the class of an outcome."""
        situation = hashlib.sha256(_DOMAIN + b"situation").hexdigest()
        precedent = hashlib.sha256(_DOMAIN + self.outcome_key(outcome).encode()).hexdigest()
        return PrecedentClass(rule=self.hash, situation=situation, precedent=precedent)

    def outcome_key(self, outcome: Given) -> str:
        """Return an outcome as canonical text."""
        plain = json_value(dict(outcome))
        return rfc8785.dumps(exact_value(plain, "outcome")).decode()

    def describe(self, facts: Given, outcome: Given | None = None, *, context: Given | None = None) -> dict[str, str]:
        """Return the outcome in words."""
        return {} if outcome is None else {"outcome": self.outcome_in_words(outcome)}

    def named(self, facts: Given, outcome: Given | None = None, *, context: Given | None = None) -> str:
        """Return the name of a class: that of its outcome."""
        return "any case" if outcome is None else f"any case → {self.outcome_in_words(outcome)}"

    def outcome_in_words(self, outcome: Given) -> str:
        """Return an outcome as `name value`."""
        plain = json_value(dict(outcome))
        assert isinstance(plain, dict)  # noqa: S101 - a mapping is an object
        said = (
            f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in sorted(plain.items())
        )
        return ", ".join(said) or "nothing"
