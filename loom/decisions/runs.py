"""Runs: they are started and ended in their own journal, and decisions belong to them.

Commands that are sent within `async with loom.runs.run(…)` belong to the run, and so does everything that follows from
them: the commands that their turns send, and the decisions, also of a turn that is resumed after the run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pydantic import ValidationError

from loom.decisions.decision import PolicyReference
from loom.decisions.entries import RunEndedEntry, RunEnding, RunKind, RunStartedEntry
from loom.decisions.imports import RUN_JOURNAL
from loom.decisions.run import Run, RunStatus
from loom.errors import AdmissionError, InvalidNameError, LoomError, RunConflictError, RunNotFoundError
from loom.identity import By, Identity, check_limit, journal_name, new_id
from loom.journal.admission import json_value
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore, draft
from loom.policies.registry import PolicyRegistry
from loom.projections import Queries
from loom.telemetry import get_logger

__all__ = ["RUN_JOURNAL", "Runs", "RunsView", "current_run"]

_MAX_REASON = 2_000

_log = get_logger("loom.decisions")

_within: ContextVar[tuple[JournalStore, str] | None] = ContextVar("loom_run", default=None)

_COUNTS = """
SELECT counted.run_id, counted.decisions, counted.actors, counted.first_at_us, counted.last_at_us,
  (SELECT json_group_array(json_object('name', seen.policy_name, 'version', seen.policy_version,
      'hash', seen.policy_hash, 'decisions', seen.decisions))
    FROM (SELECT * FROM trace_run_versions WHERE run_id = counted.run_id ORDER BY first_position) AS seen) AS versions
FROM trace_runs AS counted WHERE counted.run_id IN (SELECT value FROM json_each(?))
"""
_NAMES = ("traces",)


def current_run(store: JournalStore) -> str | None:
    """Return the id of this store's run that the caller is in, None outside of any."""
    within = _within.get()
    return within[1] if within is not None and within[0] is store else None


class RunsView:
    """Answers which runs exist, how they ended, and what was decided in them.

    Runs come from their journal. The views count their decisions, in all and by version.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._runs: dict[str, Run] = {}
        self._folded = 0

    async def get(self, run_id: str) -> Run:
        """Return the run with this id, or the only one whose id begins with it; raise `RunNotFoundError`."""
        await self._load()
        found = (
            [run_id] if run_id in self._runs else [each for each in self._runs if run_id and each.startswith(run_id)]
        )
        if len(found) == 1:
            return (await self._counted([self._runs[found[0]]]))[0]
        several = ", ".join(sorted(found)[:3])
        raise _not_found(run_id, f"is ambiguous [{several}, …]" if found else "is not known")

    async def find(
        self,
        *,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> tuple[Run, ...]:
        """Return runs, newest first; `after` is the position of the last one already seen."""
        check_limit(limit)
        await self._load()
        found = [
            run
            for run in reversed(self._runs.values())
            if kind in (None, run.kind) and status in (None, run.status) and (after is None or run.position < after)
        ]
        return await self._counted(found[:limit])

    async def _counted(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        if not runs:
            return ()
        ids = json.dumps([run.run_id for run in runs])
        counts = {row["run_id"]: row for row in await self._queries.fetch(_COUNTS, (ids,), names=_NAMES)}
        return tuple(run.counted(counts[run.run_id]) if run.run_id in counts else run for run in runs)

    async def _load(self) -> None:
        """Fold the entries about runs since the last call."""
        async for recorded in self._queries.entries.read(RUN_JOURNAL, after=self._folded):
            self._fold(recorded)
            self._folded = recorded.sequence

    def _fold(self, recorded: Recorded) -> None:
        entry, at = recorded.entry, recorded.recorded_at
        if isinstance(entry, RunStartedEntry):
            self._runs.setdefault(entry.run_id, Run.begun(entry, position=recorded.position, at=at))
        elif isinstance(entry, RunEndedEntry):
            run = self._runs.get(entry.run_id)
            if run is not None and run.open:
                self._runs[entry.run_id] = run.ended(entry, at=at)


class Runs(RunsView):
    """Starts and ends runs, and assigns the commands that are sent within one to it."""

    def __init__(
        self,
        store: JournalStore,
        queries: Queries,
        policies: PolicyRegistry,
        *,
        by: By,
        make_id: Callable[[], str] = new_id,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        super().__init__(queries)
        self._store = store
        self._policies = policies
        self._by = by
        self._new_id = make_id
        self._journal = SingletonJournal(store, RUN_JOURNAL, self._fold, make_draft=make_draft)

    async def start(
        self,
        *,
        kind: RunKind | None = None,
        policies: Sequence[str] = (),
        parameters: Mapping[str, object] | None = None,
        seed: int | str | None = None,
        by: By | None = None,
        note: str | None = None,
        run_id: str | None = None,
    ) -> Run:
        """Record that a run begins, and return it; `by` is by default the person who opened the loom.

        `kind` is by default `live`; callers that make up their cases pass `simulation`. Each call starts a new run,
        also with equal parameters. The id of an existing run returns that run if everything else is equal, and raises
        `RunConflictError` if not. `policies` are version ids or hashes, and raise `PolicyNotRegisteredError` where they
        are not registered.
        """
        known_id = _checked(self._new_id() if run_id is None else run_id)
        plain: Any = json_value(dict(parameters or {}))
        try:
            entry = RunStartedEntry(
                **Identity.of(self._by if by is None else by).written(),
                run_id=known_id,
                run_kind=kind or "live",
                policies=tuple(self._reference(version) for version in policies),
                parameters=plain,
                seed=seed,
                note=note,
            )
        except ValidationError as error:
            raise _unwritable(known_id, error) from error

        def missing() -> Entry | None:
            before = self._runs.get(known_id)
            if before is None:
                return entry
            asked = entry if kind is not None else entry.model_copy(update={"run_kind": before.kind})
            if differing := _differing(_start_of(before), asked):
                raise RunConflictError(
                    f"run [{known_id}] was started before, with another [{differing}]; expected the same: "
                    "give a new run another id, or none"
                )
            return None

        await self._journal.append_if_missing(missing)
        return self._runs[known_id]

    async def end(
        self,
        run_id: str,
        *,
        status: RunEnding = "completed",
        reason: str | None = None,
        result: object = None,
        by: By | None = None,
        importing: bool = False,
    ) -> Run:
        """Record how a run ended, by its full id, and return it; `result` is plain JSON.

        Only the importer (`importing`) may complete an import: other callers get a `RunConflictError`.

        To end a run again in the same way changes nothing; in another way it is a `RunConflictError`. Turns that are
        still open are not stopped: their decisions belong to the run.
        """
        try:
            entry = RunEndedEntry(
                **Identity.of(self._by if by is None else by).written(),
                run_id=run_id,
                status=status,
                reason=reason,
                result=json_value(result),
            )
        except ValidationError as error:
            raise _unwritable(run_id, error) from error

        def missing() -> Entry | None:
            before = self._runs.get(run_id)
            if before is None:
                raise _not_found(run_id, "is not known")
            if before.open and before.kind == "import" and status == "completed" and not importing:
                raise RunConflictError(
                    f"run [{run_id}] is an import that has not ended; expected it to be resumed, or abandoned: see "
                    "`loom import`"
                )
            if before.open:
                return entry
            if differing := _differing(_end_of(before), entry):
                raise RunConflictError(
                    f"run [{run_id}] has ended as [{before.status}], with another [{differing}]; "
                    "expected the same: a run ends once"
                )
            return None

        await self._journal.append_if_missing(missing)
        return self._runs[run_id]

    @contextlib.asynccontextmanager
    async def run(
        self,
        *,
        kind: RunKind | None = None,
        policies: Sequence[str] = (),
        parameters: Mapping[str, object] | None = None,
        seed: int | str | None = None,
        by: By | None = None,
        note: str | None = None,
        run_id: str | None = None,
    ) -> AsyncIterator[Run]:
        """Start a run, or continue an open one by its id. All commands that are sent within belong to it.

        `kind` is by default `live`, or that of the run that is continued.

        It ends as `completed`, or as `failed` with the exception. If the block is cancelled, or its process dies, the
        run stays open, and the same `run_id` with the same contents continues it. Tasks that are started within belong
        to it as well; the innermost run counts.
        """
        begun = await self.start(
            kind=kind, policies=policies, parameters=parameters, seed=seed, by=by, note=note, run_id=run_id
        )
        if not begun.open:
            raise RunConflictError(
                f"run [{begun.run_id}] has ended as [{begun.status}]; expected one that is open: start a new one"
            )
        outside = _within.get()
        _within.set((self._store, begun.run_id))
        try:
            yield begun
        except Exception as error:
            await self._end_failed(begun, error)
            raise
        else:
            if self._runs[begun.run_id].open:
                await self.end(begun.run_id, by=begun.starter)
        finally:
            _within.set(outside)

    async def _end_failed(self, begun: Run, error: Exception) -> None:
        """Record that a run failed. An error of that record must not hide the original one."""
        if not self._runs[begun.run_id].open:  # ended within the block
            return
        while (
            isinstance(error, ExceptionGroup) and len(error.exceptions) == 1
        ):  # the error of the task says more than that of its group
            error = error.exceptions[0]
        try:
            reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
            await self.end(begun.run_id, status="failed", reason=reason, by=begun.starter)
        except LoomError as unwritten:
            _log.warning("run_left_open", run=begun.run_id, error=str(unwritten))

    def _reference(self, version: str) -> PolicyReference:
        known = self._policies.resolve(version)
        return PolicyReference(name=known.name, version=known.version, hash=known.hash)

    async def _load(self) -> None:
        await self._journal.load()


def _checked(run_id: str) -> str:
    """Return an id that is valid as the key of a journal, as a run may have a journal of its name."""
    try:
        journal_name("run", run_id)
    except InvalidNameError as error:
        raise InvalidNameError(f"run id [{run_id!r:.80}] is not a name: {error}") from error
    return run_id


def _start_of(run: Run) -> RunStartedEntry:
    return RunStartedEntry(
        run_id=run.run_id,
        run_kind=run.kind,
        by=run.by,
        policies=run.policies,
        parameters=run.parameters,
        seed=run.seed,
        note=run.note,
    )


def _end_of(run: Run) -> RunEndedEntry:
    end = {"status": run.status, "by": run.ended_by, "reason": run.reason, "result": run.result}
    return RunEndedEntry.model_validate({"run_id": run.run_id, **end})


def _differing(first: Entry, now: Entry) -> str:
    """Return which fields differ: 1, 1.0 and true are different, and the order of keys does not matter."""
    # The way in which the name was given may differ: a run that began in a shell may be continued in a program.
    before, after = (each.model_dump(mode="json", exclude={"identity_source", "via"}) for each in (first, now))
    return ", ".join(
        name for name in before if json.dumps(before[name], sort_keys=True) != json.dumps(after[name], sort_keys=True)
    )


def _not_found(run_id: str, problem: str) -> RunNotFoundError:
    return RunNotFoundError(
        f"run [{run_id!r:.80}] {problem}; expected [the id of one run, or an unambiguous beginning of it]: "
        "see `loom runs`"
    )


def _unwritable(run_id: str, error: ValidationError) -> AdmissionError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return AdmissionError(
        f"run [{run_id}] cannot be written at [{where}] [{first['msg']}]; expected what `runs.start` and `runs.end` "
        "describe: correct that argument",
        path=f"$.{where}",
    )
