"""Copy a journal to PostgreSQL: every entry keeps its bytes, its hash and its place; the source is sealed at the end.

A copy that was interrupted goes on where it stopped: what is there already is compared first, as is everything at last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from loom.clock import SystemClock
from loom.errors import AppendRefusedError, JournalCorruptError, LoomError
from loom.journal.entry import Recorded
from loom.journal.places import NodeFiles, PlaceReader, check_installed, reader_of
from loom.journal.private import open_private
from loom.journal.sqlite.files import JournalFiles, WriterLock
from loom.journal.sqlite.reader import COLUMNS_3
from loom.journal.verifying import verify_journal

__all__ = ["Copied", "copy_journal"]

Progress = Callable[[int, int], None]

_PAGE = 1_000
_COLUMNS = tuple(COLUMNS_3.split(", "))


class Copied(NamedTuple):
    """The result of a copy: how many entries there are, how many of them this run copied, and the root of both."""

    entries: int
    copied: int
    root: str | None


async def copy_journal(source: JournalFiles, target: NodeFiles, *, workspace: str, progress: Progress) -> Copied:
    """Copy a journal to a server, verify both, compare every column of every entry, and seal the source.

    Raises `JournalLockedError` where a process writes the source, `JournalCorruptError` where the source or the copy
    does not verify, and `AppendRefusedError` where the target has other entries; nothing is sealed then.
    """
    check_installed()
    async with _kept_still(source):
        before = await verify_journal(source, workspace=workspace)
        if not before.ok:
            raise _unsound(source, before.lines().__next__())
        reader = reader_of(source, page=_PAGE)
        try:
            copied = await _copied(reader, target, total=before.size, progress=progress)
            await _compare(reader, target)
        finally:
            await reader.close()
        after = await verify_journal(target, workspace=workspace)
        if not after.ok or after.root != before.root or after.size != before.size:
            raise _unsound(target, after.lines().__next__())
        await _seal(source, target)
    return Copied(after.size, copied, after.root)


@contextlib.asynccontextmanager
async def _kept_still(source: JournalFiles) -> AsyncIterator[None]:
    """Hold the lock of a file, so that no loom writes it. On a server the writers have to be stopped by their owner."""
    if isinstance(source, NodeFiles):
        yield
        return
    lock = WriterLock(source.lock)
    lock.acquire(doing="copy")
    try:
        yield
    finally:
        lock.release()


async def _copied(reader: PlaceReader, target: NodeFiles, *, total: int, progress: Progress) -> int:
    """Append what the target does not have yet; its guards check every page."""
    from loom.journal.postgres.options import PostgresOptions
    from loom.journal.postgres.sessions import Sessions
    from loom.journal.postgres.writer import Writer

    options = PostgresOptions()
    sessions = Sessions(target.url, options, name="loom copy")
    writer = Writer(target.url, sessions, options=options, clock=SystemClock(), name="loom copy", address=None)
    try:
        await writer.open()
        done = await _begun(reader, sessions, target)
        first = done
        while page := await reader.page(after=done):
            await writer.keep_partitions(done, ahead=len(page))
            rows = [_row(each) for each in page]
            async with sessions.one(writing=True) as connection, connection.transaction():
                await connection.execute("SELECT set_config('loom.writer', $1, true)", str(writer.number))
                await connection.copy_records_to_table("entries", records=rows, columns=_COLUMNS)
            done = page[-1].position
            progress(done, max(done, total))
        async with sessions.one(writing=True) as connection:
            await connection.execute("SELECT setval('epochs', (SELECT coalesce(max(epoch), 0) + 1 FROM heads))")
        return done - first
    finally:
        await writer.close()
        await sessions.close()


async def _begun(reader: PlaceReader, sessions: Any, target: NodeFiles) -> int:
    """Return how far an earlier run came; refuse a target whose last entry is not that of the source."""
    async with sessions.one() as connection:
        tail = await connection.fetchrow("SELECT position, entry_hash FROM tail")
    there = (await reader.at([tail["position"]])).get(tail["position"])
    if tail["position"] and (there is None or there.entry_hash != tail["entry_hash"]):
        raise AppendRefusedError(
            f"journal [{target.url}] has [{tail['position']}] entries that are not those of the source; expected an "
            "empty one, or a copy that was interrupted: name another workspace or schema (nothing was written)"
        )
    return int(tail["position"])


async def _compare(reader: PlaceReader, target: NodeFiles) -> None:
    """Compare every column of every entry."""
    copy = reader_of(target, page=_PAGE)
    try:
        at = 0
        while True:
            page, other = await reader.page(after=at), await copy.page(after=at)
            pairs = zip([_row(each) for each in page], [_row(each) for each in other], strict=False)
            different = next((row[0] for row, its_copy in pairs if row != its_copy), None)
            if different is not None or (not page) != (not other):
                raise _unsound(target, f"entry {different} is not that of the source")
            if not page:
                return
            at = min(page[-1].position, other[-1].position)
    finally:
        await copy.close()


def _row(recorded: Recorded) -> tuple[Any, ...]:
    return tuple(getattr(recorded, name) for name in _COLUMNS)


def _unsound(files: JournalFiles, said: str) -> LoomError:
    return JournalCorruptError(
        f"journal [{files}] cannot be copied [{said}]; expected that it verifies: run `loom verify` (the source is as "
        "it was)"
    )


async def _seal(source: JournalFiles, target: NodeFiles) -> None:
    """Have every later attempt to write the source refused; reading goes on."""
    if isinstance(source, NodeFiles):
        from loom.journal.postgres.options import PostgresOptions
        from loom.journal.postgres.sessions import Sessions

        sessions = Sessions(source.url, PostgresOptions(), name="loom copy")
        try:
            async with sessions.one(writing=True) as connection:
                await connection.execute("INSERT INTO meta VALUES ('sealed', $1)", str(target.url))
        finally:
            await sessions.close()
        return
    descriptor = open_private(source.moved, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, f"{target.url}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
