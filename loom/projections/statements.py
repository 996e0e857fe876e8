"""Statements of people: SQL over the views of a loom, for reading, in a process that is bounded and then ends.

A statement that is wrong, refused or too much gives an answer that says so; nothing else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.journal.sqlite.connection import reader_uri
from loom.projections import sql_worker
from loom.telemetry import get_logger

__all__ = ["MOST_CHARACTERS", "StatementResult", "Statements"]

MOST_CHARACTERS = 10_000
_WORKER = str(Path(sql_worker.__file__))
_AT_ONCE = 2
_HIDDEN = ("checkpoints", "snapshots", "snapshot_subjects")
"""What is of no use to people: how far projections are, and states of actors, packed."""
_GRACE_S = 1.0
_MOST_BYTES = 32 * 1024**2

_log = get_logger("loom.projections")


class StatementResult(BaseModel):
    """What a statement gives, or the `problem` with it. `more` says that it has further rows."""

    model_config = ConfigDict(frozen=True)

    tables: dict[str, tuple[str, ...]] = {}
    """The tables that can be read, with their columns."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[JsonValue, ...], ...] = ()
    more: bool = False
    problem: str | None = None


class Statements:
    """Runs statements over a views file, `at_once` of them at the same time; the others wait for their turn."""

    def __init__(
        self,
        views: Path,
        *,
        timeout_s: float = 2.0,
        rows: int = 500,
        memory_bytes: int = 512 * 1024**2,
        at_once: int = _AT_ONCE,
    ) -> None:
        """Read a views file. A statement gets so much time and memory, and gives so many rows."""
        self.rows = rows
        self.timeout_s = timeout_s
        self._views = views
        self._memory_bytes = memory_bytes
        self._running = asyncio.Semaphore(at_once)

    async def run(self, statement: str | None) -> StatementResult:
        """Return what a statement gives; without one, what can be asked."""
        if statement is not None and (len(statement) > MOST_CHARACTERS or "\x00" in statement):
            return StatementResult(problem=f"expected a statement of {MOST_CHARACTERS:,} characters at most")
        request = {
            "uri": reader_uri(self._views),
            "statement": statement,
            "timeout_s": self.timeout_s,
            "rows": self.rows,
            "memory_bytes": self._memory_bytes,
            "hidden": _HIDDEN,
        }
        try:
            line = json.dumps(request).encode("ascii") + b"\n"
        except UnicodeEncodeError:
            return StatementResult(problem="expected text that UTF-8 can encode")
        try:
            async with asyncio.timeout(self.timeout_s * 5), self._running:
                return await self._answered(line)
        except TimeoutError:
            return StatementResult(problem="too many statements run at the same time: try again")

    async def _answered(self, line: bytes) -> StatementResult:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", _WORKER, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, limit=_MOST_BYTES
        )
        try:
            async with asyncio.timeout(self.timeout_s + _GRACE_S):
                said, _ = await process.communicate(line)
        except TimeoutError:
            return StatementResult(problem=f"it took longer than {self.timeout_s:g} s: ask for less")
        finally:
            await _ended(process)
        try:
            answer: Any = json.loads(said)
        except ValueError:
            _log.warning("statement_ended_its_process", code=process.returncode)
            return StatementResult(problem="it takes too much memory or time: ask for less")
        return StatementResult.model_validate(answer)


async def _ended(process: Process) -> None:
    """End a process that still runs, and wait until it is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
