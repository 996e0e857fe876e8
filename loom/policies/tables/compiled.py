"""A compiled table: every condition is a test of one value, every fact a check of its type."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from loom.journal.admission import MAX_INTEGER
from loom.policies.contract import Verdict
from loom.policies.evaluation import BAD_FACTS, NO_MATCH
from loom.policies.tables.layout import Condition, Row, TableFact, TableLayout, number, read

__all__ = ["UNUSABLE", "Bad", "CompiledTable", "condition_test", "reader_of"]

Test: TypeAlias = Callable[[Any], bool]

_NOTHING = object()
UNUSABLE = _NOTHING
"""What a reader returns for a value that does not fit its fact."""
_LONGEST_NAME = 64
_ENDLESS = float("inf")
_BAD_FACTS = Verdict("indeterminate", BAD_FACTS, None)
_NO_MATCH = Verdict("indeterminate", NO_MATCH, None)


class Bad(NamedTuple):
    """Facts that cannot be evaluated: problem → names."""

    problems: dict[str, list[str]]

    @property
    def words(self) -> str:
        """The same for people."""
        return "; ".join(f"{problem} [{', '.join(names)}]" for problem, names in self.problems.items())


class _Test(NamedTuple):
    place: int
    holds: Test
    condition: Condition


class CompiledTable:
    """The tests of a table in their order. Facts are read once into a list; the tests use indexes into it."""

    def __init__(self, layout: TableLayout) -> None:
        self._layout = layout
        self._names = tuple(layout.facts)
        self._readers = [(name, reader_of(fact)) for name, fact in layout.facts.items()]
        index = {name: number for number, name in enumerate(self._names)}
        self._rows = [
            (
                row,
                tuple(_Test(index[c.fact], condition_test(layout, c), c) for c in row.when),
                Verdict(row.effect, row.name, row.tier),
            )
            for row in layout.rows
        ]
        self._quick = [(tuple((t.place, t.holds) for t in tests), verdict) for _, tests, verdict in self._rows]
        self._tests = {id(row): tests for row, tests, _ in self._rows}
        self._unique = layout.hit_policy == "unique"

    def verdict(self, facts: Mapping[str, object]) -> Verdict:
        """Return the verdict of a table, without the text; facts that it does not ask for are ignored."""
        get = facts.get  # not [], which a mapping may override
        values = [reader(get(name, _NOTHING)) for name, reader in self._readers]
        if _NOTHING in values:
            return _BAD_FACTS
        if self._unique:
            hit, _ = self.hit(values)
            return _NO_MATCH if hit is None else Verdict(hit.effect, hit.name, hit.tier)
        for tests, verdict in self._quick:
            for index, holds in tests:
                if not holds(values[index]):
                    break
            else:
                return verdict
        return _NO_MATCH

    def values(self, facts: Mapping[str, object], *, ignore_unknown: bool) -> list[Any] | Bad:
        """Return the facts in the order of the table, or what is wrong with them."""
        problems: dict[str, list[str]] = {}
        values = []
        for name, reader in self._readers:
            given = facts.get(name, _NOTHING)
            value = _NOTHING if given is _NOTHING else reader(given)
            values.append(value)
            if value is _NOTHING:
                problem = "missing" if given is _NOTHING else "null" if given is None else "ill_typed"
                problems.setdefault(problem, []).append(name)
        unknown = [] if ignore_unknown else [_shown_name(name) for name in facts if name not in self._layout.facts]
        if unknown:
            problems["unknown"] = unknown
        return Bad(problems) if problems else values

    def read(self, facts: Mapping[str, object]) -> dict[str, Any] | Bad:
        """Return the given facts in their compared form, or the null or ill-typed ones; the others are missing."""
        problems: dict[str, list[str]] = {}
        values = {}
        for name, reader in self._readers:
            given = facts.get(name, _NOTHING)
            if given is _NOTHING:
                continue
            value = reader(given)
            if value is _NOTHING:
                problems.setdefault("null" if given is None else "ill_typed", []).append(name)
            values[name] = value
        return Bad(problems) if problems else values

    def hit(self, values: list[Any]) -> tuple[Row | None, str]:
        """Return the row that applies; None where no row does, or several do but only one may, with their names."""
        otherwise = self._layout.otherwise
        hits = [row for row, tests, _ in self._rows if all(holds(values[index]) for index, holds, _ in tests)]
        rules = [row for row in hits if row is not otherwise and row not in self._layout.limits]
        if self._unique and len(rules) > 1 and hits[0] in rules:
            return None, ", ".join(row.name for row in rules)
        return (hits[0] if hits else None), ""

    def matching(self, values: list[Any]) -> list[Row]:
        """Return every row whose conditions hold."""
        return [row for row, tests, _ in self._rows if all(holds(values[index]) for index, holds, _ in tests)]

    def failed(self, row: Row, values: list[Any]) -> tuple[Condition, Any] | None:
        """Return the first condition of a row that fails, with the value that fails it."""
        return next(
            (
                (condition, values[index])
                for index, holds, condition in self._tests[id(row)]
                if not holds(values[index])
            ),
            None,
        )


def reader_of(fact: TableFact) -> Callable[[Any], Any]:
    """Return the function from a fact in JSON form to the value to compare, or `UNUSABLE` where it does not fit."""
    if fact.type == "boolean":
        return lambda value: value if type(value) is bool else _NOTHING
    if fact.type == "string":
        known = None if fact.values is None else frozenset(fact.values)
        if known is not None:
            return lambda value: value if type(value) is str and value in known else _NOTHING
        return lambda value: value if type(value) is str and (value.isascii() or _can_be_kept(value)) else _NOTHING
    low = -_ENDLESS if fact.min is None else read(fact.type, fact.min)
    high = _ENDLESS if fact.max is None else read(fact.type, fact.max)
    if fact.type == "decimal":
        return partial(_decimal, low, high)
    low, high = max(low, -MAX_INTEGER), min(high, MAX_INTEGER)
    return lambda value: value if type(value) is int and low <= value <= high else _NOTHING


def _can_be_kept(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _shown_name(name: object) -> str:
    """Return an unknown name of any type in a form that can be kept."""
    try:
        text = name if isinstance(name, str) else repr(name)
    except Exception:  # its repr is foreign code
        text = type(name).__name__
    return (text if text.isprintable() else ascii(text))[:_LONGEST_NAME]


def _decimal(low: Any, high: Any, value: Any) -> Any:
    found = number(value) if type(value) is str else None
    return _NOTHING if found is None or not low <= found <= high else found


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    # reversed, as the operand is bound first: 5 < value is value > 5
    "<": operator.gt,
    "<=": operator.ge,
    ">": operator.lt,
    ">=": operator.le,
}


def condition_test(layout: TableLayout, condition: Condition) -> Test:
    """Return the test of a condition for a value in its compared form."""
    kind = layout.facts[condition.fact].type
    operands: list[Any] = [read(kind, layout.value(each)) for each in condition.operands]
    if condition.operator in _COMPARE:
        return partial(_COMPARE[condition.operator], operands[0])
    if condition.operator == "in":
        return frozenset(operands).__contains__
    if condition.operator == "not in":
        excluded = frozenset(operands)
        return lambda value: value not in excluded
    if condition.operator == "between":
        low, high = operands
        return lambda value: bool(low <= value <= high)
    prefix: str = operands[0]
    return lambda value: bool(value.startswith(prefix))
