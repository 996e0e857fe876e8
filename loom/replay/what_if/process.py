"""The server's end of the process that judges for pages: it starts, asks, bounds and ends that process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from loom.background import Background, Child
from loom.errors import AdmissionError, WhatIfUnavailableError
from loom.policies.tables.table import Table
from loom.replay.what_if.columns import MOST_CASES
from loom.replay.what_if.messages import HEADER_BYTES, Answered, Job, framed
from loom.replay.what_if.results import Sweep, TrialResult
from loom.telemetry import get_logger

__all__ = ["WhatIfProcess"]

_MOST_WAITING = 200
_MEMORY_BYTES = 2 * 1024**3
_TIMEOUT_S = 120.0
_MODULE = "loom.replay.what_if.worker"

_log = get_logger("loom.replay")


class WhatIfProcess:
    """Judges decisions of one journal in another process, which starts with the first question.

    A session has one question at a time: with a newer one, the older one is answered with None. A process that ends,
    or needs longer than `timeout_s` for one question, is replaced; what was asked of it is a `WhatIfUnavailableError`.
    """

    def __init__(
        self,
        journal: Path,
        *,
        timeout_s: float = _TIMEOUT_S,
        memory_bytes: int = _MEMORY_BYTES,
        most_cases: int = MOST_CASES,
        background: Background | None = None,
    ) -> None:
        """Judge the decisions of a journal file, the newest `most_cases` of a policy."""
        self._background = background or Background()
        self._journal = journal
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._most_cases = most_cases
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._process: Process | None = None
        self._reading: Child[None] | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The id of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def judge(self, session: str, base: Table, edited: Table, *, listed: int = 50) -> TrialResult | None:
        """Return what an edited table says about recorded decisions; None if the session asked something newer.

        Raises `AdmissionError` for a table that cannot be judged, and `WhatIfUnavailableError`.
        """
        answered = await self._ask(session, base, edited, listed=listed)
        return answered.result

    async def sweep(self, session: str, base: Table, edited: Table, parameter: str) -> Sweep | None:
        """Return the effects for several values of a parameter; None if the session asked something newer."""
        answered = await self._ask(session, base, edited, sweeps=parameter)
        return answered.sweep

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        await self._end("it was closed")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, journal: Path, **bounds: Any) -> AsyncIterator[WhatIfProcess]:
        """Yield one that is closed at the end."""
        process = cls(journal, **bounds)
        try:
            yield process
        finally:
            await process.close()

    async def _ask(self, session: str, base: Table, edited: Table, **what: Any) -> Answered:
        if len(self._waiting) >= _MOST_WAITING:
            raise WhatIfUnavailableError(
                f"[{len(self._waiting)}] questions wait to be judged; expected fewer: ask again in a moment"
            )
        job = Job(
            number=next(self._numbers),
            session=session,
            journal=str(self._journal),
            base=base.written(),
            edited=edited.written(),
            most=self._most_cases,
            **what,
        )
        waiting: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting[job.number] = waiting
        try:
            await self._send(framed(job))
            async with asyncio.timeout(self._timeout_s):
                answered = await waiting
        except TimeoutError as error:
            await self._end("it took too long")
            raise WhatIfUnavailableError(
                f"judging took longer than [{self._timeout_s:g}] s; expected less: try a smaller table"
            ) from error
        finally:
            self._waiting.pop(job.number, None)
        if answered.refused is not None:
            raise AdmissionError(answered.refused)
        return answered

    async def _send(self, message: bytes) -> None:
        async with self._starting:
            if self._closed:
                raise WhatIfUnavailableError("the process that judges is closed; expected an open loom: open one")
            process = self._process
            if process is None or process.returncode is not None:
                process = await self._start()
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            try:
                process.stdin.write(message)
                await process.stdin.drain()
            except (ConnectionError, RuntimeError) as error:
                raise WhatIfUnavailableError("the process that judges has ended; ask again") from error

    async def _start(self) -> Process:
        given = [sys.executable, "-P", "-m", _MODULE, str(self._memory_bytes)]
        try:
            process = await asyncio.create_subprocess_exec(*given, stdin=PIPE, stdout=PIPE)
        except OSError as error:
            raise WhatIfUnavailableError(
                f"the process that judges cannot be started [{error.strerror}]; expected memory and a free process: "
                "try again"
            ) from error
        self._process = process
        self._reading = self._background.start(self._read(process), name="loom-what-if")
        return process

    async def _read(self, process: Process) -> None:
        """Hand answers out until the process ends; then what was asked of it has failed."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await process.stdout.readexactly(HEADER_BYTES))
                answered = Answered.model_validate_json(await process.stdout.readexactly(size))
                waiting = self._waiting.get(answered.number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answered)
        code = await process.wait()
        if self._process is process:
            self._process = None
            self._fail(f"it ended with [{code}]")
            _log.warning("what_if_process_ended", code=code)

    def _fail(self, problem: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    WhatIfUnavailableError(f"the process that judges gave no answer: {problem}; ask again")
                )

    async def _end(self, problem: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._fail(problem)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if self._reading is not None:
            await self._reading
