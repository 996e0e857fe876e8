"""The tables of a journal in PostgreSQL refuse what does not come through loom, from their owner, too."""

from __future__ import annotations

import pytest

from loom.journal import Append
from tests.journal.support import assert_chained, collected, fill, mark, note, notes, received
from tests.postgres_server import Place

COPY = "SELECT position + {}, journal, sequence + {}, kind, schema_version, command_id, epoch + {}, recorded_at_us + {}"
REST = "clock_back_us, policy_hash, salt, body, body_digest, entry_hash FROM entries ORDER BY position DESC LIMIT 1"


def forged(position: int, sequence: int, *, epoch: int = 0, time: int = 0, into: str = "entries") -> str:
    names = "position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us, clock_back_us"
    columns = f"{names}, policy_hash, salt, body, body_digest, entry_hash"
    return f"INSERT INTO {into} ({columns}) {COPY.format(position, sequence, epoch, time)}, {REST}"


ATTACKS = {
    "delete": "DELETE FROM entries",
    "delete in a partition": "DELETE FROM entries_1",
    "truncate": "TRUNCATE entries",
    "truncate a partition": "TRUNCATE entries_1",
    "a header": "UPDATE entries SET kind = 'x'",
    "a body": "UPDATE entries SET body = 'x'",
    "a body in a partition": "UPDATE entries_1 SET body = 'x'",
    "bodies that nothing declares": "UPDATE entries SET body = NULL, salt = NULL",
    "a position is moved": "UPDATE entries SET position = position + 500000, body = NULL, salt = NULL",
    "a gap in positions": forged(5, 1),
    "a gap in sequences": forged(1, 7),
    "a sequence again": forged(1, 0),
    "a position again": forged(0, 1),
    "an epoch that falls": forged(1, 1, epoch=-1),
    "a time that falls": forged(1, 1, time=-1),
    "a gap in a partition": forged(5, 1, into="entries_1"),
    "a command again": forged(1, 1),
    "meta": "UPDATE meta SET value = 'x'",
    "meta is deleted": "DELETE FROM meta",
    "another key in meta": "INSERT INTO meta VALUES ('x', 'y')",
    "the tail falls": "UPDATE tail SET position = 0",
    "the tail rises": "UPDATE tail SET position = 100",
    "the tail is deleted": "DELETE FROM tail",
    "heads are deleted": "DELETE FROM heads",
    "heads are truncated": "TRUNCATE heads",
    "a head falls": "UPDATE heads SET sequence = 0",
    "a head rises": "UPDATE heads SET sequence = 100",
    "an epoch of a head falls": "UPDATE heads SET epoch = 0",
    "a head of no entry": "INSERT INTO heads VALUES ('b/1', 7, '', 0, 0)",
    "a command is forgotten": "DELETE FROM commands",
    "a command of no entry": "INSERT INTO commands VALUES ('a/1', 'c-9', 9)",
    "an own id of no entry": "INSERT INTO own_ids VALUES ('bank:9', 9)",
    "a writer is forgotten": "DELETE FROM writers",
}


async def test_every_statement_past_loom_is_refused_and_changes_nothing(place: Place) -> None:
    store = await place.open()
    await store.append(Append("a/1", 0, [note(), received("c-1")]))
    before = [recorded.as_json() for recorded in await collected(store.read_all())]
    connection = await place.connect()
    taken = {}
    for name, statement in ATTACKS.items():
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL loom.writer = '{store.writer}'")
                await connection.execute(statement)
        except Exception as error:
            taken[name] = type(error).__name__
    await connection.close()
    assert sorted(ATTACKS.keys() - taken.keys()) == []
    assert [recorded.as_json() for recorded in await collected(store.read_all())] == before
    assert (await store.append(notes("a/1", 2))).position == 3


async def test_an_insert_without_a_registered_writer_is_refused(place: Place) -> None:
    store = await place.open()
    await store.append(notes("a/1", 0))
    connection = await place.connect()
    with pytest.raises(Exception, match="registered writer"):
        await connection.execute(forged(1, 1))
    await connection.close()


async def test_a_writer_that_was_fenced_cannot_be_let_in_again(place: Place) -> None:
    store, other = await place.open(), await place.open()
    await store.fence(other.writer)
    connection = await place.connect()
    with pytest.raises(Exception, match="append-only"):
        await connection.execute("UPDATE writers SET fenced_at = NULL")
    await connection.close()


async def test_entries_go_on_over_the_ends_of_partitions(place: Place) -> None:
    store, other = await place.open(partition_entries=10), await place.open()
    await fill(store, {"a/1": 14, "a/2": 14})
    await other.acquire("a/3")
    await other.append(Append("a/3", 0, [note() for _ in range(45)]))
    await store.append(Append("a/1", 14, [received("c-1"), mark("turn_failed", "c-2")]))
    entries = await collected(store.read_all())
    assert_chained(entries)
    assert len(entries) == 28 + 45 + 2
    connection = await place.connect()
    names = [row[0] for row in await connection.fetch("SELECT inhrelid::regclass::text FROM pg_inherits")]
    with pytest.raises(Exception, match="append-only"):
        await connection.execute("DELETE FROM entries_21")
    await connection.close()
    tables = sorted(name for name in names if "pkey" not in name and "idx" not in name)
    assert len(tables) >= 8
