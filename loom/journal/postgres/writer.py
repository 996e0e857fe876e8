"""Appends batches to a journal in PostgreSQL, one transaction at a time, on a connection of its own.

A transaction locks the tail, assigns what the journal assigns, copies the rows in and commits. What fails before COMMIT
was not appended: where the server is gone it is tried again, for a bounded time. What fails at COMMIT is looked up,
once the server answers again, behind the lock of the tail: a session that may still be committing holds that lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from loom.clock import Clock
from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DuplicateCommandError,
    DuplicateOwnIdError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal import lowering
from loom.journal.chain import genesis
from loom.journal.floor import release
from loom.journal.kinds import OWN_IDS
from loom.journal.postgres.connecting import Connection, check_server, connect, create_or_check, without_cause
from loom.journal.postgres.faults import FENCED, GUARDED, explained, is_of_one_append, is_unreachable, state_of
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.reader import COLUMNS
from loom.journal.postgres.sessions import Sessions
from loom.journal.postgres.staging import HeadRow, Staged, Wanted, begun, not_accepted, stage
from loom.journal.postgres.url import PostgresUrl
from loom.journal.sqlite.staging import Outcome, for_each, unanswered
from loom.journal.store import Head, Receipt
from loom.telemetry import get_logger

__all__ = ["Writer"]

_NAMES = tuple(COLUMNS.split(", "))
_BEGIN = "SELECT * FROM begin_append($1, $2)"
_REGISTER = "INSERT INTO writers (name, address, release, level) VALUES ($1, $2, $3, $4) RETURNING writer"
_ACQUIRE = "SELECT * FROM acquire($1, $2, $3)"
_RESOLVE = "SELECT position, entry_hash, recorded_at_us FROM entries WHERE journal = $1 AND sequence = $2"
_LOCK = "SELECT 1 FROM tail FOR UPDATE"
_COMMAND = "SELECT 1 FROM commands WHERE journal = $1 AND command_id = $2"
_OWN_ID = "SELECT 1 FROM own_ids WHERE own_id = $1"
_PRUNE = """
UPDATE entries SET body = NULL, salt = NULL
WHERE journal = $1 AND sequence BETWEEN $2 AND $3 AND body IS NOT NULL AND kind <> 'pruned'
"""
_LAST_PARTITION = """
SELECT max(substr(relname, 9)::bigint) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'entries'::regclass
"""
_NO_PARTITION = "23514"
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5

_log = get_logger(__name__)


class Writer:
    """Appends batches. One batch at a time is in flight; everything else uses other connections."""

    def __init__(
        self,
        url: PostgresUrl,
        sessions: Sessions,
        *,
        options: PostgresOptions,
        clock: Clock,
        name: str,
        address: str | None,
    ) -> None:
        self.number = 0
        """The number under which this process is registered."""
        self.refusal: LoomError | None = None
        """Why nothing more is written, once this process was fenced."""
        self.meta: dict[str, str] = {}
        self._url = url
        self._sessions = sessions
        self._options = options
        self._clock = clock
        self._name = name
        self._address = address
        self._connection: Connection | None = None
        self._beginnings: dict[str, bytes] = {}
        self._partitioned_to = 0

    async def open(self) -> None:
        """Connect, make the tables where there are none, and register this process as a writer."""
        connection = await self._connect()
        try:
            await check_server(connection, self._url, self._options, writing=True)
            self.meta = await create_or_check(connection, self._url, self._options)
            self.number = await connection.fetchval(_REGISTER, self._name, self._address, release(), lowering.LEVEL)
            self._connection = connection
            await self.keep_partitions()
        except BaseException as error:
            connection.terminate()
            if isinstance(error, Exception) and not isinstance(error, LoomError):
                raise explained(error, self._url, writing=True) from without_cause(error)
            raise

    async def close(self) -> None:
        """Say that this process writes no more, and close its connection; a server that is gone is not waited for."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with asyncio.timeout(2):
                await connection.execute("SELECT fence($1)", self.number)
                await connection.close()
        except Exception:  # what is not said is found out: it beats no more
            connection.terminate()

    async def commit(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Append a batch in one transaction and return the outcome of each append, in order; never raises."""
        outcomes = await self._transact(batch)
        if outcomes is None:  # one append was refused: commit one by one, so that it does not harm the others
            outcomes = [await self._commit_alone(wanted) for wanted in batch]
        return outcomes

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Find the outcome of an append for certain, behind whatever is still committing; raise if there is none."""
        if not unknown.entry_hash:
            raise unknown
        # What fails here says nothing about the append: it does not say that nothing was written.
        async with self._sessions.one() as connection, connection.transaction():
            await connection.execute(_LOCK)
            row = await connection.fetchrow(_RESOLVE, unknown.journal, unknown.sequence)
        if row is None or row["entry_hash"] != unknown.entry_hash:
            return None
        return Receipt(unknown.journal, unknown.sequence, *row)

    async def acquire(self, journal: str) -> tuple[Head, int]:
        """Make this process the one writer of a journal; return the head from there on, and the new epoch.

        It is not waited for on disk: what is appended under it brings it there. One that a crash of the server loses
        still holds where no other process acquired the journal (see `staging`).
        """
        async with self._sessions.one(writing=True) as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = off")
            row = await connection.fetchrow(_ACQUIRE, self.number, journal, self._beginning(journal))
        return Head(row["at"], row["entry_hash"], row["taken_over"]), row["epoch"]

    async def fence(self, writer: int) -> None:
        """Declare a process dead: nothing that it sends later is appended."""
        async with self._sessions.one(writing=True) as connection:
            known = await connection.fetchval("SELECT fence($1)", writer)
        if not known:
            raise AppendRefusedError(
                f"writer [{writer}] of journal [{self._url}] is not known; expected one that has opened it: look into "
                "its table writers"
            )

    def fenced(self) -> WriterFencedError:
        """Return what is raised once this process is fenced."""
        return WriterFencedError(
            f"journal [{self._url}]: writer [{self.number}] was fenced; expected the one writer: another process took "
            "over; end this one, and start it again"
        )

    async def prune(self, journal: str, ranges: Sequence[tuple[int, int]], *, last: int | None) -> None:
        """Take bodies of a journal away by ranges of sequences, all or none; `last` is where it has to be, if given."""
        try:
            async with self._sessions.one(writing=True) as connection, connection.transaction():
                await connection.execute(_LOCK)
                found = await connection.fetchval("SELECT sequence FROM heads WHERE journal = $1", journal) or 0
                if last is not None and found != last:
                    raise SequenceConflictError(journal=journal, expected=last, at=found)
                await connection.executemany(_PRUNE, [(journal, first, until) for first, until in ranges])
        except AppendRefusedError as error:
            if error.__cause__ is not None and state_of(error.__cause__) in GUARDED:
                raise AppendRefusedError(
                    f"journal [{journal}] keeps its bodies [{error.__cause__}]; expected an entry that declares them "
                    "gone first"
                ) from error
            raise

    async def keep_partitions(self, position: int | None = None, *, ahead: int = 0) -> None:
        """See to it that there is a partition for the entries to come: half a partition, and `ahead` entries more."""
        size = int(self.meta["partition"])
        if position is not None and position + size // 2 < self._partitioned_to:
            return
        async with self._sessions.one(writing=True) as connection:
            at = position if position is not None else await connection.fetchval("SELECT position FROM tail")
            at += ahead
            first = await connection.fetchval(_LAST_PARTITION)
            while at + size // 2 >= first + size:
                first += size
                await connection.execute("SELECT add_partition($1, $2)", first, size)
            self._partitioned_to = first + size

    # --- one transaction ---------------------------------------------------------------------------

    async def _transact(self, batch: Sequence[Wanted]) -> list[Outcome] | None:
        """Append all of a batch; None if some of it cannot be written as it is, and nothing was appended."""
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + self._options.reconnect_timeout_s, _PAUSE_S
        while True:
            if self.refusal is not None:
                return for_each(self.refusal, len(batch))
            try:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = self._connection = await self._connect()
                async with asyncio.timeout(self._options.answer_timeout_s):
                    staged = await self._insert(connection, batch)
            except Exception as error:
                cause = error.__cause__ or error if isinstance(error, LoomError) else error
                if not is_unreachable(cause) or loop.time() + pause_s > until:
                    return await self._not_begun(error, batch)
                self._drop()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            try:
                async with asyncio.timeout(self._options.answer_timeout_s):
                    await connection.execute("COMMIT" if staged.rows else "ROLLBACK")
            except Exception as error:
                self._drop()
                return await self._after_failed_commit(staged, error)
            return staged.outcomes

    async def _insert(self, connection: Connection, batch: Sequence[Wanted]) -> Staged:
        names = sorted({wanted.append.journal for wanted in batch})
        await connection.execute("BEGIN")
        found = begun(await connection.fetch(_BEGIN, self.number, names))
        for name in names:
            if name not in found.heads:
                found.heads[name] = HeadRow(0, self._beginning(name), 0, 0)
        workspace, now_us = self._url.workspace, self._clock.now_us()
        staged = stage(batch, found, workspace=workspace, writer=self.number, now_us=now_us)
        if staged.rows:
            await connection.copy_records_to_table("entries", records=staged.rows, columns=_NAMES)
        return staged

    async def _commit_alone(self, wanted: Wanted) -> Outcome:
        outcomes = await self._transact([wanted])
        if outcomes is not None:
            return outcomes[0]
        append = wanted.append
        received = (draft.command_id for draft in append.drafts if draft.kind == "command_received")
        command = next(received, None)
        if command is not None and await self._is_taken(_COMMAND, append.journal, command):
            return DuplicateCommandError(journal=append.journal, command_id=command)
        for draft in append.drafts:
            if draft.kind in OWN_IDS and draft.command_id and await self._is_taken(_OWN_ID, draft.command_id):
                return DuplicateOwnIdError(own_id=draft.command_id)
        if command is not None and sum(draft.kind == "command_received" for draft in append.drafts) > 1:
            return DuplicateCommandError(journal=append.journal, command_id=command)
        return not_accepted(append, ValueError())

    async def _is_taken(self, statement: str, *parameters: str) -> bool:
        try:
            async with self._sessions.one(writing=True) as connection:
                return await connection.fetchval(statement, *parameters) is not None
        except LoomError:
            return False

    async def _not_begun(self, error: Exception, batch: Sequence[Wanted]) -> list[Outcome] | None:
        """Undo what was begun; None if the fault may be with one append alone."""
        count = len(batch)
        await self._roll_back()
        if isinstance(error, LoomError):
            return for_each(error, count)
        if state_of(error) == FENCED:
            self.refusal = self.fenced()
            return for_each(self.refusal, count)
        if state_of(error) == _NO_PARTITION:  # another process has made the journal that much longer
            with contextlib.suppress(LoomError):
                await self.keep_partitions(ahead=sum(len(wanted.append.drafts) for wanted in batch))
        if is_of_one_append(error):
            _log.warning("append_not_accepted", journal=str(self._url), appends=count, error=type(error).__name__)
            return None
        return for_each(explained(error, self._url, writing=True), count)

    async def _roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(2):
                await connection.execute("ROLLBACK")
        except Exception:  # whatever it is in, the server undoes it when the connection is gone
            self._drop()

    async def _after_failed_commit(self, staged: Staged, error: Exception) -> list[Outcome]:
        """Look up what became of a batch whose COMMIT got no answer; it stays unknown where that cannot be done."""
        _log.error("commit_failed", journal=str(self._url), error=repr(error), appends=len(staged.outcomes))
        unknown = [
            each if isinstance(each, LoomError) else unanswered(each, type(error).__name__) for each in staged.outcomes
        ]
        if not self._options.reconnect_timeout_s:
            return list(unknown)
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + self._options.reconnect_timeout_s, _PAUSE_S
        while True:
            try:
                return [await self._settled(each) if isinstance(each, AppendUnknownError) else each for each in unknown]
            except Exception as failure:
                if loop.time() + pause_s > until:
                    _log.error("commit_unknown", journal=str(self._url), error=repr(failure), appends=len(unknown))
                    return list(unknown)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _settled(self, unknown: AppendUnknownError) -> Outcome:
        receipt = await self.resolve(unknown)
        if receipt is not None:
            return receipt
        return AppendRefusedError(
            f"journal [{unknown.journal}] did not get sequence [{unknown.sequence}]: its server failed at COMMIT; "
            "expected an answer: try again (nothing was written)"
        )

    # --- connections -------------------------------------------------------------------------------

    def _beginning(self, journal: str) -> bytes:
        found = self._beginnings.get(journal)
        if found is None:
            if len(self._beginnings) >= _MOST_BEGINNINGS:
                self._beginnings.clear()
            found = self._beginnings[journal] = genesis(self._url.workspace, journal)
        return found

    async def _connect(self) -> Connection:
        return await connect(self._url, self._options, name=f"loom writer {self._name}", writing=True)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


_MOST_BEGINNINGS = 10_000
