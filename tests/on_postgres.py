"""The tests of SQLite on PostgreSQL: where a test opens a journal in a file, it gets one on a server.

`make postgres-test` runs rooms of tests so, by `LOOM_TESTS_ON=postgresql`. What a test says about the file itself is no
question for a server: such tests are marked `sqlite`, with what they are about, and are skipped by that name. `verify`
and `stored` look where the journal is. A process that a test starts calls `join` first, so that it writes there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from loom.clock import Clock
from loom.journal.findings import Verification
from loom.journal.sqlite import JournalFiles, SqliteOptions, SqliteStore
from loom.journal.sqlite import verify as sqlite

if TYPE_CHECKING:  # needs an extra
    from loom.journal.postgres import PostgresStore, PostgresUrl
    from tests.postgres_server import Server

ON_POSTGRES = os.environ.get("LOOM_TESTS_ON") == "postgresql"

_SERVER = "LOOM_TESTS_SERVER"
"""In the environment, also of processes that a test starts: the URL of a journal, with these two to be filled in."""
_SCHEMA, _WORKSPACE = "SCHEMA", "WORKSPACE"
_OPENED: set[Path] = set()
"""The files in whose place the present test has opened journals."""

T = TypeVar("T")


def why_skipped(item: Any) -> str | None:
    """Return why a test is not run on PostgreSQL; None for one that is."""
    mark = item.get_closest_marker("sqlite")
    return None if mark is None else f"on SQLite alone, as it is about {mark.args[0]}"


@contextmanager
def journals_on(server: Server, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have stores of files open journals on a server meanwhile, the same file the same journal each time."""
    patch.setenv(_SERVER, server.url(workspace=_WORKSPACE, schema=_SCHEMA))
    patch.setattr(SqliteStore, "open", staticmethod(_open))
    yield
    while _OPENED:
        asyncio.run(_drop(_url(_OPENED.pop())))


def join() -> None:
    """Open the journals of this process, which a test has started, where the test has its own."""
    if _SERVER in os.environ:
        SqliteStore.open = staticmethod(_open)  # type: ignore[method-assign, assignment]


def opened_class() -> Any:
    """Return the class of the stores that tests open."""
    if _SERVER not in os.environ:
        return SqliteStore
    from loom.journal.postgres import PostgresStore

    return PostgresStore


def schema_of(path: Path) -> str:
    """Return the schema of the journal that would be in a file."""
    return "t_" + hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]


def verify(path: Path, *, workspace: str = "default") -> Verification:
    """Verify the journal of a file, or the one that is on a server in its place."""
    if _SERVER not in os.environ:
        return sqlite.verify(path, workspace=workspace)
    from loom.journal.postgres.verify import verify_server

    heads = JournalFiles(path).heads
    return _apart(lambda: verify_server(_url(path, workspace), heads, workspace=workspace))


def stored(directory: Path) -> bytes:
    """Return all bytes of all files under a directory, and those of the rows that are on a server in their place."""
    files = b"".join(file.read_bytes() for file in sorted(directory.rglob("*")) if file.is_file())
    return files + b"".join(_apart(partial(_rows, _url(path))) for path in _OPENED if path.is_relative_to(directory))


def _url(path: Path, workspace: str = "default") -> PostgresUrl:
    from loom.journal.postgres import PostgresUrl

    return PostgresUrl.parse(os.environ[_SERVER].replace(_SCHEMA, schema_of(path)).replace(_WORKSPACE, workspace))


def _apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on an event loop of its own, from a test that may have one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


async def _open(
    path: Path, *, workspace: str = "default", options: SqliteOptions | None = None, clock: Clock | None = None
) -> PostgresStore:
    from loom.journal.postgres import PostgresOptions, PostgresStore

    _OPENED.add(path.absolute())
    bounds: dict[str, Any] = (
        {} if options is None else {"max_pending_entries": options.max_pending_entries, "page": options.page}
    )
    url, files = _url(path, workspace), JournalFiles(path)
    return await PostgresStore.open(url, files, options=PostgresOptions(**bounds), clock=clock)


async def _rows(url: PostgresUrl) -> bytes:
    """Return what the tables of a journal hold, each value as the bytes that it is."""
    found = BytesIO()
    async with _connected(url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", url.schema)
        for (table,) in tables:
            query = f'SELECT * FROM "{url.schema}"."{table}"'
            await connection.copy_from_query(query, output=found, format="binary")
    return found.getvalue()


async def _drop(url: PostgresUrl) -> None:
    async with _connected(url) as connection:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{url.schema}" CASCADE')


@asynccontextmanager
async def _connected(url: PostgresUrl) -> AsyncIterator[Any]:
    import asyncpg

    connection = await asyncpg.connect(url.dsn, password=url.password)
    try:
        yield connection
    finally:
        await connection.close()
