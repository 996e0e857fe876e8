"""Verify a journal in PostgreSQL: the same chains, bytes and heads as in a file, and the tables that lead to entries.

One snapshot is read, while others may write. Whatever is wrong becomes a finding, never a traceback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from loom.journal.findings import Verification
from loom.journal.postgres.catalog import schema_changes
from loom.journal.postgres.connecting import FORMAT, Connection, check_server, connect
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.reader import COLUMNS
from loom.journal.postgres.url import PostgresUrl
from loom.journal.roots import RootsSeen
from loom.journal.sqlite.heads import WrittenHead
from loom.journal.sqlite.verify import Progress, Verifier

__all__ = ["verify_server"]

_ENTRIES = f"SELECT {COLUMNS} FROM entries ORDER BY position"  # noqa: S608 - constants only
_META = "SELECT key, value FROM meta"
_COMMANDS = "SELECT journal, command_id, position FROM commands"
_OWN_IDS = "SELECT own_id, position FROM own_ids"
_HEADS = "SELECT journal, sequence, entry_hash FROM heads WHERE sequence > 0"
_TAIL = "SELECT position, entry_hash FROM tail"
_KEYS = frozenset({"workspace", "format", "identity", "partition", "sealed"})
_PAGE = 1_000
_PROGRESS_EVERY = 4_096


async def verify_server(
    url: PostgresUrl,
    heads_file: Path,
    *,
    workspace: str | None = None,
    roots: RootsSeen | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Verify the journal at a URL, against the heads that this node has written down.

    Raises what opening a connection raises: a server that does not answer says nothing about the journal.
    """
    verifier = _ServerVerifier(url, workspace=workspace, roots=roots or RootsSeen(), progress=progress or _silent)
    heads = verifier.heads_in(heads_file)
    options = PostgresOptions()
    connection = await connect(url, options, name="loom verify", writing=False)
    try:
        await check_server(connection, url, options, writing=False)
        return await verifier.verify(connection, heads)
    finally:
        connection.terminate()


class _ServerVerifier(Verifier):
    """One run over one journal."""

    def __init__(self, url: PostgresUrl, *, workspace: str | None, roots: RootsSeen, progress: Progress) -> None:
        super().__init__(str(url), workspace=workspace, roots=roots, progress=progress)
        self._schema = url.schema
        self._scan.per_journal = True

    async def verify(self, connection: Connection, heads: Sequence[WrittenHead]) -> Verification:
        """Take every step for itself: what one cannot read does not keep the next from reading."""
        for head in heads:
            self._scan.watched.setdefault(head.position, b"")
        for what, step in (
            ("meta", self._check_server_meta),
            ("schema", self._check_server_schema),
            ("table", self._scan_server),
            ("tail", self._check_tail),
            ("commands", self._check_commands),
            ("heads", self._check_heads),
        ):
            await self._guarded_on(connection, what, step)
        self._compare_heads(heads)
        return self._verdict()

    async def _guarded_on(
        self, connection: Connection, what: str, step: Callable[[Connection], Awaitable[None]]
    ) -> None:
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await step(connection)
        except Exception as error:  # a damaged table raises whatever it likes
            place = f"after position {self._scan.size}"
            self._findings.add("DAMAGED", f"{what} cannot be read {place}: {type(error).__name__}: {error}")

    async def _check_server_meta(self, connection: Connection) -> None:
        found = {str(key): str(value) for key, value in await connection.fetch(_META)}
        self._scan.workspace = found.get("workspace", "")
        if unknown := found.keys() - _KEYS:
            self._findings.add("SCHEMA_CHANGED", f"meta has unknown keys {sorted(unknown)}")
        if found.get("format") != str(FORMAT):
            self._findings.add("SCHEMA_CHANGED", f"meta says format {found.get('format')}, not {FORMAT}")
        if self._wanted is not None and found.get("workspace") != self._wanted:
            self._findings.add(
                "TAMPERED",
                f"journal says that it belongs to workspace [{found.get('workspace')}], not [{self._wanted}]",
            )

    async def _check_server_schema(self, connection: Connection) -> None:
        for name, what in sorted((await schema_changes(connection, self._schema)).items()):
            self._findings.add("SCHEMA_CHANGED", f"{name} {what}")

    async def _scan_server(self, connection: Connection) -> None:
        """Read the entries, and right after, in the same snapshot, what the tables that lead to them hold."""
        total = int(await connection.fetchval("SELECT position FROM tail") or 0)
        done = 0
        try:
            async for row in connection.cursor(_ENTRIES, prefetch=_PAGE):
                done += 1
                self._scan.take(tuple(row))
                self._roots.take(self._scan.workspace, row[0], row[1], row[2], row[13])
                if done % _PROGRESS_EVERY == 0:
                    self._progress(done, max(done, total))
            self._scan.complete = True
        finally:
            self._scan.finish()
        self._progress(self._scan.count, self._scan.count)

    async def _check_tail(self, connection: Connection) -> None:
        """The tail may have moved on since; behind the last entry that was read it must not be."""
        row = await connection.fetchrow(_TAIL)
        if row is None or row["position"] < self._scan.size:
            found = None if row is None else row["position"]
            self._findings.add("TAMPERED", f"tail is at [{found}], the last entry at [{self._scan.size}]")

    async def _check_commands(self, connection: Connection) -> None:
        if not self._scan.complete:
            return
        up_to = f" WHERE position <= {self._scan.size}"
        self._compare("commands", await connection.fetch(_COMMANDS + up_to), self._scan.by_command)
        self._compare("own_ids", await connection.fetch(_OWN_IDS + up_to), self._scan.by_own_id)

    def _compare(self, name: str, rows: list[Any], expected: tuple[int, int]) -> None:
        found = (len(rows), sum(hash(tuple(row)) for row in rows))
        if found != expected:
            self._findings.add(
                "INDEX_DAMAGED",
                f"{name} leads to {found[0]} entries, the table has {expected[0]}, and they are not the same",
            )

    async def _check_heads(self, connection: Connection) -> None:
        found = {row["journal"]: (row["sequence"], row["entry_hash"]) for row in await connection.fetch(_HEADS)}
        for journal, last in self._scan.last.items():
            head = found.get(journal)
            if head is None or head[0] < last.sequence or (head[0] == last.sequence and head[1] != last.entry_hash):
                self._findings.add(
                    "TAMPERED",
                    f"the head of {journal} is at {head and head[0]}, its last entry at {last.sequence}",
                    journal=journal,
                    sequence=last.sequence,
                )


def _silent(done: int, total: int) -> None:
    """Report no progress."""
