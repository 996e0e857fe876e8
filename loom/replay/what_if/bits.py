"""One table over columns: for each case, which of its conditions fail, as one number with a bit for each condition.

A row applies where none of its bits is set, so the number alone gives the answer of the table. There are few different
numbers, however many cases there are.
"""

from __future__ import annotations

from decimal import Decimal
from operator import or_
from typing import Any, NamedTuple, TypeAlias

from loom.policies.evaluation import NO_MATCH
from loom.policies.tables.compiled import UNUSABLE, condition_test, reader_of
from loom.policies.tables.layout import Condition, Row, Scalar, TableFact, TableLayout
from loom.replay.saying import label
from loom.replay.what_if.columns import Alive, Columns
from loom.replay.what_if.results import Span

__all__ = ["Answer", "FailedBits", "Shape"]

_FactKey: TypeAlias = tuple[Any, ...]


class Answer(NamedTuple):
    """What a table says: the effect, or effect and tier, and the rule."""

    label: str
    rule: str


class Shape:
    """The rows of a table as masks of conditions: a row applies if none of its conditions fails."""

    def __init__(self, layout: TableLayout) -> None:
        self.layout = layout
        self.rows: list[tuple[int, Row]] = []
        self.conditions: list[Condition] = []
        for row in layout.rows:
            mask = ((1 << len(row.when)) - 1) << len(self.conditions)
            self.rows.append((mask, row))
            self.conditions += row.when
        self.unusable = 1 << len(self.conditions)
        """The bit that says that a fact is null, ill-typed or out of its bounds."""
        self.missing = {name: self.unusable << place for place, name in enumerate(layout.facts, start=1)}
        """For each fact, the bit that says that it is missing."""
        self._limits = len(layout.limits)
        self._rules = self._limits + len(layout.rules)
        self._known: dict[int, Answer] = {}

    @property
    def is_unique(self) -> bool:
        """Whether only one rule may hold."""
        return self.layout.hit_policy == "unique"

    def answer(self, fails: int) -> Answer:
        """Return the answer for a case whose facts are all usable, by the conditions that fail."""
        found = self._known.get(fails)
        if found is None:
            place = self.place(fails, unique=self.is_unique)
            found = self._known[fails] = self.answered(None if place is None else self.rows[place][1])
        return found

    def place(self, fails: int, *, unique: bool) -> int | None:
        """Return the place of the row that applies; None where no row does, or several do but only one may."""
        hits = [place for place, (mask, _) in enumerate(self.rows) if not fails & mask]
        rules = [place for place in hits if self._limits <= place < self._rules]
        if not hits or (unique and len(rules) > 1 and hits[0] == rules[0]):
            return None
        return hits[0]

    def answered(self, row: Row | None) -> Answer:
        """Return the answer that a row is."""
        return Answer("indeterminate", NO_MATCH) if row is None else Answer(label(row.effect, row.tier), row.name)


class FailedBits:
    """Finds the failed conditions of every case; what has not changed since the last table is not tested again."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._read: dict[str, tuple[TableFact, list[Any]]] = {}
        self._spans: dict[str, tuple[tuple[TableFact, list[Any]], Span | None]] = {}
        self._cases: dict[str, dict[_FactKey, list[int]]] = {}

    def of(self, shape: Shape, alive: Alive) -> list[int]:
        """Return the failed conditions of each case under a table."""
        fails: list[int] | None = None
        for name in shape.layout.facts:
            alive()
            bits = self._fact(name, shape)
            fails = bits if fails is None else list(map(or_, fails, bits))
        return [0] * len(self._columns) if fails is None else fails

    def spans(self, layout: TableLayout) -> dict[str, Span]:
        """Return the smallest and the largest recorded value of each fact that is a number."""
        found = {}
        for name, fact in layout.facts.items():
            if fact.type in ("integer", "decimal") and name in self._read:
                known = self._read[name]
                if name not in self._spans or self._spans[name][0] is not known:
                    usable = [each for each in known[1] if each is not UNUSABLE]
                    self._spans[name] = known, _span(usable)
                if (span := self._spans[name][1]) is not None:
                    found[name] = span
        return found

    def _fact(self, name: str, shape: Shape) -> list[int]:
        """Return the failed conditions on one fact; the last few results are kept."""
        layout = shape.layout
        own = [(1 << place, each) for place, each in enumerate(shape.conditions) if each.fact == name]
        values: list[tuple[Scalar, ...]] = [tuple(map(layout.value, each.operands)) for _, each in own]
        tests = tuple((bit, each.operator, _typed(operands)) for (bit, each), operands in zip(own, values, strict=True))
        key: _FactKey = (layout.facts[name], shape.unusable, tests)
        known = self._cases.setdefault(name, {})
        found = known.pop(key, None)
        if found is None:
            of_value = self._of_values(name, shape, own)
            found = list(map(of_value.__getitem__, self._columns.facts[name].codes))
        known[key] = found  # the newest last
        while len(known) > _MOST_KEPT:
            del known[next(iter(known))]
        return found

    def _of_values(self, name: str, shape: Shape, own: list[tuple[int, Condition]]) -> list[int]:
        """Return the failed conditions on a fact for each of its different values; the first is the absent one."""
        fact = shape.layout.facts[name]
        known = self._read.get(name)
        if known is None or known[0] != fact:
            reader = reader_of(fact)
            known = self._read[name] = fact, [reader(each) for each in self._columns.facts[name].values]
        read = known[1]
        bits = [shape.unusable if each is UNUSABLE else 0 for each in read]
        for bit, condition in own:
            holds = condition_test(shape.layout, condition)
            bits = [
                known if value is UNUSABLE or holds(value) else known | bit
                for known, value in zip(bits, read, strict=True)
            ]
        bits[0] = shape.missing[name]
        return bits


def _span(values: list[Any]) -> Span | None:
    """Return the ends of numbers; None if there are none."""
    if not values:
        return None
    low, high = min(values), max(values)
    if isinstance(low, Decimal):
        return Span(low=format(low, "f"), high=format(high, "f"))
    return Span(low=low, high=high)


_MOST_KEPT = 3


def _typed(operands: tuple[Scalar, ...]) -> tuple[tuple[type, Scalar], ...]:
    return tuple((type(each), each) for each in operands)  # true and 1 are equal
