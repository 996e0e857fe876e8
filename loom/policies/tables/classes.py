"""The classes of values that a table can tell apart, and what it does in every combination of them.

Every condition compares one fact with constants, so the values of each fact fall into a few classes in which no
condition can tell them apart. The class of a value is the set of rows that it does not rule out, kept as a bit mask
with one bit a row; the rows that match a case are the bits that the masks of all of its facts share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple, TypeVar

from loom.journal.admission import MAX_INTEGER
from loom.policies.evaluation import EffectName
from loom.policies.tables.compiled import CompiledTable, condition_test
from loom.policies.tables.layout import Row, TableLayout, number, read

__all__ = ["Outcome", "ValueClasses", "compared", "deciding", "representatives"]

T = TypeVar("T")

_EXACT = Context(prec=100)
"""Enough digits for every decimal that may be written, whatever the process has set."""
_FINEST = Decimal("1e-30")
_MAX_KEPT = 10_000


class Outcome(NamedTuple):
    """The result of a table: the row that applies, or None where no row does, or several do although only one may."""

    row: Row | None

    @property
    def effect(self) -> EffectName:
        """The effect of the row; `indeterminate` without one."""
        return "indeterminate" if self.row is None else self.row.effect


class ValueClasses:
    """The classes of each fact of a table, and the results of the table by the masks of a case."""

    def __init__(self, layout: TableLayout) -> None:
        self.layout = layout
        self.names = tuple(compared(layout))
        """The facts that a condition uses, in the order of the table."""
        self._compiled = CompiledTable(layout)
        self._rows = layout.rows
        self._all = (1 << len(self._rows)) - 1
        self._limits = (1 << len(layout.limits)) - 1
        self._rules = ((1 << len(layout.rules)) - 1) << len(layout.limits)
        self._unique = layout.hit_policy == "unique"
        self._tests = {name: _tests(layout, name) for name in self.names}
        self._known: dict[str, dict[Any, int]] = {name: {} for name in self.names}
        self._outcomes: dict[int, Outcome] = {}
        self._masks: dict[str, tuple[int, ...]] = {}

    def mask(self, name: str, value: Any) -> int:
        """Return the rows that a value, in its compared form, does not rule out."""
        known = self._known[name]
        mask = known.get(value)
        if mask is None:
            mask = self._all
            for bit, holds in self._tests[name]:
                if not holds(value):
                    mask &= ~bit
            if len(known) < _MAX_KEPT:
                known[value] = mask
        return mask

    def masks(self, name: str) -> tuple[int, ...]:
        """Return the different masks that the values of a fact can have."""
        found = self._masks.get(name)
        if found is None:
            values = representatives(self.layout, name)
            found = self._masks[name] = tuple(dict.fromkeys(self.mask(name, each) for each in values))
        return found

    def narrowed(self, values: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
        """Return the rows that no value rules out, and the missing facts that a condition uses."""
        mask, missing = self._all, []
        for name in self.names:
            if name in values:
                mask &= self.mask(name, values[name])
            else:
                missing.append(name)
        return mask, tuple(missing)

    def filled(self, mask: int, missing: Sequence[str], *, most: int) -> dict[tuple[int, ...], Outcome] | None:
        """Return the outcome of every way to fill gaps that the table can tell apart; None above `most` of them."""
        choices = [self.masks(name) for name in missing]
        if math.prod(map(len, choices)) > most:
            return None
        outcomes = {}
        for combination in itertools.product(*choices):
            left = mask
            for each in combination:
                left &= each
            outcomes[combination] = self.outcome(left)
        return outcomes

    def outcome(self, mask: int) -> Outcome:
        """Return the result of the table where these rows match."""
        outcome = self._outcomes.get(mask)
        if outcome is None:
            outcome = self._outcomes[mask] = Outcome(self._hit(mask))
        return outcome

    def rows_with(self, effect: EffectName) -> int | None:
        """Return the mask of the rows with an effect; None where a case without any row has it, too."""
        if effect == "indeterminate":
            return None
        return sum(1 << number for number, row in enumerate(self._rows) if row.effect == effect)

    @property
    def everything(self) -> int:
        """The mask of all rows: a case without any known fact."""
        return self._all

    def _hit(self, mask: int) -> Row | None:
        rules = mask & self._rules
        if self._unique and not mask & self._limits and rules.bit_count() > 1:
            return None
        lowest = mask & -mask
        return self._rows[lowest.bit_length() - 1] if lowest else None


def deciding(answers: Mapping[tuple[int, ...], T], missing: Sequence[str]) -> tuple[str, ...]:
    """Return the missing facts of which one alone can change the answer, all others being equal.

    There is one where answers differ: between two combinations that differ, one fact after the other can be changed.
    """
    found = []
    for place, name in enumerate(missing):
        seen: dict[tuple[int, ...], T] = {}
        for combination, answer in answers.items():
            if seen.setdefault(combination[:place] + combination[place + 1 :], answer) != answer:
                found.append(name)
                break
    return tuple(found)


def compared(layout: TableLayout) -> list[str]:
    """Return the facts that a condition uses, in the order of the table."""
    used = {condition.fact for row in layout.rows for condition in row.when}
    return [name for name in layout.facts if name in used]


def constants(layout: TableLayout, name: str) -> set[Any]:
    """Return the values that a fact is compared with, in their compared form."""
    fact = layout.facts[name]
    conditions = [condition for row in layout.rows for condition in row.when if condition.fact == name]
    return {read(fact.type, layout.value(each)) for condition in conditions for each in condition.operands}


def representatives(layout: TableLayout, name: str) -> list[Any]:
    """Return at least one value from each class of values that the conditions distinguish."""
    fact = layout.facts[name]
    if fact.type == "boolean":
        return [False, True]
    if fact.type == "string":
        if fact.values is not None:
            return list(fact.values)
        return _texts({str(each) for each in constants(layout, name)})
    low = None if fact.min is None else read(fact.type, fact.min)
    high = None if fact.max is None else read(fact.type, fact.max)
    ordered = sorted(constants(layout, name) | {bound for bound in (low, high) if bound is not None})
    points: Iterable[Any] = _integers(ordered) if fact.type == "integer" else _decimals(ordered)
    return [each for each in points if (low is None or each >= low) and (high is None or each <= high)]


def _tests(layout: TableLayout, name: str) -> list[tuple[int, Any]]:
    return [
        (1 << number, condition_test(layout, condition))
        for number, row in enumerate(layout.rows)
        for condition in row.when
        if condition.fact == name
    ]


def _integers(ordered: list[int]) -> list[int]:
    around = {each + step for each in ordered for step in (-1, 0, 1)}
    return sorted(each for each in around if abs(each) <= MAX_INTEGER)


def _decimals(ordered: list[Decimal]) -> list[Decimal]:
    """Return each constant, one decimal between each two and one beyond either end, as far as they can be written."""
    between = [
        middle
        if _can_be_written(middle := _EXACT.divide(_EXACT.add(low, high), Decimal(2)))
        else _EXACT.add(low, _FINEST)
        for low, high in itertools.pairwise(ordered)
    ]
    beyond = [
        each
        for end, sign in ((ordered[0], -1), (ordered[-1], 1))
        for step in (Decimal(1), _FINEST)
        if _can_be_written(each := _EXACT.add(end, step * sign))
    ]
    return sorted({*ordered, *between, *beyond})


def _can_be_written(value: Decimal) -> bool:
    return number(format(value, "f")) is not None


def _texts(known: set[str]) -> list[str]:
    """Return each constant, a text that only begins with it, and a text unlike all of them."""
    sign = next(sign for sign in map(chr, itertools.count(ord("…"))) if not any(sign in each for each in known))
    return sorted(known | {f"{each}{sign}" for each in known} | {sign})
