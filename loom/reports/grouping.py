"""Rows of a report: decisions that read the same are one row, with how often and when."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from loom.reports.reading import Reported

__all__ = ["Row", "rows_of"]


class Row(NamedTuple):
    """Decisions that differ by number, time and id only, oldest first."""

    decisions: tuple[Reported, ...]

    @property
    def first(self) -> Reported:
        """The one whose words are shown."""
        return self.decisions[0]

    @property
    def last(self) -> Reported:
        """The newest of them."""
        return self.decisions[-1]


def rows_of(decisions: Iterable[Reported]) -> list[Row]:
    """Return the rows for some decisions, in the order of the first of each."""
    alike: dict[str, list[Reported]] = {}
    for each in decisions:
        summary = each.summary
        shown = [each.about, summary.journal, summary.effect, summary.rule, each.outcome, summary.rationale]
        alike.setdefault(json.dumps(shown, default=str), []).append(each)
    return [Row(tuple(each)) for each in alike.values()]
