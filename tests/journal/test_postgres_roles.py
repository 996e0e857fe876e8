"""Accounts that are let in as readers and writers of a journal in PostgreSQL do what they may, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loom.errors import JournalReadOnlyError
from loom.journal import Append, PrunedEntry, draft
from loom.journal.postgres import PostgresReader, PostgresStore, PostgresUrl
from loom.journal.sqlite import JournalFiles
from tests.journal.support import collected, notes
from tests.postgres_server import Place

PRUNED = PrunedEntry(journal="a/1", first_sequence=1, last_sequence=1, reason="x", by="dana")


def as_account(place: Place, account: str) -> PostgresUrl:
    url = place.url()
    return replace(url, dsn=url.dsn.replace("loom@", f"{account}@", 1), password="secret")


async def let_in(connection: Any, account: str, role: str) -> None:
    await connection.execute(f"DROP ROLE IF EXISTS {account}")
    await connection.execute(f"CREATE ROLE {account} LOGIN PASSWORD 'secret'")
    await connection.execute("SELECT let_in($1, $2)", account, role)


async def refused(connection: Any, *statements: str) -> list[str]:
    """Return the statements that were done, or failed for another reason than that they may not be."""
    done = []
    for statement in statements:
        try:
            await connection.execute(statement)
        except Exception as error:
            if getattr(error, "sqlstate", "") not in ("42501", "LM003", "LM004"):
                done.append(f"{statement}: {error}")
        else:
            done.append(statement)
    return done


async def test_a_reader_reads_and_a_writer_writes_and_neither_does_more(place: Place, tmp_path: Path) -> None:
    owner, by_hand = await place.open(), await place.connect()
    await owner.append(notes("a/1", 0))
    await let_in(by_hand, "bi", "reader")
    await let_in(by_hand, "node", "writer")

    reader = PostgresReader(as_account(place, "bi"))
    assert len(await collected(reader.read_all())) == 1
    with pytest.raises(JournalReadOnlyError, match="rights of a writer"):
        await PostgresStore.open(as_account(place, "bi"), JournalFiles(tmp_path / "bi" / "node.db"))
    async with reader.sessions.one() as connection:
        assert await refused(connection, "SELECT fence(1)", "SELECT acquire(1, 'a/1', '')", "DELETE FROM entries") == []
    await reader.close()

    node = await PostgresStore.open(as_account(place, "node"), JournalFiles(tmp_path / "node" / "node.db"))
    head = await node.acquire("a/1")
    await node.append(Append("a/1", head.sequence, [draft(PRUNED)]))
    await node.prune_bodies("a/1", [(1, 1)])
    async with node._reader.sessions.one() as connection:
        assert (
            await refused(
                connection,
                "DELETE FROM entries",
                "TRUNCATE entries",
                "DELETE FROM entries_1",
                "UPDATE heads SET epoch = epoch + 1",
                "UPDATE tail SET one = 1",
                "INSERT INTO commands VALUES ('a/1', 'c-1', 1)",
                "INSERT INTO meta VALUES ('sealed', 'x')",
                "INSERT INTO writers (name, account) VALUES ('x', 'loom')",
                "UPDATE writers SET address = 'http://elsewhere'",
                f"SELECT begin_append({owner.writer}, '{{}}')",
                "SELECT let_in('bi', 'writer')",
                "DROP TABLE entries",
            )
            == []
        )
        await connection.execute("UPDATE writers SET beat_at = 'epoch'")  # of its own row only
    rows = dict(await by_hand.fetch("SELECT writer, beat_at > 'epoch' FROM writers"))
    assert rows[owner.writer] is True
    await node.close()
    assert len(await collected(owner.read_all())) == 2
    for account in ("bi", "node"):
        await by_hand.execute(f"DROP OWNED BY {account}")
        await by_hand.execute(f"DROP ROLE {account}")
    await by_hand.close()


async def test_an_account_that_may_make_no_schema_makes_a_journal_in_one_of_its_own(
    place: Place, tmp_path: Path
) -> None:
    by_hand = await place.connect()
    await by_hand.execute("DROP ROLE IF EXISTS tenant")
    await by_hand.execute("CREATE ROLE tenant LOGIN PASSWORD 'secret'")
    files = JournalFiles(tmp_path / "tenant" / "node.db")
    with pytest.raises(JournalReadOnlyError, match="rights of a writer"):
        await PostgresStore.open(as_account(place, "tenant"), files)
    await by_hand.execute(f"CREATE SCHEMA {place.schema} AUTHORIZATION tenant")
    store = await PostgresStore.open(as_account(place, "tenant"), files)
    assert (await store.append(notes("a/1", 0))).position == 1
    await store.close()
    await by_hand.execute("DROP OWNED BY tenant")
    await by_hand.execute("DROP ROLE tenant")
    await by_hand.close()
