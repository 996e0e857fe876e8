"""What the tests of the journal share: an entry to write, a clock to set, short forms."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from loom.journal import Append, Draft, Entry, JournalStore, Receipt, Recorded, draft
from loom.journal.chain import Header, entry_hash, genesis
from loom.journal.fields import digest_by
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.connection import APPLICATION_ID, SCHEMAS
from loom.journal.sqlite.reader import COLUMNS

START_US = 1_760_000_000_000_000

PLENTY = SqliteOptions(writer=WriterOptions(min_free_bytes=0))
"""Options for tests that run on small file systems, or do not care."""


class NotedEntry(Entry):
    """The least entry there can be."""

    kind: ClassVar[str] = "test.noted"

    text: str = ""


@dataclass
class SetClock:
    """A clock that stands still until a test moves it."""

    us: int = START_US
    read: int = field(default=0)

    def now_us(self) -> int:
        self.read += 1
        return self.us


def note(text: str = "", *, command_id: str | None = None) -> Draft:
    return draft(NotedEntry(text=text), command_id=command_id)


def received(command_id: str, payload: JsonValue = None) -> Draft:
    return draft(
        CommandReceivedEntry(command_type="Test", payload=payload, correlation_id=command_id), command_id=command_id
    )


def mark(kind: str, command_id: str | None) -> Draft:
    """Make an entry of any kind with a body that stands for nothing."""
    return note(command_id=command_id)._replace(kind=kind)


def notes(journal: str, expected: int, count: int = 1, *, text: str = "") -> Append:
    return Append(journal, expected, [note(text or f"{expected + i + 1}") for i in range(count)])


def as_format(path: Path, version: int) -> None:
    """Take a journal, its log folded, back to what a loom of an older format would have made of it."""
    older = path.with_suffix(".older")
    with closing(sqlite3.connect(older, isolation_level=None)) as db:
        db.executescript(SCHEMAS[version])
        db.execute("ATTACH ? AS newer", (str(path),))
        db.execute(f"INSERT INTO entries SELECT {COLUMNS} FROM newer.entries ORDER BY position")
        db.execute("INSERT INTO meta SELECT key, value FROM newer.meta WHERE key <> 'format'")
        db.execute("INSERT INTO writer SELECT one, epoch FROM newer.writer")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
    older.replace(path)


async def collected(stream: AsyncIterator[Recorded]) -> list[Recorded]:
    return [recorded async for recorded in stream]


async def fill(store: JournalStore, counts: dict[str, int]) -> list[Receipt]:
    """Append one by one, in turns over the journals."""
    receipts = []
    for step in range(max(counts.values())):
        for journal, count in counts.items():
            if step < count:
                receipts.append(await store.append(notes(journal, step)))
    return receipts


async def filled(path: Path, counts: dict[str, int], *, options: SqliteOptions = PLENTY) -> list[Receipt]:
    """Write a journal file and close it."""
    store = await SqliteStore.open(path, options=options)
    try:
        return await fill(store, counts)
    finally:
        await store.close()


def assert_chained(entries: Sequence[Recorded], *, workspace: str = "default") -> None:
    """Check digests, hashes and gaplessness of entries that were read by position from the first."""
    last: dict[str, tuple[int, bytes]] = {}
    for position, entry in enumerate(entries, start=1):
        sequence, previous = last.get(entry.journal, (0, genesis(workspace, entry.journal)))
        assert (entry.position, entry.sequence) == (position, sequence + 1)
        assert entry.salt is not None
        assert entry.body is not None
        assert entry.body_digest == digest_by(entry.body_scheme, entry.salt, entry.body)
        header = header_of(entry, workspace)
        assert entry.entry_hash == entry_hash(header, entry.body_digest, previous, scheme=entry.body_scheme)
        last[entry.journal] = entry.sequence, entry.entry_hash


def header_of(entry: Recorded, workspace: str = "default") -> Header:
    return Header(
        workspace=workspace,
        journal=entry.journal,
        kind=entry.kind,
        command_id=entry.command_id,
        policy_hash=entry.policy_hash,
        sequence=entry.sequence,
        position=entry.position,
        schema_version=entry.schema_version,
        epoch=entry.epoch,
        recorded_at_us=entry.recorded_at_us,
        clock_back_us=entry.clock_back_us,
    )


def environment() -> dict[str, str]:
    """The environment of a child process that imports loom and these tests."""
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
