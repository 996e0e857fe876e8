"""The keys of subjects in PostgreSQL, shared by several processes: another database than the journal's.

A key is there once: of two processes that make the first key of a subject at once, both use the one that was written.
What was destroyed leaves a mark, so that a process that has not heard of an erasure makes no key of that generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from loom.background import finished
from loom.errors import ConfigError, ErasedError, KeysNotWrittenError, KeysUnavailableError, LoomError
from loom.journal.places import check_installed
from loom.journal.postgres.url import PostgresUrl
from loom.sealing.wrapping import Wrapping, digest_of_subject
from loom.telemetry import get_logger

__all__ = ["KeyDatabase", "keys_url"]

T = TypeVar("T")

_FORMAT = "loom.keys/postgresql/1"
_TABLE = "key_store"
_TABLES = """
CREATE TABLE key_store (
  one smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  format text NOT NULL,
  workspace text NOT NULL,
  master bytea NOT NULL,
  destroyed_until bigint NOT NULL DEFAULT 0
);

CREATE TABLE keys (
  subject bytea NOT NULL,
  generation integer NOT NULL,
  wrapped bytea NOT NULL,
  PRIMARY KEY (subject, generation)
);

CREATE TABLE destroyed_keys (subject bytea PRIMARY KEY, until integer NOT NULL);
"""
_MADE = "INSERT INTO key_store (format, workspace, master) VALUES ($1, $2, $3)"
_READ = "SELECT format, workspace, master, destroyed_until FROM key_store"
_GET = "SELECT generation, wrapped FROM keys WHERE subject = $1"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('loom key'), hashtext(encode($1, 'hex')))"
_DESTROYED = "SELECT until FROM destroyed_keys WHERE subject = $1"
_PUT = "INSERT INTO keys VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_DESTROY = "DELETE FROM keys WHERE subject = $1 AND generation <= $2 RETURNING generation"
_REMEMBER = """
INSERT INTO destroyed_keys AS known VALUES ($1, $2)
ON CONFLICT (subject) DO UPDATE SET until = greatest(known.until, excluded.until)
"""
_NOTE = "UPDATE key_store SET destroyed_until = $1 WHERE destroyed_until <> $1"
_SUFFIX = "_keys"

_log = get_logger(__name__)


def keys_url(text: str, *, workspace: str, journal: PostgresUrl | None = None) -> PostgresUrl:
    """Return where keys are; raise `ConfigError` for the journal's own database, whose backups would have the keys."""
    url = PostgresUrl.parse(text, workspace=workspace)
    if "schema=" not in text:
        url = replace(url, schema=PostgresUrl.parse(f"postgresql:///x?schema={url.schema}{_SUFFIX}").schema)
    if journal is not None and _place(url) == _place(journal):
        raise ConfigError(
            f"sealing.keys_url is the database of the journal [{journal}]; expected another one: a backup of the "
            "journal would have the keys of what is erased"
        )
    return url


def _place(url: PostgresUrl) -> tuple[str, str]:
    """Return server and database of a URL, without the account."""
    return url.dsn.rpartition("@")[2].partition("/")[0].partition("?")[0], url.database


class KeyDatabase:
    """The keys of one workspace in a database; a `KeyStore`."""

    def __init__(self, url: PostgresUrl, master: bytes, *, workspace: str) -> None:
        check_installed()
        self._url = url
        self._workspace = workspace
        self._wrapping = Wrapping(master, workspace=workspace)
        self._connection: Any = None
        self._lock = asyncio.Lock()
        self._is_new = True
        self._marked = 0

    async def open(self) -> None:
        """Look whether the keys are there and open with the master key.

        Raises `ConfigError` where they are of another workspace or master key, or the account is refused, and
        `KeysUnavailableError` where the server does not answer.
        """
        await self._alone(self._look)

    async def check(self) -> None:
        """Look whether the keys open with the master key, and change nothing."""
        await self.open()

    async def get(self, subject: str) -> dict[int, bytes]:
        """Return generation → key of a subject; empty where there is none."""
        return await self._alone(lambda connection: self._get(connection, subject))

    async def put(self, subject: str, generation: int, key: bytes) -> bytes:
        """Keep a new key, and return the one that is kept: another process may have been first.

        Raises `ErasedError` where a key of that generation was destroyed, `KeysNotWrittenError` where none was written.
        """
        return await self._alone(lambda connection: self._put(connection, subject, generation, key), writing=True)

    async def destroy(self, subject: str, *, until: int) -> int:
        """Delete the keys of a subject up to and with a generation; raise `KeysNotWrittenError`."""
        return await self._alone(lambda connection: self._destroy(connection, subject, until), writing=True)

    @property
    def is_new(self) -> bool:
        """Whether no key was ever put into it, as far as this process has looked."""
        return self._is_new

    @property
    def destroyed_until(self) -> int:
        """The sequence in the journal of erasures up to which these keys had all been destroyed."""
        return self._marked

    async def note_destroyed(self, sequence: int) -> None:
        """Write down another one."""
        if not self._is_new and sequence != self._marked:
            await self._alone(lambda connection: connection.execute(_NOTE, sequence), writing=True)
            self._marked = sequence

    async def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        async with self._lock:
            self._drop()

    # --- with a connection ----------------------------------------------------------------------

    async def _look(self, connection: Any) -> None:
        from loom.journal.postgres.connecting import has_table  # what it needs comes with an extra

        if not await has_table(connection, self._url.schema, _TABLE):
            self._is_new = True
            return
        row = await connection.fetchrow(_READ)
        if row is None or (row["format"], row["workspace"]) != (_FORMAT, self._workspace):
            found = "nothing" if row is None else f"{row['format']} of workspace {row['workspace']}"
            raise ConfigError(
                f"keys [{self._url}] in schema [{self._url.schema}] are [{found}]; expected those of workspace "
                f"[{self._workspace}]: name their schema with [schema=…]"
            )
        if not self._wrapping.check(row["master"], _FORMAT):
            raise ConfigError(
                f"keys [{self._url}] do not open with this master key; expected the one they were written with"
            )
        self._is_new, self._marked = False, row["destroyed_until"]

    async def _get(self, connection: Any, subject: str) -> dict[int, bytes]:
        if self._is_new:
            await self._look(connection)  # another process may have put the first
        if self._is_new:
            return {}
        found = {}
        for row in await connection.fetch(_GET, digest_of_subject(subject)):
            try:
                found[row["generation"]] = self._wrapping.unwrap(subject, row["generation"], row["wrapped"])
            except Exception as error:
                raise ConfigError(
                    f"a key in [{self._url}] does not open with this master key; expected the one it was written with"
                ) from error
        return found

    async def _put(self, connection: Any, subject: str, generation: int, key: bytes) -> bytes:
        digest = digest_of_subject(subject)
        async with connection.transaction():
            await self._made(connection)
            await connection.execute(_ONE_AT_A_TIME, digest)
            destroyed = await connection.fetchval(_DESTROYED, digest)
            if destroyed is not None and generation <= destroyed:
                raise ErasedError(f"subject [{subject:.80}] was erased; another process has destroyed its keys")
            await connection.execute(_PUT, digest, generation, self._wrapping.wrap(subject, generation, key))
        return (await self._get(connection, subject))[generation]

    async def _made(self, connection: Any) -> None:
        """Make the tables with the first key."""
        if not self._is_new:
            return
        from loom.journal.postgres.connecting import is_to_make

        if await is_to_make(connection, self._url.schema, _TABLE, lock="loom keys"):
            await connection.execute(_TABLES)
            await connection.execute(_MADE, _FORMAT, self._workspace, self._wrapping.token(_FORMAT))
        await self._look(connection)

    async def _destroy(self, connection: Any, subject: str, until: int) -> int:
        if self._is_new:
            await self._look(connection)
        if self._is_new:
            return 0
        digest = digest_of_subject(subject)
        async with connection.transaction():
            await connection.execute(_ONE_AT_A_TIME, digest)
            gone = await connection.fetch(_DESTROY, digest, until)
            await connection.execute(_REMEMBER, digest, until)
        if gone:
            await self._vacuum(connection)
        return len(gone)

    async def _vacuum(self, connection: Any) -> None:
        """Have the server remove what it has deleted from its files, too; what it cannot now, it does later."""
        try:
            await connection.execute("VACUUM keys")
        except Exception as error:
            if not getattr(error, "sqlstate", None):
                raise
            _log.warning("keys_not_vacuumed", problem=str(error))

    # --- connecting -----------------------------------------------------------------------------

    async def _alone(self, work: Callable[[Any], Awaitable[T]], *, writing: bool = False) -> T:
        """Do something with the connection, one at a time, to its end even when the caller goes away."""

        async def one() -> T:
            async with self._lock:
                return await self._twice(work, writing=writing)

        return await finished(one())

    async def _twice(self, work: Callable[[Any], Awaitable[T]], *, writing: bool) -> T:
        """Do it again on another connection where the first one was lost: everything here may be done twice."""
        from loom.journal.postgres.connecting import without_cause  # what they need comes with an extra
        from loom.journal.postgres.faults import is_unreachable

        was_open = self._connection is not None
        try:
            return await work(self._connection or await self._connected())
        except LoomError:
            raise
        except Exception as error:
            self._drop()
            if was_open and is_unreachable(error):
                return await self._twice(work, writing=writing)
            raise self._explained(error, writing=writing) from without_cause(error)

    async def _connected(self) -> Any:
        from loom.journal.postgres.connecting import check_server, connect
        from loom.journal.postgres.options import PostgresOptions

        options = PostgresOptions()
        try:
            connection = await connect(self._url, options, name="loom keys", writing=True)
            try:
                await check_server(connection, self._url, options, writing=True)
            except BaseException:
                connection.terminate()
                raise
        except ConfigError:
            raise
        except LoomError as error:
            raise KeysUnavailableError(f"keys of what is sealed cannot be read: {error}") from error
        self._connection = connection
        return connection

    def _explained(self, error: Exception, *, writing: bool) -> LoomError:
        from loom.journal.postgres.faults import explained, state_of

        said = explained(error, self._url, writing=False)
        if state_of(error) == "42501":
            return ConfigError(
                f"keys [{self._url}]: the account may not do that [{error}]; expected one that owns schema "
                f"[{self._url.schema}]: have the owner of the database make it for this account"
            )
        if writing:
            return KeysNotWrittenError(f"a key was not written or destroyed: {said}")
        return KeysUnavailableError(f"keys of what is sealed cannot be read: {said}")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
