"""The answer of a table with missing facts: decided whatever they are, or open, and on which of them it depends.

This is for reading only. Live evaluation does not change: there a missing fact gives `indeterminate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from loom.policies.evaluation import EffectName
from loom.policies.tables.classes import ValueClasses, deciding
from loom.policies.tables.compiled import Bad, CompiledTable

__all__ = ["Partial", "PartialTable"]

MAX_COMBINATIONS = 100_000
"""The number of combinations of classes above which the answer is `not_looked_at`."""

_MAX_KEPT = 100_000

PartialState: TypeAlias = Literal["decided", "open", "not_looked_at", "unusable"]


class Partial(NamedTuple):
    """The answer for a case with gaps.

    - `decided`: every way to fill the gaps has this `effect`; `rule` and `tier` are given where they are the same, too.
    - `open`: the effect depends on the facts in `depends_on`; each of them alone can change it.
    - `not_looked_at`: there are more than 100,000 combinations of classes.
    - `unusable`: a fact is null or ill-typed, as `problem` says; a gap is a fact that is not there at all.
    """

    state: PartialState
    missing: tuple[str, ...] = ()
    effect: EffectName | None = None
    rule: str | None = None
    tier: str | None = None
    depends_on: tuple[str, ...] = ()
    problem: str = ""

    @property
    def words(self) -> str:
        """The same for people."""
        if self.state == "decided":
            whatever = f", whatever [{', '.join(self.missing)}] {'is' if len(self.missing) == 1 else 'are'}"
            return f"decided: {self.effect}{whatever if self.missing else ''}"
        if self.state == "open":
            return f"open: depends on [{', '.join(self.depends_on)}]"
        return "open: not looked at" if self.state == "not_looked_at" else f"unusable: {self.problem}"


class PartialTable:
    """Answers for a table with gaps; results are cached by class of cases."""

    def __init__(self, compiled: CompiledTable, classes: ValueClasses) -> None:
        self._compiled = compiled
        self._classes = classes
        self._known: dict[tuple[int, tuple[str, ...]], Partial] = {}

    def partial(self, facts: Mapping[str, object]) -> Partial:
        """Return the answer for facts, some of which may be missing; unknown ones are ignored."""
        values = self._compiled.read(facts)
        if isinstance(values, Bad):
            return Partial("unusable", problem=values.words)
        key = self._classes.narrowed(values)
        found = self._known.get(key)
        if found is None:
            found = self._look(*key)
            if len(self._known) < _MAX_KEPT:
                self._known[key] = found
        return found

    def _look(self, mask: int, missing: tuple[str, ...]) -> Partial:
        """Fill the gaps in every way that the table distinguishes."""
        outcomes = self._classes.filled(mask, missing, most=MAX_COMBINATIONS)
        if outcomes is None:
            return Partial("not_looked_at", missing)
        effects = {combination: each.effect for combination, each in outcomes.items()}
        if len(set(effects.values())) > 1:
            return Partial("open", missing, depends_on=deciding(effects, missing))
        rows = {None if each.row is None else (each.row.name, each.row.tier) for each in outcomes.values()}
        [effect] = set(effects.values())
        rule, tier = next(iter(rows)) or (None, None) if len(rows) == 1 else (None, None)
        return Partial("decided", missing, effect, rule, tier)
