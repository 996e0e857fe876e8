"""Semantics 2: a table with `missing: three_valued` answers where its answer is the same whatever is missing.

Effect, tier and exception must be the same over every way to fill the gaps that the table distinguishes. These ways are
counted as combinations of classes: for each missing fact, the number of different sets of rows that its values do not
rule out.
Above 100,000 the answer is indeterminate. This is behaviour under a version hash: it never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from loom.policies.evaluation import BAD_FACTS, Evaluation
from loom.policies.tables.classes import ValueClasses, deciding
from loom.policies.tables.compiled import Bad, CompiledTable
from loom.policies.tables.layout import Row

__all__ = ["SEVERAL", "Answer", "ThreeValued"]

SEVERAL = "several"
"""The rule of an evaluation that several rules give, depending on what is missing; no row of such a table has it."""

_MAX_COMBINATIONS = 100_000
_MAX_KEPT = 10_000

_Key: TypeAlias = tuple[int, tuple[str, ...]]
_Alike: TypeAlias = tuple[str, str | None, str | None]


class Answer(NamedTuple):
    """The answer for a case with gaps: the rows that can apply, if all give the same; otherwise the deciding facts."""

    missing: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    depends_on: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_decided(self) -> bool:
        """Whether it is the same whatever is missing."""
        return bool(self.rows)

    def undecided(self) -> Evaluation:
        """Return the evaluation of a case that is not decided."""
        names = ", ".join(self.missing)
        details = {"missing": names, **({"depends_on": ", ".join(self.depends_on)} if self.depends_on else {})}
        why = f"fact [{names}] is missing; {self.problem}"
        return Evaluation(effect="indeterminate", rule=BAD_FACTS, why=why, details=dict(details))


class ThreeValued:
    """Answers for one table; results are cached by class of cases."""

    def __init__(self, compiled: CompiledTable, classes: ValueClasses) -> None:
        self._compiled = compiled
        self._classes = classes
        self._names = tuple(classes.layout.facts)
        self._known: dict[_Key, Answer] = {}

    def answer(self, facts: Mapping[str, object]) -> Answer | None:
        """Return the answer for facts with missing ones; None where none is missing, or one is null or ill-typed."""
        values = self._compiled.read(facts)
        missing = tuple(name for name in self._names if name not in values) if isinstance(values, dict) else ()
        if isinstance(values, Bad) or not missing:
            return None
        key = (self._classes.narrowed(values)[0], missing)
        found = self._known.get(key)
        if found is None:
            found = self._look(*key)
            if len(self._known) < _MAX_KEPT:
                self._known[key] = found
        return found

    def _look(self, mask: int, missing: tuple[str, ...]) -> Answer:
        asked = [name for name in self._classes.names if name in missing]
        outcomes = self._classes.filled(mask, asked, most=_MAX_COMBINATIONS)
        if outcomes is None:
            return Answer(missing, problem="there are too many ways to fill it to look at")
        hits = {combination: each.row for combination, each in outcomes.items()}
        alike = {combination: _alike(row) for combination, row in hits.items()}
        if len(set(alike.values())) > 1:
            depends_on = deciding(alike, asked)
            return Answer(missing, depends_on=depends_on, problem=f"the answer depends on [{', '.join(depends_on)}]")
        rows = {row.name: row for row in hits.values() if row is not None}
        if len(rows) == 0 or None in hits.values():
            return Answer(missing, problem="whatever it is, no rule gives an answer")
        ordered = tuple(row for row in self._classes.layout.rows if row.name in rows)
        return Answer(missing, rows=ordered)


def _alike(row: Row | None) -> _Alike:
    return ("indeterminate", None, None) if row is None else (row.effect, row.tier, row.exception)
