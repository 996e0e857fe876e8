"""What a trial of an edited table says: counts, the flips with the edits that did them, and what a limit would do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.replay.judging import Transition

__all__ = ["Case", "CellFlips", "Flip", "Linted", "MatrixCell", "Span", "Sweep", "SweepPoint", "TrialResult"]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Linted(_Result):
    """A finding of the linter about the edited table."""

    severity: str
    code: str
    place: str
    words: str


class MatrixCell(_Result):
    """The number of cases with one pair of old and new effect, unchanged ones as well."""

    old: str
    new: str
    cases: int


class CellFlips(_Result):
    """The number of cases that the same edits flipped."""

    edits: tuple[str, ...]
    cases: int


class Flip(_Result):
    """A case with another effect under the edited table.

    `edits` are the fewest edits without which the case would get the answer of the table that the edits began with. If
    there are none, that table differs from the decision already: `version` says which one decided. All edits are named
    where too many sets of them would have to be tried, and where a table answers although facts are missing.
    """

    decision_id: str
    journal: str
    version: str | None
    old: str
    new: str
    old_rule: str | None
    new_rule: str | None
    edits: tuple[str, ...]
    facts: dict[str, JsonValue]


class Case(_Result):
    """A case by its id, with the facts that the table asks for."""

    decision_id: str
    journal: str
    facts: dict[str, JsonValue]


class Span(_Result):
    """The smallest and the largest recorded value of a fact that is a number."""

    low: int | str
    high: int | str


class TrialResult(_Result):
    """Recorded decisions judged under an edited table.

    `transitions` lists the changes, refusals that became grants first, and `listed` some of the cases in the same
    order, the newest first within one change. `refused` are a few of the newest cases that stay refused. `coverage` is
    the share of cases that could be judged; `not_replayable` says why the others could not. `position` is the position
    of the journal as of which it holds. `older` counts the older cases that were not looked at.
    """

    policy: str
    hash: str
    position: int
    cases: int
    older: int
    left_out: int
    unchanged: int
    flipped: int
    indeterminate: int
    not_replayable: dict[str, int]
    matrix: tuple[MatrixCell, ...]
    transitions: tuple[Transition, ...]
    cells: tuple[CellFlips, ...]
    edits: tuple[str, ...]
    """All edits; empty if rows were added, removed or moved, as those have no single cell."""
    rows_changed: bool
    listed: tuple[Flip, ...]
    refused: tuple[Case, ...]
    spans: dict[str, Span]
    findings: tuple[Linted, ...]

    @property
    def coverage(self) -> float | None:
        """The share of cases that could be judged; None if there are no cases."""
        return None if not self.cases else (self.unchanged + self.flipped) / self.cases


class SweepPoint(_Result):
    """The effects of all judged cases with one value of a parameter."""

    value: int | str
    effects: dict[str, int]


class Sweep(_Result):
    """The effects of all judged cases with several values of one parameter, in their order."""

    parameter: str
    points: tuple[SweepPoint, ...]
