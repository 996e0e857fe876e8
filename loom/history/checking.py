"""The first pass of an import: every row is read, and compared with others and the journal, before one is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any

from loom.decisions.confirming import imports_of
from loom.decisions.rows import written_decision
from loom.errors import ImportRefusedError
from loom.history.map import ImportMap
from loom.history.reading import RawRow, Rows
from loom.history.report import ImportReport, Reporting
from loom.history.rows import Prepared, Preparer, Problem
from loom.history.sealing import RowSealing
from loom.history.seen import Seen
from loom.journal.store import JournalStore
from loom.projections import Queries

__all__ = ["Checking", "Progress", "in_chunks"]

CHUNK = 500
_SAID = 300
_PATHS = ("source.row_digest", "decision.run_id")

Progress = Callable[[int, int], None]


class Checking:
    """Looks at every row of a file. `run_id` is that of the import that is resumed, if one is."""

    def __init__(
        self,
        store: JournalStore,
        queries: Queries,
        rows: Rows,
        given: ImportMap,
        preparer: Preparer,
        seen: Seen,
        sealing: RowSealing,
    ) -> None:
        self._store = store
        self._queries = queries
        self._rows = rows
        self._map = given
        self._preparer = preparer
        self._seen = seen
        self._sealing = sealing
        self._reporting = Reporting()

    async def report(self, *, now: datetime, run_id: str | None, progress: Progress) -> ImportReport:
        """Return what the file would import, or why it cannot."""
        columns = self._check_columns()
        self._ends = await imports_of(self._queries)
        met: set[str] = set()
        for chunk in in_chunks(self._rows.read()):
            good = []
            for raw in chunk:
                met.update(raw.cells if columns is None else ())
                if (prepared := await self._prepared(raw, now)) is not None:
                    good.append(prepared)
            await self._compare(good, run_id)
            progress(self._reporting.rows, 0)
            await asyncio.sleep(0)
        if columns is None:
            self._check_met(met)
        self._check_unchanged()
        if not self._map.protect and not self._map.sealed():
            self._reporting.notes["protect: is not in the map: every value is written as it is"] += 1
        return self._reporting.report(file=self._rows.name, file_digest=self._rows.digest, map_digest=self._map.digest)

    def _check_unchanged(self) -> None:
        if (now := self._rows.again()) != self._rows.digest:
            raise ImportRefusedError(
                f"file [{self._rows.name}] has changed while it was read [{now[:12]}]; expected the same to the end "
                f"[{self._rows.digest[:12]}]: let nothing write it, and try again (nothing was written)"
            )

    def _check_columns(self) -> Collection[str] | None:
        columns = self._rows.columns()
        if columns is not None and (gone := sorted(self._map.columns() - set(columns))):
            raise ImportRefusedError(
                f"file [{self._rows.name}] has no column [{', '.join(gone)}]; expected what the map names; it has "
                f"[{', '.join(sorted(columns)[:30])}]: correct one of them (nothing was written)"
            )
        return columns

    def _check_met(self, met: set[str]) -> None:
        """Refuse a file whose rows each say their own columns, where one that the map names is in no row."""
        gone = sorted(self._map.columns() - met)
        if self._reporting.rows and gone:
            message = f"no row has a column [{', '.join(gone)}]; expected what the map names"
            self._reporting.refuse([Problem(0, gone[0], "column_gone", message)])

    async def _prepared(self, raw: RawRow, now: datetime) -> Prepared | None:
        """Return a row that can be imported as far as the file itself goes, and is the first of its own id."""
        reporting = self._reporting
        reporting.rows += 1
        prepared, problems = self._preparer.prepare(raw, now=now)
        if prepared is not None:
            count = len(prepared.seals)
            prepared, problems = await self._sealing.sealed(prepared)
            if count and not problems:
                reporting.notes["{} values are sealed for whom they are about"] += count
        if prepared is None or problems:
            reporting.refuse(problems)
            return None
        if self._seen.take(prepared):
            return prepared
        first = self._seen.of(prepared.own_id)
        if first.digest == prepared.digest:
            reporting.notes["{} rows occur twice: the first of each is taken"] += 1
            reporting.same += 1
        else:
            message = (
                f"own id [{prepared.own_id}] is in row {first.row} with other contents: there "
                f"[{_compact(first.content)}], here [{_compact(prepared.content)}]; expected each once"
            )
            reporting.refuse([Problem(prepared.row, "", "twice", message)])
        return None

    async def _compare(self, rows: list[Prepared], run_id: str | None) -> None:
        """Compare rows with what was imported before under their own ids."""
        known = await self._store.own_ids([each.header_id for each in rows]) if rows else {}
        parts = await self._store.parts(list(known.values()), _PATHS) if known else {}
        for each in rows:
            position = known.get(each.header_id)
            if position is None:
                self._reporting.good += 1
                self._reporting.take(each.content, _outcome(each.content))
                continue
            values = parts[position].values if position in parts else None
            problem = await self._problem(each, position, values, run_id)
            if problem is None:
                self._reporting.same += 1
                self._seen.known(each.own_id)
            else:
                self._reporting.refuse([problem])

    async def _problem(
        self, row: Prepared, position: int, values: tuple[Any, ...] | None, run_id: str | None
    ) -> Problem | None:
        """Return why a row whose own id is taken cannot be skipped; None where it is the same."""
        own = f"own id [{row.own_id}]"
        if values is None:
            return Problem(row.row, "", "erased", f"{own} was imported, and its body is gone: it cannot be compared")
        digest, run = values
        status = "settled" if run == run_id else self._ends.status(run)
        if digest != row.digest:
            recorded = (await self._store.at([position])).get(position)
            before = None if recorded is None else written_decision(recorded)
            there = "" if before is None else _compact(before)
            message = f"{own} was imported with other contents: there [{there}], here [{_compact(row.content)}]"
            return Problem(row.row, "", "differs", message)
        if status == "abandoned":
            message = f"{own} was imported by [{run}], which was abandoned; name another source: in the map"
            return Problem(row.row, "", "abandoned", message)
        if status != "settled":
            return Problem(
                row.row, "", "unfinished", f"{own} is of import [{run}], which has not ended: resume that first"
            )
        return None


def in_chunks(rows: Iterator[RawRow]) -> Iterator[list[RawRow]]:
    """Yield rows by the chunk."""
    chunk: list[RawRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _compact(content: Any) -> str:
    named = {name: content.get(name) for name in ("facts", "outcome", "decided_at", "decided_by")}
    text = json.dumps(named, ensure_ascii=True, sort_keys=True)
    return text if len(text) <= _SAID else text[:_SAID] + "…"


def _outcome(content: dict[str, Any]) -> str:
    return json.dumps(content["outcome"], ensure_ascii=True, sort_keys=True)[:_SAID]
