"""How a batch is made ready: entries of both body schemes are in one chain, and are hashed as `verify` hashes them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from loom.journal import Append, Receipt, draft
from loom.journal.sqlite import JournalFiles, WriterOptions
from loom.journal.sqlite.verify import verify
from loom.journal.sqlite.writer import Writer
from tests.journal.support import NotedEntry, SetClock, note


@pytest.mark.parametrize("workspace", ["default", "acme"])
def test_entries_of_both_body_schemes_are_hashed_as_they_are_verified(tmp_path: Path, workspace: str) -> None:
    path = tmp_path / "journal.db"
    options = WriterOptions(min_free_bytes=0)
    writer = Writer(JournalFiles(path), workspace=workspace, options=options, clock=SetClock())
    writer.open()
    by_field = [draft(NotedEntry(text=text), redactable=("test.noted",)) for text in ("one", "two")]
    batch = [Append(journal, 0, [note("whole"), *by_field, note("again")]) for journal in ("a/1", "a/2")]
    receipts = writer.commit(batch)
    writer.close()
    assert all(isinstance(each, Receipt) for each in receipts)
    with contextlib.closing(sqlite3.connect(path)) as db:
        schemes = [row[0] for row in db.execute("SELECT body_scheme FROM entries ORDER BY position")]
    assert schemes == [1, 2, 2, 1] * 2
    found = verify(path)
    assert found.ok, list(found.lines())
