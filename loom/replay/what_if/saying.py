"""What a table says about a kind of case: all those that have the same record and fail the same conditions."""

from __future__ import annotations

from typing import NamedTuple

from loom.policies.evaluation import BAD_FACTS
from loom.policies.tables.table import Table
from loom.replay.saying import said_of
from loom.replay.what_if.bits import Shape
from loom.replay.what_if.columns import Columns

__all__ = ["KindSaid", "Saying"]


class KindSaid(NamedTuple):
    """What a table says about a kind of case, or the reason why it says nothing.

    With `over_gaps` facts are missing, and the answer is the same whatever they are.
    """

    label: str | None
    rule: str | None = None
    reason: str | None = None
    over_gaps: bool = False


class Saying:
    """Says what one table says about kinds of cases."""

    def __init__(self, table: Table, shape: Shape, columns: Columns) -> None:
        self._table = table
        self._shape = shape
        self._columns = columns
        self._any_missing = sum(shape.missing.values())
        self._over_gaps: dict[tuple[int, int], KindSaid] = {}

    def said(self, recorded: int, fails: int, every: list[int]) -> KindSaid:
        """Return the result for a code of a record and the bits of failed conditions; `every` has them of all cases."""
        record = self._columns.recorded[recorded]
        if record.reason is not None:
            return KindSaid(None, reason=record.reason)
        bad = fails & self._shape.unusable or record.unknown
        missing = fails & self._any_missing
        if missing and not bad and self._table.layout.missing == "three_valued":
            return self._filled(recorded, fails, every)
        if not bad and not missing:
            answer = self._shape.answer(fails)
            return KindSaid(answer.label, answer.rule)
        if record.rule == BAD_FACTS:
            return KindSaid("indeterminate", BAD_FACTS)
        return KindSaid(None, reason="missing_facts" if missing else "unusable_facts")

    def _filled(self, recorded: int, fails: int, every: list[int]) -> KindSaid:
        """Return the result where facts are missing. It is the same for all cases of a kind: any one is asked."""
        key = (recorded, fails)
        found = self._over_gaps.get(key)
        if found is None:
            codes = enumerate(zip(self._columns.recorded_codes, every, strict=True))
            place = next(place for place, each in codes if each == key)
            rule = self._columns.recorded[recorded].rule
            said = said_of(self._table, self._columns.facts_at(place), recorded_rule=rule, gaps=False)
            found = self._over_gaps[key] = KindSaid(said.label, said.rule, said.reason, over_gaps=True)
        return found
