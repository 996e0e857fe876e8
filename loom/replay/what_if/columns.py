"""Recorded cases as columns: one list of different values and one array of codes for each fact.

A table compares each fact with constants, so a fact is compared once for each different value and not once for each
case. Only the facts that the table asks for are kept. Values that are protected are never opened here: such a case is
counted as `sealed` or `erased`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.errors import OutOfRangeError
from loom.policies.evaluation import BAD_FACTS
from loom.policies.tables.layout import TableLayout
from loom.projections import Queries
from loom.replay.saying import Reason, label
from loom.replay.sealed import AsRecorded
from loom.replay.selection import Recall, Recalled, Selection, newest_from

__all__ = ["ABSENT", "MOST_CASES", "Alive", "Column", "Columns", "Recorded", "add_newer", "load_columns"]

Alive: TypeAlias = Callable[[], None]
"""Called between two steps; raises if the result is no longer wanted."""

ABSENT = 0
"""The code of a fact that a case does not have."""

MOST_CASES = 250_000
"""The most cases that are held in memory at once."""

_SCALARS = (bool, int, float, str, type(None))


class Recorded(NamedTuple):
    """What is recorded of a case apart from its facts; many cases share one."""

    label: str | None
    rule: str | None
    version: str | None
    reason: Reason | None
    """Why the case cannot be judged again whatever the table says; None if it can."""
    unknown: bool
    """Whether it was recorded with bad facts, one of which the table does not ask for."""


class Column:
    """One fact of all cases: its different values, and for each case the number of its value."""

    def __init__(self) -> None:
        self.values: list[JsonValue] = [None]
        """The different values; the first place is that of an absent fact."""
        self.codes = array("I")
        self._known: dict[Any, int] = {}

    def add(self, value: JsonValue, *, place: int) -> None:
        """Add the value of the case at a place; cases between have no value."""
        self.pad(place)
        plain = isinstance(value, _SCALARS)
        key = (type(value), value) if plain else json.dumps(value, sort_keys=True)  # 1, 1.0 and true are equal
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = len(self.values)
            self.values.append(value)
        self.codes.append(code)

    def pad(self, length: int) -> None:
        """Note that the cases up to a length have no value."""
        if (missing := length - len(self.codes)) > 0:
            self.codes.extend([ABSENT] * missing)


class Columns:
    """The cases of one policy in memory, oldest first, with the facts that one table asks for."""

    def __init__(self, layout: TableLayout) -> None:
        self.policy = layout.name
        self.ids: list[str] = []
        self.journals: list[str] = []
        self.recorded: list[Recorded] = []
        """What is recorded, each different combination once."""
        self.recorded_codes = array("I")
        self.facts = {name: Column() for name in layout.facts}
        self.position = 0
        """The position up to which the journal was read."""
        self.last = 0
        """The position of the last case."""
        self.left_out = 0
        """Rows of the views that differ from the journal: their decisions are not there."""
        self.older = 0
        """Older cases that are not there, as there were more than could be held."""
        self._known: dict[Recorded, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, page: Iterable[Recalled]) -> None:
        """Add cases; those with protected facts are added without any facts."""
        for each in page:
            place = len(self.ids)
            recorded = self._recorded(each)
            code = self._known.get(recorded)
            if code is None:
                code = self._known[recorded] = len(self.recorded)
                self.recorded.append(recorded)
            self.recorded_codes.append(code)
            self.ids.append(each.decision_id)
            self.journals.append(each.journal)
            self.last = each.position
            if recorded.reason is None and each.facts is not None:
                for name, value in each.facts.items():
                    if (column := self.facts.get(name)) is not None:
                        column.add(value, place=place)
        for column in self.facts.values():
            column.pad(len(self.ids))

    def facts_at(self, place: int) -> dict[str, JsonValue]:
        """Return the facts of the case at a place."""
        codes = ((name, column, column.codes[place]) for name, column in self.facts.items())
        return {name: column.values[code] for name, column, code in codes if code != ABSENT}

    def _recorded(self, each: Recalled) -> Recorded:
        reason: Reason | None = "no_facts" if each.facts is None else each.closed
        if reason is None and each.effect is None:
            reason = "no_evaluation"
        unknown = each.rule == BAD_FACTS and any(name not in self.facts for name in each.facts or ())
        old = None if each.effect is None else label(each.effect, each.tier)
        return Recorded(old, each.rule, each.policy_version, reason, unknown)


async def load_columns(
    queries: Queries,
    layout: TableLayout,
    selection: Selection,
    *,
    sight: AsRecorded,
    most: int = MOST_CASES,
    alive: Alive = lambda: None,
) -> Columns:
    """Return the decisions of a selection as columns: the newest `most` of them.

    `alive` is called between pages, and raises if the result is no longer wanted. Raises `OutOfRangeError` for a `most`
    below 1 or above 250,000.
    """
    if not 1 <= most <= MOST_CASES:
        raise OutOfRangeError(f"[{most}] cases are to be held; expected [1 to {MOST_CASES}]: ask for fewer")
    columns = Columns(layout)
    columns.last, columns.older = await newest_from(queries, selection, most=most)
    await add_newer(columns, queries, selection, sight=sight, alive=alive)
    return columns


async def add_newer(
    columns: Columns, queries: Queries, selection: Selection, *, sight: AsRecorded, alive: Alive = lambda: None
) -> bool:
    """Add the decisions that were recorded after those that columns have; return whether there were any."""
    before = len(columns)
    columns.position = await queries.position(["traces"])
    recall = Recall(queries, selection, behind=columns.last)
    async for page in recall.pages():
        alive()
        columns.add(await sight.page(page))
    columns.left_out += recall.left_out
    return len(columns) > before
