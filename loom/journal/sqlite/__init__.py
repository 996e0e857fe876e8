"""The journal in SQLite: one file, one writing process, any number of readers."""

from __future__ import annotations

from loom.journal.sqlite.files import JournalFiles, WriterLock, filesystem_of
from loom.journal.sqlite.options import SqliteOptions, WriterOptions
from loom.journal.sqlite.reader import Reader
from loom.journal.sqlite.store import SqliteStore

__all__ = ["JournalFiles", "Reader", "SqliteOptions", "SqliteStore", "WriterLock", "WriterOptions", "filesystem_of"]
