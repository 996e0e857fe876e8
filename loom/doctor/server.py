"""Check the server of a journal in PostgreSQL, and the journal there; not every entry is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from loom.clock import datetime_from_us
from loom.errors import LoomError
from loom.extension import Check
from loom.journal.election import leaders
from loom.journal.places import NodeFiles, check_installed, reader_of
from loom.journal.sqlite.heads import HeadsFile
from loom.text import moment, size

__all__ = ["check_elected", "check_server_journal"]

_ALIVE = """
SELECT count(*) FILTER (WHERE fenced_at IS NULL AND beat_at > now() - interval '10 seconds') AS alive,
  count(*) FILTER (WHERE fenced_at IS NOT NULL) AS fenced FROM writers
"""
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits WHERE inhparent = 'entries'::regclass"
)
_HASH_AT = "SELECT entry_hash FROM entries WHERE position = $1"
_MUST_BE_ON = ("fsync", "full_page_writes")


async def check_server_journal(files: NodeFiles) -> AsyncIterator[Check]:
    """Look at the server: its version and durability, the tables and their guards, heads, and who writes."""
    try:
        check_installed()
        from loom.journal.postgres.connecting import check_server, connect, meta_of
        from loom.journal.postgres.options import PostgresOptions

        options = PostgresOptions()
        connection = await connect(files.url, options, name="loom doctor", writing=False)
    except LoomError as error:
        yield Check("bad", "journal", str(error), "the journal cannot be read or written until then")
        return
    try:
        await check_server(connection, files.url, options, writing=False)
        yield Check("ok", "server", f"PostgreSQL {await connection.fetchval('SHOW server_version')}")
        async for check in _durability(connection):
            yield check
        await meta_of(connection, files.url)
        async for check in _contents(connection, files):
            yield check
    except LoomError as error:
        yield Check("bad", "journal", str(error), "the journal cannot be read or written until then")
    except Exception as error:  # whatever a damaged database raises
        yield Check("bad", "journal", f"it cannot be read: {type(error).__name__}: {error}", "run `loom verify`")
    finally:
        connection.terminate()


async def check_elected(files: NodeFiles) -> AsyncIterator[Check]:
    """Say which process was elected to run the workspace, and for what else there was an election."""
    reader = reader_of(files)
    try:
        elected = await leaders(reader)
    except LoomError:  # the checks of the journal have said so
        return
    finally:
        await reader.close()
    for leader in elected:
        since = f"since {moment(datetime_from_us(leader.elected_at_us))} UTC"
        what = "none: the last one ended in order" if leader.resigned else f"process {leader.name}, {since}"
        yield Check("ok", "elected", f"{leader.role}: {what}")


async def _durability(connection: Any) -> AsyncIterator[Check]:
    off = [name for name in _MUST_BE_ON if await connection.fetchval(f"SHOW {name}") != "on"]
    if off:
        yield Check(
            "bad", "durability", f"off on the server: {', '.join(off)}", "switch them on: a power cut loses data"
        )
    elif not await connection.fetchval("SHOW synchronous_standby_names"):
        yield Check(
            "look",
            "durability",
            "the server syncs, and no standby is synchronous",
            "with one, the loss of the server's disk loses nothing that was acknowledged",
        )
    else:
        yield Check("ok", "durability", "the server syncs, and waits for a standby")


async def _contents(connection: Any, files: NodeFiles) -> AsyncIterator[Check]:
    from loom.journal.postgres.catalog import schema_changes

    tail = int(await connection.fetchval("SELECT position FROM tail"))
    yield Check("ok", "journal", f"{files.url}, {tail} entries, {size(int(await connection.fetchval(_SIZE)))}")
    changed = await schema_changes(connection, files.url.schema)
    if changed:
        said = ", ".join(f"{name} {what}" for name, what in sorted(changed.items()))
        yield Check("bad", "schema", f"changed: {said}", "run `loom verify`; restore a backup")
    else:
        yield Check("ok", "schema", "as it was made; triggers refuse changes")
    writers = await connection.fetchrow(_ALIVE)
    yield Check("ok", "writers", f"{writers['alive']} alive, {writers['fenced']} ended or fenced")
    last = HeadsFile(files.heads).last()
    if last is None:
        if tail:
            yield Check(
                "look", "anchor", "this node has recorded no head", "a head is written at every clean end of a loom"
            )
        return
    if await connection.fetchval(_HASH_AT, last.position) != last.entry_hash:
        yield Check(
            "bad",
            "anchor",
            f"the entry at position {last.position} is gone or another one now",
            "the journal was cut or rewritten: run `loom verify`, restore a backup",
        )
    else:
        yield Check("ok", "anchor", f"head at position {last.position}; {tail - last.position} entries since then")
