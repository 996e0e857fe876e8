"""The linter: it finds errors in a table before it is used for decisions.

Every condition compares one fact with constants, so each fact's values fall into a few classes that no condition
distinguishes. One value from each class, in every combination, shows all results of the table: which rule can never
apply, which cases have no rule, where two rules hold. If there are too many combinations, the linter says that it has
not examined them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from loom.policies.tables.classes import compared, representatives
from loom.policies.tables.compiled import CompiledTable
from loom.policies.tables.layout import ParameterRef, Row, TableLayout

__all__ = ["Finding", "lint"]

_MAX_CASES = 100_000
_MAX_LOOKS = 5_000_000
"""Cases times rules: some seconds."""

Severity = Literal["error", "warning"]
Code = Literal["never_fires", "unreachable", "gap", "overlap", "unused_parameter", "unused_fact", "too_large"]


class Finding(NamedTuple):
    """A finding of the linter, with its place. A table with an error cannot be registered."""

    severity: Severity
    code: Code
    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


def lint(layout: TableLayout) -> list[Finding]:
    """Return what is wrong with a table, errors first."""
    found = [*_unused(layout)]
    classes = [representatives(layout, name) for name in compared(layout)]
    cases = math.prod(len(each) for each in classes)
    if cases > _MAX_CASES or cases * len(layout.rows) > _MAX_LOOKS:
        what = f"{_MAX_CASES} kinds of cases" if cases > _MAX_CASES else f"{_MAX_LOOKS} kinds of cases times rules"
        words = f"more than {what}: reach, gaps and overlaps were not looked at"
        found.append(Finding("warning", "too_large", "rules", words))
    else:
        found += _Cases(layout, classes).findings()
    return sorted(found, key=lambda finding: finding.severity != "error")


class _Cases:
    """The results of the rows of a table in every kind of case."""

    def __init__(self, layout: TableLayout, classes: list[list[Any]]) -> None:
        self._layout = layout
        self._compared = compared(layout)
        self._held: set[str] = set()
        self._hit: set[str] = set()
        self._before: dict[str, set[str]] = {}
        self._gap: dict[str, Any] | None = None
        self._overlaps: dict[tuple[str, str], dict[str, Any]] = {}
        place = {name: index for index, name in enumerate(layout.facts)}
        compiled = CompiledTable(layout)
        values: list[Any] = [None] * len(place)
        for case in itertools.product(*classes):
            for name, value in zip(self._compared, case, strict=True):
                values[place[name]] = value
            self._note(compiled.matching(values), case)

    def findings(self) -> Iterator[Finding]:
        """Yield the findings."""
        unique = self._layout.hit_policy == "unique"
        for row in self._layout.rows:
            if row.name not in self._held:
                severity = _severity([row])
                yield Finding(severity, "never_fires", f"rule [{row.name}]", "no facts make all of its conditions hold")
            elif row.name not in self._hit:
                before = self._before[row.name]
                earlier = ", ".join(sorted(before))
                severity = _severity([row, *(each for each in self._layout.rows if each.name in before)])
                yield Finding(
                    severity, "unreachable", f"rule [{row.name}]", f"[{earlier}] comes first whenever it holds"
                )
        for (first, second), case in self._overlaps.items():
            words = f"[{first}] and [{second}] both hold where {self._case_in_words(case)}"
            yield Finding("error" if unique else "warning", "overlap", f"rule [{second}]", words)
        if self._gap is not None:
            yield Finding("warning", "gap", "rules", f"no rule covers the case where {self._case_in_words(self._gap)}")

    def _note(self, rows: list[Row], case: tuple[Any, ...]) -> None:
        names = [row.name for row in rows]
        self._held.update(names)
        if not rows:
            self._gap = self._gap or dict(zip(self._compared, case, strict=True))
            return
        self._hit.add(names[0])
        for index, name in enumerate(names[1:], start=1):
            self._before.setdefault(name, set()).add(names[0])
            second = rows[index]
            if second is self._layout.otherwise or rows[0] in self._layout.limits:
                continue
            if self._layout.hit_policy == "unique" or (rows[0].effect, rows[0].tier) != (second.effect, second.tier):
                self._overlaps.setdefault((names[0], name), dict(zip(self._compared, case, strict=True)))

    def _case_in_words(self, case: dict[str, Any]) -> str:
        return ", ".join(f"{name} is {_as_text(value)}" for name, value in case.items()) or "nothing is asked"


def _severity(rows: Iterable[Row]) -> Severity:
    """Return `error`, or `warning` where it depends on parameters, which may be tuned within their bounds."""
    tuned = any(isinstance(each, ParameterRef) for row in rows for c in row.when for each in c.operands)
    return "warning" if tuned else "error"


def _as_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unused(layout: TableLayout) -> Iterator[Finding]:
    conditions = [condition for row in layout.rows for condition in row.when]
    params = {each.param for c in conditions for each in c.operands if isinstance(each, ParameterRef)}
    for name in layout.parameters:
        if name not in params:
            yield Finding("warning", "unused_parameter", f"parameter [{name}]", "no condition looks at it")
    for name in layout.facts:
        if name not in {condition.fact for condition in conditions}:
            yield Finding("warning", "unused_fact", f"fact [{name}]", "no condition looks at it")
