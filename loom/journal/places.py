"""Where a journal lies, in a file or on a server, and how it is opened for reading there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from loom.errors import ConfigError
from loom.journal.entry import Recorded
from loom.journal.postgres.url import PostgresUrl
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.reader import Reader
from loom.journal.sqlite.store_reads import StoreReader

__all__ = ["NodeFiles", "PlaceReader", "check_installed", "reader_of"]


class PlaceReader(StoreReader, Protocol):
    """What reads a journal, wherever it lies. Opens at first use; close it when done."""

    async def page(self, *, after: int, until: int | None = None) -> list[Recorded]:
        """Return the next page of the workspace by position; an empty page says that there is no more for now."""
        ...

    async def tail(self) -> int:
        """Return the last position there is, 0 in an empty journal."""
        ...

    async def workspace(self) -> str | None:
        """Return the workspace that the journal belongs to."""
        ...

    async def close(self) -> None:
        """Close the connections, if any were opened. Closing twice is harmless."""
        ...


class NodeFiles(JournalFiles):
    """The files of one process on its own disk, where the journal is in PostgreSQL."""

    def __init__(self, directory: Path, url: PostgresUrl) -> None:
        super().__init__(directory / "node.db")
        self.url = url

    def __str__(self) -> str:
        return str(self.url)

    def exists(self) -> bool:
        """Return True: whether there is a journal is for the server to say."""
        return True


def reader_of(files: JournalFiles, *, page: int = 1_000) -> PlaceReader:
    """Return a reader of the journal of these files, not opened yet; raise `ConfigError` without the extra it needs."""
    if not isinstance(files, NodeFiles):
        return Reader(files.journal, page=page)
    check_installed()
    from loom.journal.postgres.options import PostgresOptions
    from loom.journal.postgres.reader import PostgresReader

    return PostgresReader(files.url, options=PostgresOptions(page=page))


def check_installed() -> None:
    """Raise `ConfigError` where asyncpg is not installed."""
    try:
        import asyncpg  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "a journal in PostgreSQL needs the package [asyncpg]; expected it to be installed: "
            "pip install 'loom-journal[postgres]'"
        ) from error
