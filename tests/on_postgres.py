"""The tests of SQLite on PostgreSQL: where a test opens a journal in a file, it gets one on a server.

`make cluster-test` runs the suite of actors so, with `LOOM_TESTS_ON=postgresql`. What a test says about the file itself
is no question for a server: such tests are marked `sqlite`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loom.clock import Clock
from loom.journal.sqlite import JournalFiles, SqliteOptions, SqliteStore
from tests.postgres_server import Server

ON_POSTGRES = os.environ.get("LOOM_TESTS_ON") == "postgresql"


@contextmanager
def journals_on(server: Server, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have stores of files open journals on a server meanwhile, the same file the same journal each time."""
    from loom.journal.postgres import PostgresOptions, PostgresStore, PostgresUrl

    schemas: set[str] = set()

    async def open_store(
        path: Path, *, workspace: str = "default", options: SqliteOptions | None = None, clock: Clock | None = None
    ) -> PostgresStore:
        schema = "t_" + hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]
        schemas.add(schema)
        url = PostgresUrl.parse(server.url(workspace=workspace, schema=schema))
        bounds: dict[str, Any] = (
            {} if options is None else {"max_pending_entries": options.max_pending_entries, "page": options.page}
        )
        return await PostgresStore.open(url, JournalFiles(path), options=PostgresOptions(**bounds), clock=clock)

    patch.setattr(SqliteStore, "open", staticmethod(open_store))
    yield
    asyncio.run(_drop(server, schemas))


async def _drop(server: Server, schemas: set[str]) -> None:
    import asyncpg

    from loom.journal.postgres import PostgresUrl

    url = PostgresUrl.parse(server.url())
    connection: Any = await asyncpg.connect(url.dsn, password=url.password)
    for schema in schemas:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await connection.close()
