"""The process that judges for pages, so that turns do not wait: `python -m loom.replay.what_if.worker`.

It opens journals for reading and nothing else, imports no code of a user, and yields to other processes (`nice`). Each
session has one job, and the newest wins: a job is dropped as soon as its session sends another. The process ends when
its standard input does, so it ends with its server, even if that was killed. A limit of memory makes a job that needs
too much fail, and not the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, NamedTuple

from loom.decisions import TracesProjection
from loom.errors import LoomError
from loom.journal.sqlite import JournalFiles, Reader
from loom.policies.tables.table import Table
from loom.projections import Queries, open_views_for_reading
from loom.replay.sealed import Sights
from loom.replay.selection import Selection
from loom.replay.what_if.columns import add_newer, load_columns
from loom.replay.what_if.messages import HEADER_BYTES, MOST_BYTES, Answered, Job, framed
from loom.replay.what_if.sweeping import sweep
from loom.replay.what_if.trial import Dropped, Trial
from loom.sealing import Erasures

__all__ = ["main"]

_NICENESS = 10
_MOST_TRIALS = 3
_MOST_GROWN = 1.1


class Jobs:
    """The newest job of each session, and the answers."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._waiting: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()

    def read(self) -> None:
        """Take jobs until there are no more, then end the process, whatever it is doing."""
        with contextlib.suppress(OSError, ValueError):
            while len(head := self._source.read(HEADER_BYTES)) == HEADER_BYTES:
                size = int.from_bytes(head)
                if size > MOST_BYTES or len(body := self._source.read(size)) != size:
                    break
                self._put(Job.model_validate_json(body))
        os._exit(0)

    def _put(self, job: Job) -> None:
        with self._changed:
            older = self._waiting.pop(job.session, None)
            self._waiting[job.session] = job
            self._changed.notify()
        if older is not None:
            self.answer(Answered(number=older.number, dropped=True))

    def next(self) -> Job:
        """Return the job that waits longest, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popitem(last=False)[1]

    def check(self, job: Job) -> None:
        """Raise `Dropped` if the session of a job has sent another."""
        if job.session in self._waiting:
            raise Dropped

    def answer(self, answered: Answered) -> None:
        """Send an answer."""
        with self._changed:
            self._sink.write(framed(answered))
            self._sink.flush()


class _Open(NamedTuple):
    """Views that are open, what closes them, and which file they are."""

    queries: Queries
    stack: contextlib.AsyncExitStack
    file: tuple[int, int] | None


class Judge:
    """Does jobs; the decisions of the last few policies stay in memory."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._trials: OrderedDict[tuple[str, str, str], Trial] = OrderedDict()
        self._open: dict[str, _Open] = {}

    def serve(self) -> None:
        """Do jobs, one after the other, for ever."""
        with asyncio.Runner() as runner:
            while True:
                self._do(self._jobs.next(), runner)

    def _do(self, job: Job, runner: asyncio.Runner) -> None:
        try:
            self._jobs.answer(runner.run(self._answered(job)))
        except Dropped:
            self._jobs.answer(Answered(number=job.number, dropped=True))
        except LoomError as error:
            self._jobs.answer(Answered(number=job.number, refused=str(error)))
        except MemoryError:
            self._trials.clear()
            words = f"the decisions of [{job.base.get('name')}] need more memory than is allowed; judge fewer"
            self._jobs.answer(Answered(number=job.number, refused=words))

    async def _answered(self, job: Job) -> Answered:
        def alive() -> None:
            self._jobs.check(job)

        base, edited = Table.of(job.base, checked=False), Table.of(job.edited, checked=False)
        trial = await self._trial(job, base)
        if job.sweeps is not None:
            return Answered(number=job.number, sweep=sweep(trial, edited, job.sweeps, alive=alive))
        return Answered(number=job.number, result=trial.judge(edited, listed=job.listed, alive=alive))

    async def _trial(self, job: Job, base: Table) -> Trial:
        """Return the trial of a table with all decisions up to now."""
        key = (job.journal, base.name, base.version_hash)
        known = self._trials.pop(key, None)
        queries = await self._queries(Path(job.journal))
        try:
            trial = await self._up_to_now(known, job, base, queries)
        except Dropped:
            raise
        except Exception:  # whatever is wrong with what was open is not met again
            await self._close(job.journal)
            raise
        self._trials[key] = trial
        while len(self._trials) > _MOST_TRIALS:
            self._trials.popitem(last=False)
        return trial

    async def _queries(self, journal: Path) -> Queries:
        """Return the views of a journal; they stay open until they are another file."""
        files, found = JournalFiles(journal), self._open.get(str(journal))
        file = _identity(files.views)
        if found is not None and found.file == file is not None:
            return found.queries
        await self._close(str(journal))
        stack = contextlib.AsyncExitStack()
        queries = await stack.enter_async_context(open_views_for_reading(files, [TracesProjection()]))
        as_written = isinstance(queries.entries, Reader)  # else it is a copy, which does not grow
        self._open[str(journal)] = _Open(queries, stack, file if as_written else None)
        return queries

    async def _close(self, journal: str) -> None:
        if (found := self._open.pop(journal, None)) is not None:
            await found.stack.aclose()

    async def _up_to_now(self, known: Trial | None, job: Job, base: Table, queries: Queries) -> Trial:
        selection, erasures = Selection(policy=base.name), Erasures(queries.entries)
        await erasures.load()
        sight = Sights(erasures).as_recorded()
        if known is None or len(known.columns) > job.most * _MOST_GROWN:

            def alive() -> None:
                self._jobs.check(job)

            loading = load_columns(queries, base.layout, selection, sight=sight, most=job.most, alive=alive)
            return Trial(await loading, base)
        if await queries.position(["traces"]) == known.columns.position:
            return known
        newer = await add_newer(known.columns, queries, selection, sight=sight)
        return Trial(known.columns, base) if newer else known


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def main() -> None:
    """Serve until the standard input ends; the argument is the limit of memory in bytes."""
    os.nice(_NICENESS)
    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    jobs = Jobs(sys.stdin.buffer, sys.stdout.buffer)
    sys.stdout = sys.stderr  # nothing but answers goes there
    threading.Thread(target=jobs.read, daemon=True).start()
    Judge(jobs).serve()


if __name__ == "__main__":
    main()
