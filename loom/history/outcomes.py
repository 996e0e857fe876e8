"""Outcomes in bulk: how decisions turned out, observed later, out of a file; checked first, then written at once.

A row names a decision by its id, or by the own id that it has in a source. What was observed before, with the same
contents, is skipped: so a file can be read again, and one that was cut short is finished by reading it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.entries import OutcomeObservedEntry
from loom.decisions.outcomes import OUTCOME_JOURNAL
from loom.decisions.rows import decision_parts
from loom.errors import AdmissionError, ImportMapError
from loom.history.reading import RawRow, Rows
from loom.identity import By, Identity
from loom.journal.admission import json_value
from loom.journal.appending import Prepared, append_prepared
from loom.journal.store import Draft, JournalStore, draft
from loom.projections import Queries

__all__ = ["FIELDS", "OutcomeImport", "OutcomeReport", "RefusedRow"]

FIELDS = ("id", "own_id", "correct", "actual", "feedback", "observed_at")
"""What a column may be; `id` or `own_id` names the decision."""

_TRUTHS: Mapping[str, bool | None] = {
    "true": True,
    "yes": True,
    "1": True,
    "false": False,
    "no": False,
    "0": False,
    "": None,
}
_BATCH = 500
_SHOWN = 1_000
_MOST_ROWS = 1_000_000
_KNOWN = "SELECT position, decision_id FROM trace_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"


class RefusedRow(NamedTuple):
    """A row that cannot be written, and why; rows count from 1."""

    row: int
    problem: str


class OutcomeReport(BaseModel):
    """The result of an import of outcomes: rows, new ones, those that were observed before, and those that are refused.

    Nothing is written where one is refused; the first 1,000 are listed.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    new: int
    same: int
    refused: int
    listed: tuple[RefusedRow, ...]
    written: int = 0

    @property
    def ok(self) -> bool:
        """Whether every row can be written."""
        return not self.refused


class _Row(NamedTuple):
    number: int
    name: str
    correct: bool | None
    actual: JsonValue
    feedback: str | None
    observed_at: datetime | None

    def key(self, decision_id: str) -> str:
        return _key(decision_id, self.correct, self.actual, self.feedback)


class OutcomeImport:
    """Reads outcomes out of rows, by a mapping of fields to columns: `{"own_id": "loan", "correct": "repaid"}`."""

    def __init__(self, store: JournalStore, queries: Queries, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._queries = queries
        self._now = now

    async def load(
        self, rows: Rows, mapping: Mapping[str, str], *, by: By | None, source: str | None = None
    ) -> OutcomeReport:
        """Write what rows say in the name of a person, and return the report; without `by` nothing is written.

        `source` is the name of the source whose own ids the rows have. Raises `ImportMapError` for a mapping that names
        no decision, or something else than there is.
        """
        _check(mapping, rows, source)
        found: list[_Row] = []
        refused: list[RefusedRow] = []
        count = 0
        for raw in rows.read():
            count += 1
            if count > _MOST_ROWS:
                raise ImportMapError(f"file [{rows.name}] has more than [{_MOST_ROWS}] rows; expected fewer: split it")
            row = _read(raw, mapping, now=self._now())
            if isinstance(row, _Row):
                found.append(row)
            else:
                refused.append(row)
        names = await self._decisions({each.name for each in found}, source)
        known, after = await self._observed()
        new: list[tuple[str, str, _Row]] = []
        same = 0
        for row in found:
            decision_id = names.get(row.name)
            if decision_id is None:
                refused.append(RefusedRow(row.number, f"decision [{row.name:.80}] is not known"))
            elif (key := row.key(decision_id)) in known:
                same += 1
            else:
                known.add(key)
                new.append((key, decision_id, row))
        refused.sort()
        written = await self._write(new, by, after=after) if by is not None and not refused else 0
        return OutcomeReport(
            rows=count, new=len(new), same=same, refused=len(refused), listed=tuple(refused[:_SHOWN]), written=written
        )

    async def _decisions(self, names: set[str], source: str | None) -> dict[str, str]:
        """Return name → id of the decisions that there are."""
        if source is None:
            rows = await self._queries.fetch(_KNOWN, (json.dumps(sorted(names)),), names=("traces",))
            positions = {row["position"]: row["decision_id"] for row in rows}
            own = {name: name for name in names}
        else:
            prefixed = {f"{source}:{name}": name for name in names}
            found = await self._store.own_ids(sorted(prefixed))
            positions = {at: prefixed[own_id] for own_id, at in found.items()}
            own = {}
        # The views only say where decisions are: which they are, their entries say.
        parts = await decision_parts(self._queries.entries, sorted(positions), ("decision_id", "origin"))
        ids = {at: str(part.values[0]) for at, part in parts.items() if part.values is not None}
        if source is None:
            return {own[name]: name for at, name in positions.items() if ids.get(at) == name}
        return {name: ids[at] for at, name in positions.items() if at in ids}

    async def _observed(self, after: int = 0) -> tuple[set[str], int]:
        """Return what was observed after a sequence, out of its journal, and how far that is."""
        found = set()
        async for recorded in self._store.read(OUTCOME_JOURNAL, after=after):
            entry, after = recorded.entry, recorded.sequence
            if isinstance(entry, OutcomeObservedEntry):
                found.add(_key(entry.decision_id, entry.correct, entry.actual, entry.feedback))
        return found, after

    async def _write(self, new: Sequence[tuple[str, str, _Row]], by: By, *, after: int) -> int:
        """Write rows batch by batch, without those that someone else observes meanwhile; return how many it wrote."""
        now, who = self._now(), Identity.of(by).written("observed_by")
        drafts = {
            key: draft(
                OutcomeObservedEntry(
                    decision_id=decision_id,
                    correct=row.correct,
                    actual=row.actual,
                    feedback=row.feedback,
                    observed_at=row.observed_at or now,
                    **who,
                )
            )
            for key, decision_id, row in new
        }
        written = 0
        for keys in _batches(list(drafts)):
            left = {key: drafts[key] for key in keys}
            after = await self._append(left, after)
            written += len(left)
        return written

    async def _append(self, left: dict[str, Draft], after: int) -> int:
        """Append what is left of a batch, and return the last sequence that was seen.

        What was observed since the file was read is taken out of `left`.
        """

        async def prepare() -> Prepared | None:
            nonlocal after
            await self._store.room()
            observed, after = await self._observed(after)
            for key in observed & left.keys():
                del left[key]
            return Prepared(after, tuple(left.values())) if left else None

        receipt = await append_prepared(self._store, OUTCOME_JOURNAL, prepare)
        return after if receipt is None else receipt.sequence


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(keys), _BATCH):
        yield keys[begin : begin + _BATCH]


def _check(mapping: Mapping[str, str], rows: Rows, source: str | None) -> None:
    unknown = sorted(set(mapping) - set(FIELDS))
    named = [each for each in ("id", "own_id") if each in mapping]
    if unknown or len(named) != 1 or len(mapping) < 2:
        raise ImportMapError(
            f"outcomes are mapped by [{', '.join(sorted(mapping))}]; expected one of [id, own_id], and some of "
            f"[{', '.join(FIELDS[2:])}]: say which column is what"
        )
    if (named == ["own_id"]) != (source is not None):
        raise ImportMapError(
            f"outcomes are mapped by [{named[0]}] with source [{source}]; expected a source with own_id, and none with "
            "id: own ids are those of a source"
        )
    columns = rows.columns()
    if columns is not None and (gone := sorted(set(mapping.values()) - set(columns))):
        raise ImportMapError(f"file [{rows.name}] has no column [{', '.join(gone)}]; expected it: correct the mapping")


def _read(raw: RawRow, mapping: Mapping[str, str], *, now: datetime) -> _Row | RefusedRow:
    if raw.problem is not None:
        return RefusedRow(raw.number, raw.problem)
    cells = {field: raw.cells.get(column) for field, column in mapping.items()}
    name = cells.get("id") if "id" in mapping else cells.get("own_id")
    if name is None or not str(name).strip():
        return RefusedRow(raw.number, "it names no decision")
    said = cells.get("correct")
    truth = "" if said is None else str(said).strip().lower()
    if truth not in _TRUTHS:
        return RefusedRow(raw.number, f"correct is [{truth:.40}]; expected true, false, or nothing")
    try:
        actual: Any = json_value(cells.get("actual"))
        at = _moment(cells.get("observed_at"), now)
    except (AdmissionError, ValueError) as error:
        return RefusedRow(raw.number, str(error))
    feedback = cells.get("feedback")
    return _Row(raw.number, str(name).strip(), _TRUTHS[truth], actual, None if not feedback else str(feedback), at)


def _moment(said: object, now: datetime) -> datetime | None:
    if said is None or said == "":
        return None
    at = datetime.fromisoformat(str(said))
    if at.tzinfo is None:
        raise ValueError(f"observed_at [{said}] has no zone; expected one, as in 2020-01-31T00:00:00+00:00")
    if at > now:
        raise ValueError(f"observed_at [{said}] is in the future; expected a time that has passed")
    return at


def _key(decision_id: str, correct: bool | None, actual: JsonValue, feedback: str | None) -> str:  # noqa: FBT001
    return json.dumps([decision_id, correct, actual, feedback], sort_keys=True, ensure_ascii=False)
