"""R4: the power is cut at any moment, and of what was not synced any part is on the disk, in any order, or is not."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from loom.errors import LoomError
from loom.journal.sqlite.verify import verify
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import rows_of
from tests.reliability.power import Disk, acknowledged_before
from tests.reliability.shim import Operation, operations
from tests.reliability.test_views import memory

CUTS = 3_000
CONTROL_CUTS = 600


@pytest.mark.seconds(30)
@pytest.mark.parametrize("half", [0, 1])
@row("R4")
def test_a_power_cut_takes_nothing_away_that_was_acknowledged(
    tmp_path: Path, tally: Tally, shimmed: Zygote, half: int
) -> None:
    lost, damaged = cut_off(shimmed, tmp_path, tally.dice, durability="full", cuts=CUTS // 2)
    tally.tried(CUTS // 2)
    for what in (*lost, *damaged):
        tally.fail(what)


@row("R4")
def test_a_power_cut_takes_acknowledged_entries_away_where_commits_are_not_synced(
    tmp_path: Path, tally: Tally, shimmed: Zygote
) -> None:
    lost, _ = cut_off(shimmed, tmp_path, tally.dice, durability="process-crash-only", cuts=CONTROL_CUTS)
    tally.control(trials=CONTROL_CUTS, found=len(lost))


def cut_off(
    shimmed: Zygote, directory: Path, dice: random.Random, *, durability: str, cuts: int
) -> tuple[list[str], list[str]]:
    """Record one workload, cut the power at many of its moments, and return what was lost and what was damaged."""
    recorded = list(operations(record(shimmed, directory, durability)))
    assert sum(operation.op == "S" for operation in recorded) > 5
    assert sum(operation.op == "A" for operation in recorded) == 30
    moments = sorted(dice.randrange(len(recorded) + 1) for _ in range(cuts))
    disk, at = Disk(directory / "work"), 0
    lost, damaged = [], []
    for moment in moments:
        while at < moment:
            disk.take(recorded[at])
            at += 1
        with tempfile.TemporaryDirectory(dir=memory()) as name:
            disk.cut(Path(name), dice)
            gone, problem = left(Path(name) / "journal.db", recorded, moment)
        if gone:
            lost.append(f"cut at {moment}: {gone} acknowledged entries are gone")
        if problem:
            damaged.append(f"cut at {moment}: {problem}")
    return lost, damaged


def record(shimmed: Zygote, directory: Path, durability: str) -> bytes:
    (directory / "work").mkdir()
    path, log = directory / "work" / "journal.db", directory / "log"
    with shimmed.fork("recorded", path=str(path), log=str(log), durability=durability) as child:
        assert child.wait() == 0
    raw = log.read_bytes()
    shutil.rmtree(directory / "work")
    return raw


def left(path: Path, recorded: list[Operation], moment: int) -> tuple[int, str | None]:
    """Return how many acknowledged entries are gone from what is left, and what is wrong with the rest."""
    expected = acknowledged_before(recorded, moment)
    try:
        found = verify(path)
        there = {row.position: row.entry_hash for row in rows_of(path)}
    except (LoomError, sqlite3.Error) as error:  # there is no journal, or one that was not made yet
        return len(expected), None if not expected else f"{error}"
    gone = sum(there.get(position) != bytes.fromhex(digest) for position, digest in expected.items())
    return gone, None if found.ok else str(list(found.lines())[:3])
