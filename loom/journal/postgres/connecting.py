"""How a connection is opened, with settings that are read back and a server that is checked; how tables are made.

Journals, published views and keys are each in a schema of their own: one function says which process makes it.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files as resource_files
from typing import Any
from uuid import uuid4

import asyncpg

from loom.errors import (
    ConfigError,
    JournalForeignError,
    JournalFormatError,
    JournalNotFoundError,
    JournalReadOnlyError,
    LoomError,
)
from loom.journal.postgres.faults import explained
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.url import PostgresUrl

__all__ = [
    "FORMAT",
    "Connection",
    "arguments",
    "check_server",
    "connect",
    "create_or_check",
    "has_table",
    "is_to_make",
    "meta_of",
    "quoted",
    "schema_text",
    "without_cause",
]

FORMAT = 3
"""The format of new journals, in `meta`: what SQLite's format 3 keeps."""

_MINIMUM = 14
_IDLE_SHARE = 0.5
"""A transaction whose client says nothing is ended after this share of the time for which others wait for its locks.

A process that is stopped or cut off in the middle of a transaction then costs the others time, and no refusal.
"""

# Out of the tables of the catalog: `to_regclass` may answer from a cache what was so before a lock was waited for.
_HAS_TABLE = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2)"
_HAS_SCHEMA = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)"
_META = "SELECT key, value FROM meta"

Connection = Any
"""A connection of asyncpg, which comes without types."""


@cache
def schema_text() -> str:
    """Return the statements that make the tables and their guards."""
    return (resource_files("loom.journal.postgres") / "schema.sql").read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def settings(url: PostgresUrl, options: PostgresOptions, *, name: str) -> dict[str, str]:
    """Return what each session is set to; the path has no schema in it but the journal's and temporary tables last."""
    return {
        "search_path": f"{quoted(url.schema)}, pg_temp",
        "application_name": name[:63],
        "synchronous_commit": options.synchronous_commit,
        "lock_timeout": str(int(options.lock_timeout_s * 1000)),
        "idle_in_transaction_session_timeout": str(max(1_000, int(options.lock_timeout_s * _IDLE_SHARE * 1000))),
        "default_transaction_isolation": "read committed",
        "client_encoding": "UTF8",
    }


async def connect(url: PostgresUrl, options: PostgresOptions, *, name: str, writing: bool) -> Connection:
    """Open a connection, to the primary where it is for `writing`; raise what its failure means.

    A wait that is cancelled leaves none open.
    """
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            return await asyncpg.connect(**arguments(url, options, name=name, primary=writing))
    except (LoomError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise explained(error, url, writing=writing) from without_cause(error)


def arguments(url: PostgresUrl, options: PostgresOptions, *, name: str, primary: bool) -> dict[str, Any]:
    """Return the arguments with which asyncpg opens a connection of a journal, on its `primary` server or on any."""
    return {
        "target_session_attrs": "primary" if primary else "any",
        "dsn": url.dsn,
        "password": url.password,
        "timeout": options.connect_timeout_s,
        "command_timeout": options.answer_timeout_s,
        "server_settings": settings(url, options, name=name),
    }


def without_cause(error: BaseException) -> BaseException | None:
    """Return an error as the cause of another: its traceback may hold arguments, of which one is the password."""
    return error.with_traceback(None)


async def check_server(connection: Connection, url: PostgresUrl, options: PostgresOptions, *, writing: bool) -> None:
    """Refuse a server that is too old, a replica where there is something to write, and settings that did not take."""
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < _MINIMUM * 10_000:
        raise JournalFormatError(
            f"journal [{url}]: the server is of version [{version // 10_000}]; expected at least [{_MINIMUM}]: upgrade "
            "it"
        )
    if await connection.fetchval("SHOW server_encoding") != "UTF8":
        raise ConfigError(
            f"journal [{url}]: database [{url.database}] is not encoded in UTF-8; expected [UTF8]: make another with "
            "`createdb --encoding UTF8 --template template0`"
        )
    if not writing:
        return
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise JournalReadOnlyError(
            f"journal [{url}]: the server is a read-only replica; expected the primary: name its host in the URL"
        )
    for setting in ("synchronous_commit",):
        found = await connection.fetchval(f"SHOW {setting}")
        if found != getattr(options, setting):
            raise ConfigError(
                f"journal [{url}]: {setting} is [{found}]; expected [{getattr(options, setting)}]: let the role set it"
            )


async def is_to_make(connection: Connection, schema: str, table: str, *, lock: str) -> bool:
    """Tell whether the tables of a schema, of which `table` is one, are to be made; the schema is there then.

    One process at a time gets an answer under a name of a lock, until its transaction ends: it makes what is missing.
    An account that may not make a schema may have been given one.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"{lock} {schema}")
    if await has_table(connection, schema, table):
        return False
    if not await connection.fetchval(_HAS_SCHEMA, schema):
        await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
    return True


async def has_table(connection: Connection, schema: str, table: str) -> bool:
    """Tell whether a schema has a table."""
    return bool(await connection.fetchval(_HAS_TABLE, schema, table))


async def create_or_check(connection: Connection, url: PostgresUrl, options: PostgresOptions) -> dict[str, str]:
    """Make the tables where there are none, one process at a time and all or none; return what `meta` says."""
    async with connection.transaction():
        if await is_to_make(connection, url.schema, "meta", lock="loom schema"):
            await connection.execute(schema_text())
            await connection.execute("SELECT add_partition(1, $1)", options.partition_entries)
            said = {
                "format": str(FORMAT),
                "workspace": url.workspace,
                "identity": uuid4().hex,
                "partition": str(options.partition_entries),
            }
            await connection.executemany("INSERT INTO meta VALUES ($1, $2)", sorted(said.items()))
    meta = await meta_of(connection, url)
    if "sealed" in meta:
        raise JournalReadOnlyError(
            f"journal [{url}] was copied to [{meta['sealed']}] and is sealed; expected that it is written there: open "
            "that one"
        )
    return meta


async def meta_of(connection: Connection, url: PostgresUrl) -> dict[str, str]:
    """Return what `meta` says; raise where it is of a newer format, of another workspace, sealed, or not there."""
    if not await has_table(connection, url.schema, "meta"):
        raise JournalNotFoundError(
            f"there is no journal at [{url}]; expected the tables of one in schema [{url.schema}]: check workspace and "
            "schema in the URL"
        )
    meta = {str(key): str(value) for key, value in await connection.fetch(_META)}
    if meta.get("format") != str(FORMAT):
        raise JournalFormatError(
            f"journal [{url}] is of format [{meta.get('format')}]; expected [{FORMAT}]: open it with a newer loom"
        )
    if meta.get("workspace") != url.workspace:
        raise JournalForeignError(
            f"journal [{url}] belongs to workspace [{meta.get('workspace')}]; expected [{url.workspace}]: name that "
            "workspace, or another schema"
        )
    return meta
