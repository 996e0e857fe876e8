"""The views file of a workspace: one thread that writes it, one read-only connection that reads it.

It is next to the journal and may be deleted at any time. A process loses SQLite's locks on a file when it opens and
closes that file by other means, so nothing opens it except through SQLite (reliability: finding 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from loom.background import finished
from loom.errors import AdmissionError, ProjectionFailedError
from loom.journal.entry import Recorded
from loom.journal.sqlite.connection import reader_uri
from loom.journal.sqlite.reading import Parameters, ReadConnection, Reading
from loom.projections.projection import Checkpoint, Projection
from loom.projections.sql import is_damage
from loom.projections.writer import Checkpoints, Identity, ViewsWriter, identify

__all__ = ["Parameters", "Views", "ViewsLostError"]

T = TypeVar("T")

_CHECKPOINTS = "SELECT name, version, shape, position, entry_hash, failed FROM checkpoints"


class ViewsLostError(ProjectionFailedError):
    """There is no sound views file to read. `damaged` identifies the file that was found damaged, if there is one.

    To do: open the loom: the views are rebuilt from the journal.
    """

    def __init__(self, message: str, *, damaged: Identity | None = None) -> None:
        super().__init__(message)
        self.damaged = damaged


class Views:
    """A views file. `start` makes this process its writer; reading needs no start."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._writer: ViewsWriter | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._reader: ReadConnection | None = None
        self._reader_identity: Identity | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def start(self, projections: Sequence[Projection]) -> Checkpoints:
        """Open the file for writing, create what is missing, and return the checkpoint of each projection.

        Raises `ProjectionFailedError` where the disk does not take it.
        """
        self._writer = ViewsWriter(self.path, projections, busy_timeout_s=self._busy_timeout_s)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loom-views")
        try:
            return await self._in_thread(self._writer.open)
        except sqlite3.Error as error:
            raise ProjectionFailedError(
                f"views [{self.path}] cannot be opened for writing [{error}]; expected a disk that has room and can be "
                "written: correct that and open the loom again, which loses nothing"
            ) from error

    async def apply(self, entries: Sequence[Recorded]) -> Checkpoints:
        """Fold a page of entries into the projections for which it is the next one."""
        writer = self._started()
        return await self._in_thread(lambda: writer.apply(entries))

    async def reset(self, names: Iterable[str]) -> Checkpoints:
        """Empty the tables of some projections."""
        writer, chosen = self._started(), list(names)
        return await self._in_thread(lambda: writer.reset(chosen))

    async def repair(self, damaged: Identity | None = None) -> Checkpoints:
        """Create the file again if it is not the one that was opened, or if that one was found to be damaged."""
        writer = self._started()
        return await self._in_thread(lambda: writer.repair(damaged))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run other work in the thread that writes, in its own transaction."""
        writer = self._started()
        return await self._in_thread(lambda: writer.write(work))

    async def fetch(self, statement: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """Read on the read-only connection. It is opened at first use, and again when the file was replaced.

        Raises `ViewsLostError` where there is no sound views file, `AdmissionError` for text that no view can hold.
        """
        connection: ReadConnection | None = None
        while connection is None or connection is not self._reader:  # it may be closed or replaced meanwhile
            # Shielded, as a cancelled caller would leave a half-opened connection that is never closed.
            connection = await finished(self._open_reader())
        identity = self._reader_identity
        try:
            return await connection.fetch(statement, parameters)
        except UnicodeEncodeError as error:
            raise AdmissionError(
                f"text [{error.object!r:.40}] was asked for; expected [text that UTF-8 can encode]: correct the value"
            ) from error
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            await self._close_reader()
            raise self._lost(str(error), identity) from error

    async def checkpoints(self) -> dict[str, tuple[Checkpoint, str]]:
        """Return the checkpoints in the file, each with the shape of its tables, by name."""
        rows = await self.fetch(_CHECKPOINTS)
        return {
            row["name"]: (
                Checkpoint(row["name"], row["version"], row["position"], row["entry_hash"], row["failed"]),
                row["shape"],
            )
            for row in rows
        }

    async def close(self) -> None:
        """Close both connections. Closing twice is harmless."""
        async with self._opening:
            self._closed = True
            await self._close_reader()
        executor, self._executor = self._executor, None
        writer, self._writer = self._writer, None
        if executor is not None and writer is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(executor, writer.close))
            executor.shutdown(wait=True)

    # --- inside ---------------------------------------------------------------------------------

    def _started(self) -> ViewsWriter:
        if self._writer is None:
            raise ProjectionFailedError(
                f"views [{self.path}] are open for reading only; expected the projector of this process: start it first"
            )
        return self._writer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in the thread of the views. If the caller is cancelled, the work still finishes."""
        if self._executor is None:
            raise self._is_closed()
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._executor, work))

    async def _open_reader(self) -> ReadConnection:
        async with self._opening:
            if self._closed:
                raise self._is_closed()
            identity = identify(self.path)
            if self._reader is not None and identity == self._reader_identity and self._reader.is_alive:
                return self._reader
            await self._close_reader()
            if identity is None:
                raise self._lost("it is missing")
            path, timeout = self.path, self._busy_timeout_s
            try:
                self._reader = await ReadConnection.open(
                    lambda: _connect_reader(path, busy_timeout_s=timeout), name="loom-views-reader"
                )
            except sqlite3.DatabaseError as error:
                raise self._lost(str(error), identity if is_damage(error) else None) from error
            self._reader_identity = identity
            return self._reader

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(sqlite3.Error):
                await reader.close()

    def _is_closed(self) -> ProjectionFailedError:
        return ProjectionFailedError(f"views [{self.path}] are closed; expected open ones: open the loom again")

    def _lost(self, problem: str, damaged: Identity | None = None) -> ViewsLostError:
        return ViewsLostError(
            f"views file [{self.path}] cannot be read [{problem}]; expected one that a projector has written: "
            "delete it if it exists, and start again: it is rebuilt from the journal",
            damaged=damaged,
        )


def _connect_reader(path: Path, *, busy_timeout_s: float) -> Reading:
    """Open a views file for reading only. The connection never checkpoints and cannot change anything."""
    connection = sqlite3.connect(
        reader_uri(path), uri=True, isolation_level=None, timeout=busy_timeout_s, factory=Reading
    )
    try:
        connection.row_factory = sqlite3.Row
        for pragma in ("query_only = ON", "trusted_schema = OFF", "temp_store = MEMORY", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("SELECT 1 FROM checkpoints LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection
