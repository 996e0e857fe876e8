"""Snapshots of actor states. They are kept in the views file: they are an optimisation, and may be lost at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from loom.errors import ProjectionFailedError
from loom.projections.views import Views
from loom.telemetry import get_logger

__all__ = ["Snapshot", "Snapshots"]

_PUT = "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?)"
_GET = "SELECT journal, actor_type, state_version, sequence, entry_hash, body FROM snapshots WHERE journal = ?"
_DELETE = "DELETE FROM snapshots WHERE journal = ?"
_NAME = "INSERT OR IGNORE INTO snapshot_subjects VALUES (?, ?)"
_UNNAME = "DELETE FROM snapshot_subjects WHERE journal = ?"
_DROP = "DELETE FROM snapshots WHERE journal IN (SELECT journal FROM snapshot_subjects WHERE subject = ?)"
_UNNAME_ALL = """
DELETE FROM snapshot_subjects WHERE journal IN (SELECT journal FROM snapshot_subjects WHERE subject = ?)
"""

_log = get_logger("loom.projections")


class Snapshot(NamedTuple):
    """The state of an actor after one entry of its journal, identified by sequence and hash."""

    journal: str
    actor_type: str
    state_version: int
    sequence: int
    entry_hash: bytes
    body: bytes


class Snapshots:
    """Keeps the last snapshot of each journal. A failure here is logged, and costs a longer fold, nothing else."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def get(self, journal: str) -> Snapshot | None:
        """Return the snapshot of a journal, or None."""
        try:
            rows = await self._views.fetch(_GET, (journal,))
        except (sqlite3.Error, ProjectionFailedError) as error:
            _log.warning("snapshot_not_read", journal=journal, problem=str(error))
            return None
        return next((Snapshot(*row) for row in rows), None)

    async def put(
        self,
        journal: str,
        *,
        actor_type: str,
        state_version: int,
        sequence: int,
        entry_hash: bytes,
        body: bytes,
        subjects: Collection[str] = (),
    ) -> None:
        """Keep a snapshot in place of an earlier one; `subjects` are those that it was sealed for."""
        snapshot = Snapshot(journal, actor_type, state_version, sequence, entry_hash, body)
        await self._write(
            (_UNNAME, [(journal,)]), (_PUT, [snapshot]), (_NAME, [(journal, each) for each in sorted(subjects)])
        )

    async def forget(self, subject: str) -> None:
        """Drop the snapshots that were sealed for a subject."""
        await self._write((_DROP, [(subject,)]), (_UNNAME_ALL, [(subject,)]))

    async def put_many(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep several snapshots in one transaction."""
        await self._write((_PUT, snapshots))

    async def delete(self, journal: str) -> None:
        """Forget the snapshot of a journal."""
        await self._write((_DELETE, [(journal,)]), (_UNNAME, [(journal,)]))

    async def _write(self, *writes: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        """Carry out statements with their rows, all in one transaction."""

        def work(connection: sqlite3.Connection) -> None:
            for statement, rows in writes:
                connection.executemany(statement, rows)

        try:
            await self._views.write(work)
        except (sqlite3.Error, ProjectionFailedError) as error:
            _log.warning("snapshots_not_written", count=len(writes[0][1]), problem=str(error))
