"""The edits that make one table of another, and which of them changed the answer for a case.

The edits that did it are the fewest without which the case would get its old answer. That is found by undoing them: the
failed conditions of both tables are known, so no fact is compared again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.policies.tables.layout import Condition, ParameterRef, Row, TableLayout
from loom.replay.what_if.bits import Answer, Shape

__all__ = ["Edit", "Undoing", "edits_of", "same_rows"]

_MOST_TRIED = 4_096
"""The most sets of edits that are tried for one kind of case."""

Part: TypeAlias = Literal["parameter", "condition", "effect", "hit policy"]


class Edit(NamedTuple):
    """One edit: a parameter, a condition of a row (counted from 1), the effect of a row, or the hit policy."""

    part: Part
    place: str
    number: int
    old: str
    new: str

    @property
    def words(self) -> str:
        """The same for people."""
        where = f"rule {self.place}" if self.part in ("condition", "effect") else self.place
        return f"{where}: {self.old} → {self.new}"


def same_rows(old: TableLayout, new: TableLayout) -> bool:
    """Tell whether two tables have the same rows in the same order, with as many conditions in each."""

    def rows(layout: TableLayout) -> list[Any]:
        parts = (layout.limits, layout.rules, () if layout.otherwise is None else (layout.otherwise,))
        return [[(row.name, len(row.when)) for row in part] for part in parts]

    return rows(old) == rows(new)


def edits_of(old: TableLayout, new: TableLayout) -> tuple[Edit, ...]:
    """Return the edits between two tables with the same rows, in the order of the table; texts do not count."""
    return tuple(_edits(old, new))


def _edits(old: TableLayout, new: TableLayout) -> Iterator[Edit]:
    for name in dict.fromkeys([*old.parameters, *new.parameters]):
        before, after = old.parameters.get(name), new.parameters.get(name)
        if before is not None and after is not None and before.value != after.value:
            yield Edit("parameter", name, 0, _as_text(before.value), _as_text(after.value))
    if old.hit_policy != new.hit_policy:
        yield Edit("hit policy", "hit policy", 0, old.hit_policy, new.hit_policy)
    for was, now in zip(old.rows, new.rows, strict=True):
        for number, (before_cell, after_cell) in enumerate(zip(was.when, now.when, strict=True), start=1):
            if before_cell != after_cell:
                yield Edit("condition", was.name, number, str(before_cell), str(after_cell))
        if (was.effect, was.tier) != (now.effect, now.tier):
            yield Edit("effect", was.name, 0, _effect(was), _effect(now))


class Undoing:
    """Finds the fewest edits without which a case would get its old answer.

    An edited condition that names an edited parameter goes with it: they are undone together.
    """

    def __init__(self, old: Shape, new: Shape, edits: Sequence[Edit]) -> None:
        self._old, self._new = old, new
        self.edits = tuple(edits)
        self._units = [_Unit(parts, mask) for parts, mask in _joined([(each, self._mask(each)) for each in edits])]
        self._known: dict[tuple[int, int], tuple[Edit, ...]] = {}

    def which(self, old_fails: int, new_fails: int) -> tuple[Edit, ...]:
        """Return the edits that changed the answer, by the conditions that fail; all if too many would be tried."""
        key = (old_fails, new_fails)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(old_fails, new_fails)
        return found

    def _find(self, old_fails: int, new_fails: int) -> tuple[Edit, ...]:
        wanted = self._old.answer(old_fails).label
        sets = (each for count in range(1, len(self._units)) for each in itertools.combinations(self._units, count))
        for undone in itertools.islice(sets, _MOST_TRIED):
            if self._without(undone, old_fails, new_fails).label == wanted:
                parts = {part for unit in undone for part in unit.edits}
                return tuple(each for each in self.edits if each in parts)
        return self.edits

    def _without(self, undone: Sequence[_Unit], old_fails: int, new_fails: int) -> Answer:
        """Return the answer of the new table with some edits undone."""
        back = 0
        for unit in undone:
            back |= unit.mask
        edits = [each for unit in undone for each in unit.edits]
        fails = (new_fails & ~back) | (old_fails & back)
        old_policy = any(each.part == "hit policy" for each in edits)
        place = self._new.place(fails, unique=(self._old if old_policy else self._new).is_unique)
        if place is None:
            return self._new.answered(None)
        name = self._new.rows[place][1].name
        old_effect = any(each.part == "effect" and each.place == name for each in edits)
        return self._new.answered((self._old if old_effect else self._new).rows[place][1])

    def _mask(self, edit: Edit) -> int:
        """Return the conditions that an edit changes."""
        conditions = list(zip(self._old.conditions, self._new.conditions, strict=True))
        if edit.part == "parameter":
            return sum(
                1 << place for place, pair in enumerate(conditions) if any(_names(each, edit.place) for each in pair)
            )
        if edit.part != "condition":
            return 0
        own = next(mask for mask, row in self._new.rows if row.name == edit.place)
        return (own & -own) << (edit.number - 1)


class _Unit(NamedTuple):
    edits: tuple[Edit, ...]
    mask: int


def _joined(parts: Sequence[tuple[Edit, int]]) -> list[tuple[tuple[Edit, ...], int]]:
    """Join edits that change the same condition."""
    joined: list[tuple[tuple[Edit, ...], int]] = []
    for edit, mask in parts:
        same = [each for each in joined if each[1] & mask]
        joined = [each for each in joined if not each[1] & mask]
        edits = (*(each for more, _ in same for each in more), edit)
        for _, other in same:
            mask |= other
        joined.append((edits, mask))
    return joined


def _names(condition: Condition, parameter: str) -> bool:
    return any(isinstance(each, ParameterRef) and each.param == parameter for each in condition.operands)


def _effect(row: Row) -> str:
    return row.effect if row.tier is None else f"{row.effect} by {row.tier}"


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
