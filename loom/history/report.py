"""What an import reports before it writes anything: row by row what is wrong, and what would be imported."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from loom.history.rows import Problem

__all__ = ["ImportReport", "Reporting", "RowProblem"]

_KEPT = 100


class RowProblem(BaseModel):
    """What is wrong with one row. `code` is stable."""

    model_config = ConfigDict(frozen=True)

    row: int
    column: str
    code: str
    message: str


class ImportReport(BaseModel):
    """What a file would import, or why it cannot: the first 100 problems, and how many there are of each code.

    `same` rows were imported before and say the same; they are skipped. `notes` are no problems.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    file_digest: str
    map_digest: str
    rows: int
    good: int
    same: int
    bad: int
    counts: dict[str, int]
    problems: tuple[RowProblem, ...]
    notes: tuple[str, ...]
    first_decided_at: datetime | None
    last_decided_at: datetime | None
    outcomes: dict[str, int]
    """How often each outcome is met, as JSON; the first hundred of them."""

    @property
    def ok(self) -> bool:
        """Whether every row can be imported."""
        return not self.bad

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        said = [f"{self.rows:,} rows: {self.good:,} to import, {self.same:,} there already, {self.bad:,} cannot be"]
        if self.first_decided_at is not None and self.last_decided_at is not None:
            said.append(f"decided from {self.first_decided_at.isoformat()} to {self.last_decided_at.isoformat()}")
        said += [f"{count:,} × {outcome}" for outcome, count in self.outcomes.items()]
        said += self.notes
        said += [f"row {each.row}: {each.message}" for each in self.problems]
        hidden = sum(self.counts.values()) - len(self.problems)
        if hidden:
            said.append(
                f"and {hidden:,} more: " + ", ".join(f"{n:,} {code}" for code, n in sorted(self.counts.items()))
            )
        return said


class Reporting:
    """Collects what a report says, in bounded memory."""

    def __init__(self) -> None:
        self.rows = self.good = self.same = self.bad = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[RowProblem] = []
        self.notes: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._before: datetime | None = None

    def refuse(self, problems: list[Problem]) -> None:
        """Take a row that cannot be imported, and why."""
        self.bad += 1
        for each in problems:
            self.counts[each.code] += 1
            if len(self.problems) < _KEPT:
                self.problems.append(RowProblem(**each._asdict()))

    def take(self, content: dict[str, Any], outcome: str) -> None:
        """Take a row that can be."""
        if outcome in self.outcomes or len(self.outcomes) < _KEPT:
            self.outcomes[outcome] += 1
        if content["decided_at"] is None:
            return
        at = datetime.fromisoformat(content["decided_at"])
        self.first = at if self.first is None else min(at, self.first)
        self.last = at if self.last is None else max(at, self.last)
        if self._before is not None and at < self._before:
            self.notes["{} rows were decided before the row above them: they are written in the order of the file"] += 1
        self._before = at

    def report(self, *, file: str, file_digest: str, map_digest: str) -> ImportReport:
        """Return what was seen."""
        return ImportReport(
            file=file,
            file_digest=file_digest,
            map_digest=map_digest,
            rows=self.rows,
            good=self.good,
            same=self.same,
            bad=self.bad,
            counts=dict(self.counts),
            problems=tuple(self.problems),
            notes=tuple(note.format(f"{count:,}") for note, count in self.notes.items()),
            first_decided_at=self.first,
            last_decided_at=self.last,
            outcomes=dict(self.outcomes.most_common()),
        )
