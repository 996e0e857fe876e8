"""R22: every byte of a journal is changed, one after the other. Whatever a reader would then get that is not what was
written, verification has to notice: in the table, and in what is found by an index.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loom.journal import Append
from loom.journal.findings import DECLARED, Verification
from loom.journal.kinds import PrunedEntry
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.sqlite.reader import COLUMNS
from loom.journal.sqlite.verify import verify_connection
from loom.journal.store import draft
from tests.journal.support import PLENTY, note, received
from tests.reliability.board import Tally, row

PAGE_BYTES = 1_024
TABLE = f"SELECT {COLUMNS} FROM entries NOT INDEXED ORDER BY position"
BY_SEQUENCE = f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND sequence > 0 ORDER BY sequence"
BY_COMMAND = f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND command_id = ? AND kind = 'command_received'"
JOURNALS = "SELECT DISTINCT journal FROM entries ORDER BY journal"
PRUNED = "SELECT position FROM entries WHERE kind = 'pruned'"
ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (TABLE, ()),
    (BY_SEQUENCE, ("a/1",)),
    (BY_SEQUENCE, ("b/1",)),
    (BY_COMMAND, ("a/1", "c0")),
    (BY_COMMAND, ("a/1", "c3")),
    (BY_COMMAND, ("b/1", "c0")),
    (JOURNALS, ()),
    (PRUNED, ()),
    ("SELECT value FROM meta WHERE key = 'workspace'", ()),
    ("SELECT epoch FROM writer WHERE one = 1", ()),
)

BESIDE_THE_CHAIN = ("INDEX_DAMAGED", "SCHEMA_CHANGED")
"""What a verification that follows the chain alone does not look for."""


@pytest.mark.seconds(40)
@pytest.mark.timeout(280)
@pytest.mark.parametrize("mask", [0x01, 0x80])
@row("R22")
async def test_no_byte_of_a_journal_can_change_and_nobody_notices(tmp_path: Path, tally: Tally, mask: int) -> None:
    raw, heads = await small_journal(tmp_path / "journal.db")
    true = answers(opened(raw))
    assert all(true)
    seen = Counter[str]()
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= mask
        seen[judged(bytes(flipped), true, heads, tally, place)] += 1
        tally.tried()
    tally.control(trials=seen["chain clean"] + seen["chain blind"], found=seen["chain blind"])
    tally.note(
        f"mask {mask:#x}: {len(raw):,} bytes, {seen['detected']:,} findings, {seen['harmless']:,} without effect"
    )


def judged(raw: bytes, true: list[Any], heads: list[WrittenHead], tally: Tally, place: int) -> str:
    """Say what one flip came to; what is silent and has an effect is a failure."""
    connection = opened(raw)
    try:
        found = verify_connection(connection, heads=heads)
        if found.ok:
            same = answers(connection) == true
            tally.check(same, f"byte {place} changes what is read, and verification says {list(found.lines())}")
            return "harmless"
        if not chain_is_clean(found):
            return "detected"
        return "chain clean" if answers(connection) == true else "chain blind"
    except Exception as error:  # a traceback is a failure of verification, whatever it says
        tally.fail(f"byte {place}: {error!r}")
        return "raised"
    finally:
        connection.close()


def chain_is_clean(found: Verification) -> bool:
    """Tell whether one that scans the table and follows the chain alone would have found nothing."""
    return all(
        finding.code in DECLARED or finding.code in BESIDE_THE_CHAIN or "SQLite says" in finding.message
        for finding in found.findings
    )


def opened(raw: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(raw)
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def answers(connection: sqlite3.Connection) -> list[Any]:
    """Return what a reader is told; an error is an answer of its own kind, as it is not silent."""
    connection.text_factory = bytes
    told: list[Any] = []
    for statement, parameters in ASKED:
        try:
            told.append(connection.execute(statement, parameters).fetchall())
        except sqlite3.Error as error:
            told.append(f"error {error}")
    # An error is loud: only answers that look good count.
    return told


async def small_journal(path: Path) -> tuple[bytes, list[WrittenHead]]:
    """Write a small journal with all there may be in one, and return it on small pages, with its heads."""
    store = await SqliteStore.open(path, options=PLENTY)
    policy = bytes(range(32))
    for number in range(14):
        command = received(f"c{number}")._replace(policy_hash=policy)
        await store.append(Append("a/1", 2 * number, [command, note(f"number {number}")]))
    await store.append(Append("b/1", 0, [received("c0"), note("ä long text " * 120)]))
    pruned = PrunedEntry(journal="a/1", first_sequence=2, last_sequence=2, by="ana", reason="asked for")
    await store.append(Append("b/1", 2, [draft(pruned)]))
    await store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence = 2")
    connection.execute("PRAGMA journal_mode = DELETE")  # a database in memory has no log beside it
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("VACUUM")
    raw = connection.serialize()
    connection.close()
    return raw, list(HeadsFile(path.with_suffix(".heads")).read().heads)
