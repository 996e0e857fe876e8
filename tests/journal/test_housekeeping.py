"""When the writer folds its log and writes a head down, and what it does where a reader or a disk is in the way."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from loom.errors import JournalCorruptError, JournalReadOnlyError
from loom.journal.sqlite import JournalFiles, WriterOptions
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.sqlite.housekeeping import Housekeeping
from loom.journal.sqlite.staging import Tail

BUDGET = 2 * 4_096


def hash_of(position: int) -> bytes:
    return bytes([position]) * 32


class Connection:
    """A writer's connection whose checkpoints end as a test says: `reader` is in the way, or the disk is broken."""

    def __init__(self, files: JournalFiles) -> None:
        self._files = files
        self.reader = False
        self.broken: sqlite3.Error | None = None
        self.dropped = 0
        self.asked: list[str] = []
        self.tail = Tail(0, b"", 0)
        self.hashes: dict[int, bytes] = {}

    def at(self, position: int) -> None:
        self.tail = Tail(position, hash_of(position), 1)

    def hash_at(self, position: int) -> bytes | None:
        return self.hashes.get(position)

    def drop(self) -> None:
        self.dropped += 1

    def sqlite(self) -> Connection:
        return self

    def execute(self, sql: str) -> Connection:
        self.asked.append(sql.removeprefix("PRAGMA "))
        if "wal_checkpoint" in sql:
            if self.broken is not None:
                raise self.broken
            if not self.reader:
                os.truncate(self._files.wal, 0)
        return self

    def fetchone(self) -> tuple[int, int, int]:
        return int(self.reader), 0, 0


class House:
    def __init__(self, directory: Path, **options: Any) -> None:
        self.files = JournalFiles(directory / "journal.db")
        self.files.wal.touch()
        self.connection = Connection(self.files)
        given = WriterOptions(**{"checkpoint_pages": 2, "head_every": 4, "busy_timeout_s": 1.5, **options})
        self.keeping = Housekeeping(self.files, connection=cast("Any", self.connection), options=given)

    def log(self, size: int) -> None:
        os.truncate(self.files.wal, size)

    def after_batch(self, position: int = 0, *, log: int | None = None) -> int:
        """Say that a batch was written, and return how many checkpoints that led to."""
        if position:
            self.connection.at(position)
        if log is not None:
            self.log(log)
        before = self.checkpoints
        self.keeping.after_batch()
        return self.checkpoints - before

    @property
    def checkpoints(self) -> int:
        return self.connection.asked.count("wal_checkpoint(TRUNCATE)")

    @property
    def heads(self) -> list[int]:
        return [head.position for head in HeadsFile(self.files.heads).read().heads]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- checkpoints --------------------------------------------------------------------------------


def test_the_log_is_folded_when_it_has_the_pages_it_may_have(house: House) -> None:
    assert house.after_batch(log=0) == 0
    assert house.after_batch(log=BUDGET - 1) == 0
    assert house.after_batch(log=BUDGET) == 1
    assert house.files.wal.stat().st_size == 0
    assert house.after_batch(log=BUDGET - 1) == 0
    assert house.after_batch(log=BUDGET + 1) == 1


def test_a_checkpoint_waits_for_nobody_and_the_connection_waits_as_before_afterwards(house: House) -> None:
    house.after_batch(log=BUDGET)
    assert house.connection.asked == ["busy_timeout = 0", "wal_checkpoint(TRUNCATE)", "busy_timeout = 1500"]


def test_a_log_that_a_reader_keeps_is_tried_again_when_it_has_grown_by_as_much(house: House) -> None:
    house.connection.reader = True
    assert house.after_batch(log=BUDGET) == 1
    assert house.after_batch(log=2 * BUDGET - 1) == 0
    assert house.after_batch(log=2 * BUDGET) == 1
    house.connection.reader = False
    assert house.after_batch(log=3 * BUDGET) == 1
    assert house.after_batch(log=BUDGET) == 1, "the budget is that of an empty log again"


def test_a_log_that_grows_far_beyond_its_budget_is_said(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.connection.reader = True
    house.after_batch(log=16 * BUDGET)
    assert caplog.text == ""
    house.after_batch(log=17 * BUDGET)
    assert re.search(r"\bjournal_log_grows\b", caplog.text)
    assert str(17 * BUDGET) in caplog.text


def test_bodies_that_were_taken_away_are_folded_out_of_the_log_at_once(house: House) -> None:
    house.log(1)
    house.keeping.after_prune()
    assert house.checkpoints == 1
    assert house.files.wal.stat().st_size == 0


# --- heads --------------------------------------------------------------------------------------


def test_a_head_is_written_down_every_so_many_entries(house: House) -> None:
    assert house.after_batch(3) == 0
    assert house.heads == []
    assert house.after_batch(4) == 0, "what is committed is durable without a checkpoint"
    assert house.heads == [4]
    house.after_batch(7)
    assert house.heads == [4]
    house.after_batch(9)
    assert house.heads == [4, 9]
    assert HeadsFile(house.files.heads).last() == WrittenHead(9, hash_of(9))


def test_a_head_does_not_wait_for_a_reader_where_commits_are_durable(house: House) -> None:
    house.connection.reader = True
    assert house.after_batch(4, log=BUDGET) == 1
    assert house.heads == [4]


def test_where_a_power_cut_may_take_entries_a_head_is_written_only_of_what_was_folded(tmp_path: Path) -> None:
    house = House(tmp_path, durability="process-crash-only")
    house.connection.reader = True
    assert house.after_batch(4, log=1) == 1
    assert house.heads == []
    house.connection.reader = False
    assert house.after_batch(5, log=1) == 1
    assert house.heads == [5]
    assert house.after_batch(6, log=1) == 0
    assert house.after_batch(8, log=BUDGET) == 1
    assert house.heads == [5], "a checkpoint alone makes no head"


def test_heads_go_on_from_the_one_that_is_there(house: House) -> None:
    HeadsFile(house.files.heads).append(WrittenHead(6, hash_of(6)))
    house.connection.hashes[6] = hash_of(6)
    house.keeping.check_heads()
    house.after_batch(9)
    assert house.heads == [6]
    house.after_batch(10)
    assert house.heads == [6, 10]


def test_a_journal_without_heads_is_not_refused(house: House) -> None:
    house.keeping.check_heads()


@pytest.mark.parametrize(("found", "what"), [(None, "cut"), (hash_of(5), "rewritten")])
def test_a_journal_that_does_not_hold_its_last_head_is_refused(house: House, found: bytes | None, what: str) -> None:
    HeadsFile(house.files.heads).append(WrittenHead(6, hash_of(6)))
    if found is not None:
        house.connection.hashes[6] = found
    with pytest.raises(JournalCorruptError, match=rf"was {what} at or before position \[6\]; .*\[060606060606…\]"):
        house.keeping.check_heads()


def test_heads_that_cannot_be_read_are_said(house: House) -> None:
    house.files.heads.mkdir()
    with pytest.raises(JournalReadOnlyError, match=r"heads file \[.*\] cannot be read \[Is a directory\]"):
        house.keeping.check_heads()


# --- what fails ---------------------------------------------------------------------------------


def test_a_checkpoint_that_fails_drops_the_connection_and_is_logged_once_until_one_succeeds(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.connection.broken = sqlite3.OperationalError("disk I/O error")
    for count in (1, 2, 3):
        assert house.after_batch(4, log=BUDGET) == 1
        assert house.connection.dropped == count
    assert house.heads == [], "nothing is said of a disk that does not work"
    assert len(re.findall(r"\bhousekeeping_failed\b", caplog.text)) == 1
    assert "disk I/O error" in caplog.text
    house.connection.broken = None
    assert house.after_batch() == 1
    assert house.heads == [4]
    house.connection.broken = sqlite3.OperationalError("again")
    house.after_batch(log=BUDGET)
    assert len(re.findall(r"\bhousekeeping_failed\b", caplog.text)) == 2


def test_a_head_that_cannot_be_written_is_tried_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.files.heads.mkdir()
    house.after_batch(4)
    assert re.search(r"\bhousekeeping_failed\b", caplog.text)
    house.files.heads.rmdir()
    house.after_batch(5)
    assert house.heads == [5]


@pytest.mark.parametrize("when", ["after_prune", "at_close"])
def test_a_disk_that_fails_at_another_time_is_logged_too(
    house: House, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    house.connection.broken = sqlite3.OperationalError("disk I/O error")
    getattr(house.keeping, when)()
    assert re.search(r"\bhousekeeping_failed\b", caplog.text)
    assert house.connection.dropped == 1


# --- the end ------------------------------------------------------------------------------------


def test_closing_writes_the_last_head_down_once(house: House) -> None:
    house.after_batch(4)
    house.connection.at(5)
    house.keeping.at_close()
    house.keeping.at_close()
    assert house.heads == [4, 5]
    assert house.checkpoints == 2


@pytest.mark.parametrize(
    ("durability", "reader", "heads"),
    [("full", True, [3]), ("process-crash-only", True, []), ("process-crash-only", False, [3])],
)
def test_closing_writes_a_head_of_what_outlasts_a_power_cut(
    tmp_path: Path, durability: str, heads: list[int], *, reader: bool
) -> None:
    house = House(tmp_path, durability=durability)
    house.connection.at(3)
    house.connection.reader = reader
    house.keeping.at_close()
    assert house.heads == heads


def test_closing_an_empty_journal_writes_no_head(house: House) -> None:
    house.keeping.at_close()
    assert house.heads == []
    assert not house.files.heads.exists()
