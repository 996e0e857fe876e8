"""The published views in PostgreSQL: a schema of their own, written in transactions that move a position with the rows.

A transaction names the position that it follows; where another process has moved it meanwhile, nothing is written. A
process that was fenced in the journal writes nothing here either, where both are in one database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from loom.errors import ConfigError, LoomError, ProjectionFailedError, WriterFencedError
from loom.journal.postgres.connecting import Connection, check_server, connect, is_to_make, quoted, without_cause
from loom.journal.postgres.faults import explained, state_of
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.url import PostgresUrl
from loom.publishing.capture import PublishedTable, Rows
from loom.publishing.reading import STATES, state_of_row
from loom.publishing.state import MovedError, Page, PublishedState, Target
from loom.publishing.tables import BUILDING, SCHEMA, WORDS, columns_by_place, create, delete, grant, next_name, upsert
from loom.telemetry import get_logger

__all__ = ["PublishedSchema"]

FORMAT = 1
_BEGIN = """
INSERT INTO published_views (name, building, version, shape, position, entry_hash, tables)
VALUES ($1, true, $2, $3, 0, '', $4)
"""
_AT = "SELECT position, entry_hash FROM published_views WHERE (name, building) = ($1, $2) FOR UPDATE"
_MOVE = """
UPDATE published_views SET position = $3, entry_hash = $4, problem = NULL, published_at = now()
WHERE (name, building) = ($1, $2)
"""
_PROBLEM = "UPDATE published_views SET problem = $2 WHERE name = $1 AND problem IS DISTINCT FROM $2"
_DROP = "DELETE FROM published_views WHERE (name, building) = ($1, $2) RETURNING tables"
_ROLES = "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1::name[])"
_SWAP_LOCK_MS = 1_000

_log = get_logger("loom.publishing")


class PublishedSchema:
    """The schema of the published views of a workspace. Opens at first use; close it when done."""

    def __init__(
        self,
        url: PostgresUrl,
        *,
        readers: Sequence[str] = (),
        writer: tuple[str, int] | None = None,
        options: PostgresOptions | None = None,
    ) -> None:
        """Take where they are, which roles may read, and the journal's schema with the number of this writer there."""
        self.url = url
        self._readers = tuple(readers)
        self._writer = writer
        self._options = options or PostgresOptions()
        self._connection: Connection | None = None
        self._using = asyncio.Lock()
        self.unaccent = False
        """Whether accents do not matter in a search for words."""

    async def states(self) -> dict[str, dict[bool, PublishedState]]:
        """Return name → whether it is building → how far it is."""
        async with self._transaction() as connection:
            rows = await connection.fetch(STATES)
        found: dict[str, dict[bool, PublishedState]] = {}
        for row in rows:
            state = state_of_row(row)
            found.setdefault(state.name, {})[state.building] = state
        return found

    async def begin(self, target: Target) -> PublishedState:
        """Make empty tables next to those that are read, in place of earlier ones that were not finished."""
        names = [next_name(table.name) for table in target.tables]
        async with self._transaction() as connection:
            await self._check_fence(connection)
            await self._drop(connection, target.name, building=True)
            for table, name in zip(target.tables, names, strict=True):
                for statement in create(table, name, schema=self.url.schema):
                    await connection.execute(statement)
            await connection.execute(_BEGIN, target.name, target.version, target.shape, names)
        return PublishedState(target.name, True, target.version, target.shape, 0, b"", tuple(names), None)

    async def publish(self, pages: Sequence[Page]) -> list[PublishedState]:
        """Write pages with their positions, all or none; raise `MovedError` where one does not follow any more."""
        async with self._transaction() as connection:
            for page in sorted(pages, key=lambda each: each.target.name):
                await self._follow(connection, page.after)
                for table in page.target.tables:
                    changes = page.changes[table.name]
                    name = next_name(table.name) if page.after.building else table.name
                    if changes.gone:
                        gone = columns_by_place(changes.gone, len(table.key))
                        await connection.execute(delete(table, name), *gone)
                    if changes.rows:
                        await connection.execute(
                            upsert(table, name), *columns_by_place(changes.rows, len(table.columns))
                        )
                await self._move(connection, page.after, page.position, page.entry_hash)
        return [page.after._replace(position=page.position, entry_hash=page.entry_hash) for page in pages]

    async def copy(
        self,
        after: PublishedState,
        rows: AsyncIterator[tuple[PublishedTable, Rows]],
        *,
        position: int,
        entry_hash: bytes,
    ) -> PublishedState:
        """Fill empty tables with all rows that there are at a position."""
        async with self._transaction() as connection:
            await self._follow(connection, after)
            async for table, some in rows:
                await connection.copy_records_to_table(
                    next_name(table.name), records=some, columns=table.columns, timeout=None
                )
            await self._move(connection, after, position, entry_hash)
        return after._replace(position=position, entry_hash=entry_hash)

    async def swap(self, target: Target) -> str | None:
        """Put tables that are filled in place of those that are read; return what is in the way, None where it is done.

        It waits for no one who reads for long, as all others would wait behind it.
        """
        try:
            async with self._transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = {_SWAP_LOCK_MS}")
                await self._check_fence(connection)
                if await connection.fetchrow(_AT, target.name, True) is None:
                    raise MovedError
                await self._drop(connection, target.name, building=False)
                for each in target.tables:
                    await connection.execute(
                        f"ALTER TABLE {quoted(next_name(each.name))} RENAME TO {quoted(each.name)}"
                    )
                await self._let_in(connection, [each.name for each in target.tables])
                await connection.execute(
                    "UPDATE published_views SET building = false, tables = $2 WHERE name = $1",
                    target.name,
                    [each.name for each in target.tables],
                )
        except _InTheWayError as error:
            return str(error)
        return None

    async def note_problem(self, name: str, problem: str | None) -> None:
        """Write down why a projection is not published any further, for those who read it."""
        async with self._transaction() as connection:
            await connection.execute(_PROBLEM, name, problem)

    async def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    # --- inside ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection in a transaction; after any failure it is closed, and the next call opens another."""
        try:
            async with self._using:
                connection = self._connection or await self._opened()
                async with connection.transaction():
                    yield connection
        except MovedError:
            raise
        except BaseException as error:
            if state_of(error) in ("55P03", "2BP01"):
                raise _InTheWayError(" ".join(str(error).split())) from without_cause(error)
            await self.close()
            if isinstance(error, (LoomError, asyncio.CancelledError)) or not isinstance(error, Exception):
                raise
            raise self._explained(error) from without_cause(error)

    def _explained(self, error: Exception) -> LoomError:
        if state_of(error) == "42501":
            return ConfigError(
                f"views cannot be published in [{self.url}]: the account may not do that [{error}]; expected one that "
                f"owns schema [{self.url.schema}]: have the owner of the database run "
                f"[CREATE SCHEMA {quoted(self.url.schema)} AUTHORIZATION …]"
            )
        return explained(error, self.url, writing=True)

    async def _opened(self) -> Connection:
        connection = await connect(self.url, self._options, name="loom publisher", writing=True)
        try:
            await check_server(connection, self.url, self._options, writing=True)
            async with connection.transaction():
                await self._ensure(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection

    async def _ensure(self, connection: Connection) -> None:
        schema = self.url.schema
        if await is_to_make(connection, schema, "published_from", lock="loom views"):
            await connection.execute(SCHEMA)
            self.unaccent = await self._without_accents(connection)
            await connection.execute(
                "INSERT INTO published_from (format, workspace, unaccent) VALUES ($1, $2, $3)",
                FORMAT,
                self.url.workspace,
                self.unaccent,
            )
        row = await connection.fetchrow("SELECT format, workspace, unaccent FROM published_from")
        if (row["format"], row["workspace"]) != (FORMAT, self.url.workspace):
            raise ConfigError(
                f"schema [{schema}] has views of workspace [{row['workspace']}] in format [{row['format']}]; expected "
                f"[{self.url.workspace}] in format [{FORMAT}]: name another with [schema=…] in publish.url"
            )
        self.unaccent = row["unaccent"]
        for role in sorted(await self._known_roles(connection)):
            await connection.execute(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)}")
        tables = [name for row in await connection.fetch(STATES) for name in row["tables"]]
        await self._let_in(
            connection, ["published_views", "published_from", *(each for each in tables if not each.endswith(BUILDING))]
        )

    async def _without_accents(self, connection: Connection) -> bool:
        """Have accents not matter in searches; False where the server has no `unaccent`, or the account may not."""
        found = (
            "SELECT nspname FROM pg_ts_dict JOIN pg_namespace ON pg_namespace.oid = dictnamespace WHERE dictname = $1"
        )
        try:
            async with connection.transaction():
                await connection.execute("CREATE EXTENSION IF NOT EXISTS unaccent SCHEMA public")
                namespace = await connection.fetchval(found, "unaccent")
                await connection.execute(
                    f"ALTER TEXT SEARCH CONFIGURATION {WORDS} ALTER MAPPING FOR hword, hword_part, word "
                    f"WITH {quoted(namespace)}.unaccent, pg_catalog.simple"
                )
        except Exception as error:
            if not state_of(error):
                raise
            _log.warning("unaccent_missing", problem=str(error), effect="searches for words heed accents")
            return False
        return True

    async def _known_roles(self, connection: Connection) -> set[str]:
        if not self._readers:
            return set()
        known = {row["rolname"] for row in await connection.fetch(_ROLES, list(self._readers))}
        if missing := sorted(set(self._readers) - known):
            _log.warning("publish_readers_missing", roles=missing, expected="CREATE ROLE … LOGIN, then a restart")
        return known

    async def _let_in(self, connection: Connection, tables: Sequence[str]) -> None:
        for role in sorted(await self._known_roles(connection)):
            for table in tables:
                await connection.execute(grant(table, role))

    async def _drop(self, connection: Connection, name: str, *, building: bool) -> None:
        """Drop the tables of a projection, those that are read or those that are filled, where there are any."""
        for table in await connection.fetchval(_DROP, name, building) or ():
            await connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")

    async def _follow(self, connection: Connection, after: PublishedState) -> None:
        """Lock a position; raise `MovedError` where it is another one by now."""
        row = await connection.fetchrow(_AT, after.name, after.building)
        if row is None or (row["position"], row["entry_hash"]) != (after.position, after.entry_hash):
            raise MovedError
        await self._check_fence(connection)

    async def _move(self, connection: Connection, after: PublishedState, position: int, entry_hash: bytes) -> None:
        await connection.execute(_MOVE, after.name, after.building, position, entry_hash)

    async def _check_fence(self, connection: Connection) -> None:
        if self._writer is None:
            return
        schema, number = self._writer
        fenced = f"SELECT fenced_at IS NOT NULL FROM {quoted(schema)}.writers WHERE writer = $1"  # noqa: S608
        if await connection.fetchval(fenced, number) is not False:
            raise WriterFencedError(
                f"process [{number}] was fenced; expected one that may write: nothing was published, another one does"
            )


class _InTheWayError(ProjectionFailedError):
    """A table cannot be replaced now: someone reads it, or views of others depend on it."""
