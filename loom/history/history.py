"""Imports decisions that were made before loom was in use: checked, then written row by row, marked until the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.run import Run
from loom.decisions.runs import Runs
from loom.errors import ImportMapError, ImportRefusedError, RunConflictError
from loom.history.checking import Checking, Progress
from loom.history.map import ImportMap, load_map, map_of
from loom.history.opa import OpaLog
from loom.history.outcomes import OutcomeImport, OutcomeReport
from loom.history.reading import PythonRows, Rows, rows_in
from loom.history.report import ImportReport
from loom.history.rows import Preparer
from loom.history.sealing import RowSealing
from loom.history.seen import Seen
from loom.history.writing import Writing
from loom.identity import By
from loom.journal.kinds import OWN_IDS
from loom.journal.listing import first_of_type
from loom.journal.store import Draft, JournalStore
from loom.precedents.registry import EquivalenceRegistry
from loom.projections import Queries
from loom.sealing import MASTER_KEY, Subjects, master_key

__all__ = ["History", "ImportReport", "Imported"]

_MOST = 1_000

Map = ImportMap | Mapping[str, object] | str | Path


class ActorTypes(Protocol):
    """What is asked of actors: whether there is code for a type, and that there never will be."""

    def knows(self, actor_type: str) -> bool:
        """Tell whether there is code for an actor type."""
        ...

    def reserve(self, actor_type: str) -> None:
        """Refuse code for an actor type from now on."""
        ...


class Imported(BaseModel):
    """The result of an import: its run, how many decisions it wrote now, and what was found before that."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    written: int
    report: ImportReport


class History:
    """Imports decisions that were made before loom was in use. Nothing acts on what it writes.

    What it writes is marked `import unfinished` until the import has ended, and precedents, metrics and drift leave it
    out until then.
    """

    def __init__(
        self,
        store: JournalStore,
        queries: Queries,
        runs: Runs,
        rules: EquivalenceRegistry,
        actors: ActorTypes,
        *,
        now: Callable[[], datetime],
        make_draft: Callable[..., Draft],
        never: Path | None = None,
        secret: Callable[[], bytes | None] = lambda: master_key() if MASTER_KEY in os.environ else None,
        subjects: Subjects | None = None,
    ) -> None:
        self._store = store
        self._queries = queries
        self._runs = runs
        self._rules = rules
        self._actors = actors
        self._now = now
        self._draft = make_draft
        self._never = never
        self._secret = secret
        self._subjects = subjects

    async def check(
        self, rows: Iterable[Mapping[str, object]] | Rows, given: Map, *, progress: Progress = lambda done, total: None
    ) -> ImportReport:
        """Return row by row what rows would bring in, or why they cannot; nothing is written."""
        return await self._import(rows, given, by=None, resume=False, progress=progress)  # type: ignore[return-value]

    async def load(
        self,
        rows: Iterable[Mapping[str, object]] | Rows,
        given: Map,
        *,
        by: By,
        resume: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Imported:
        """Import rows by a map, in the name of a person, and return the result.

        All of them are checked before one is written: `ImportRefusedError` has the report where one cannot be. A row
        that was imported before, with the same contents, is skipped. Ended before its end, by a fault or a kill, the
        import is unfinished: the same rows with `resume` finish it, `abandon` marks it permanently.
        """
        return await self._import(rows, given, by=by, resume=resume, progress=progress)  # type: ignore[return-value]

    async def load_file(
        self,
        path: str | Path,
        given: Map,
        *,
        by: By,
        select: str | None = None,
        resume: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Imported:
        """Import a file: CSV, JSON lines, or what one SELECT gives of an SQLite file; see `load`."""
        return await self.load(self.rows(path, given, select=select), given, by=by, resume=resume, progress=progress)

    def rows(
        self,
        path: str | Path,
        given: Map,
        *,
        select: str | None = None,
        log: Literal["opa"] | None = None,
        policy_path: str | None = None,
    ) -> Rows:
        """Return the rows of a file, or of a decision log; the journal of this process is refused unopened."""
        if self._never is not None and Path(path).exists() and Path(path).samefile(self._never):
            raise ImportRefusedError(f"file [{path}] is the journal of this loom; expected another: see `loom archive`")
        if log is None:
            return rows_in(path, select=select, delimiter=_map(given)[0].delimiter)
        if select is not None or not Path(path).is_file():
            raise ImportRefusedError(f"file [{path}] is no decision log; expected a file in JSON lines, and no SELECT")
        return OpaLog(Path(path), policy_path=policy_path)

    async def load_outcomes(
        self, rows: Rows, mapping: Mapping[str, str], *, by: By | None, source: str | None = None
    ) -> OutcomeReport:
        """Write how decisions turned out, as rows say, in the name of a person; without `by` only say what would be.

        `mapping` says which column is what: `id`, or `own_id` with the `source` that has it, and some of `correct`,
        `actual`, `feedback`, `observed_at`. What was observed before is skipped; nothing is written where a row is
        refused.
        """
        return await OutcomeImport(self._store, self._queries, now=self._now).load(rows, mapping, by=by, source=source)

    async def abandon(self, run_id: str, *, by: By, reason: str | None = None) -> Run:
        """Abandon an unfinished import: what it wrote stays, marked permanently, and its own ids stay taken."""
        run = await self._runs.get(run_id)
        if run.kind != "import":
            raise RunConflictError(f"run [{run.run_id}] is a {run.kind}; expected an import: see `loom runs`")
        return await self._runs.end(run.run_id, status="abandoned", by=by, reason=reason)

    async def unfinished(self) -> tuple[Run, ...]:
        """Return the imports that have not ended, newest first."""
        return await self._runs.find(kind="import", status="open", limit=_MOST)

    async def _import(
        self,
        given_rows: Iterable[Mapping[str, object]] | Rows,
        given: Map,
        *,
        by: By | None,
        resume: bool,
        progress: Progress,
    ) -> Imported | ImportReport:
        mapped, base = _map(given)
        rows = _rows_of(given_rows)
        subjects = self._subjects
        sealing = RowSealing(
            mapped,
            None if subjects is None else subjects.vault,
            None if subjects is None else subjects.erasures,
            writes=by is not None,
        )
        fresh = await self._check_type(mapped.type)
        await self._store.own_ids(())  # a journal of an older format says so before anything is read
        before = await self._before(mapped, rows, by=by, resume=resume)
        rule = None if mapped.equivalence is None else self._rules.resolve(mapped.equivalence).rule
        now = self._now()
        preparer = Preparer(
            mapped, workspace=self._store.workspace, digest=rows.digest, base=base, rule=rule, secret=self._secret()
        )
        with closing(Seen()) as seen:
            checking = Checking(self._store, self._queries, rows, mapped, preparer, seen, sealing)
            report = await checking.report(now=now, run_id=None if before is None else before.run_id, progress=progress)
            if by is None:
                return report
            if not report.ok:
                raise _refused(report)
            self._actors.reserve(mapped.type)
            run = before or await self._begin(mapped, rows, report, by=by)
            writing = Writing(
                self._store, preparer, seen, run_id=run.run_id, fresh=fresh and before is None, make_draft=self._draft
            )
            written = await writing.write(total=report.good, progress=progress)
            result: dict[str, JsonValue] = {
                "rows": report.rows,
                "decisions": written + (report.same if before is not None else 0),
                "skipped": 0 if before is not None else report.same,
            }
            await self._runs.end(run.run_id, result=result, by=by, importing=True)
            return Imported(run_id=run.run_id, written=written, report=report)

    async def _begin(self, mapped: ImportMap, rows: Rows, report: ImportReport, *, by: By) -> Run:
        parameters: dict[str, Any] = {
            "file": rows.name,
            "file_digest": rows.digest,
            "map_digest": mapped.digest,
            "source": mapped.source,
            "type": mapped.type,
            "rows": report.rows,
            "map": mapped.plain(),
        }
        return await self._runs.start(kind="import", parameters=parameters, by=by)

    async def _before(self, mapped: ImportMap, rows: Rows, *, by: By | None, resume: bool) -> Run | None:
        """Return the unfinished import of the same file by the same map that is to be resumed, if one is."""
        same = {"source": mapped.source, "file_digest": rows.digest, "map_digest": mapped.digest}
        open_ones = [each for each in await self.unfinished() if same.items() <= each.parameters.items()]
        if open_ones and not resume and by is not None:
            raise ImportRefusedError(
                f"import [{open_ones[0].run_id}] of file [{rows.name}] has not ended; expected one import of a file at "
                "a time: resume it, or abandon it (nothing was written)"
            )
        if resume and not open_ones:
            raise ImportRefusedError(
                f"there is no unfinished import of file [{rows.name}] by this map; expected the same file and the same "
                "map: import it without resume, or look at `loom runs` (nothing was written)"
            )
        return open_ones[0] if open_ones and resume else None

    async def _check_type(self, actor_type: str) -> bool:
        """Refuse a type that actors have; return whether there is no journal of it."""
        if self._actors.knows(actor_type):
            raise ImportMapError(
                f"type [{actor_type}] is that of an actor; expected one that no code has, as imported decisions get no "
                "commands: choose another type: in the map"
            )
        first = await first_of_type(self._store, actor_type)
        if first is not None and first not in OWN_IDS:
            raise ImportMapError(
                f"journals of type [{actor_type}] have entries of actors [{first}]; expected none, or imported ones: "
                "choose another type: in the map"
            )
        return first is None


def _map(given: Map) -> tuple[ImportMap, Path | None]:
    if isinstance(given, ImportMap):
        return given, None
    if isinstance(given, str | Path):
        return load_map(given), Path(given).parent
    return map_of(given), None


def _rows_of(given: Iterable[Mapping[str, object]] | Rows) -> Rows:
    return PythonRows([dict(each) for each in given]) if isinstance(given, Iterable) else given


def _refused(report: ImportReport) -> ImportRefusedError:
    first = report.problems[0]
    return ImportRefusedError(
        f"file [{report.file}] has [{report.bad:,}] rows of [{report.rows:,}] that cannot be imported, first row "
        f"[{first.row}]: {first.message} (nothing was written)",
        report=report,
    )
