"""R4: the power is cut at any moment, and of what was not synced any part is on the disk, in any order, or is not.

Of journals, of the keys of a vault and of archives.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.archive import Archive
from loom.errors import LoomError
from loom.journal.sqlite.verify import verify
from loom.sealing import KeyFile
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import rows_of
from tests.reliability.keepers import MASTER
from tests.reliability.power import Disk, acknowledged_before
from tests.reliability.shim import Operation, built, operations
from tests.reliability.test_views import memory

CUTS = 3_000
CONTROL_CUTS = 600
KEPT_CUTS = 1_000


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


@pytest.fixture(scope="module")
def keepers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    library = built(tmp_path_factory.mktemp("shim"))
    with Zygote(module="tests.reliability.keepers", env={"LD_PRELOAD": str(library)}) as forking:
        yield forking


@pytest.mark.seconds(15)
@row("R4")
def test_a_power_cut_takes_no_key_away_that_something_was_sealed_with_and_brings_none_back_that_was_destroyed(
    tmp_path: Path, tally: Tally, keepers: Zygote
) -> None:
    recorded = kept_by(keepers, "keys_recorded", tmp_path)
    for moment, left in cuts_of(recorded, tmp_path, tally.dice, cuts=KEPT_CUTS):
        tally.tried()
        done = [each.data.decode().split() for each in recorded[:moment] if each.op == "A"]
        said = {word: {name for what, name in done if what == word} for word in ("sealed", "erasing", "erased")}
        kept = said["sealed"] - said["erasing"]
        problem = asyncio.run(keys_left(left / "journal.keys", kept, said["erased"]))
        tally.check(problem is None, f"cut at {moment}: {problem}")


@row("R4")
def test_keys_and_archives_that_are_not_synced_are_taken_away(tmp_path: Path, tally: Tally, keepers: Zygote) -> None:
    lost = 0
    unsynced = [each for each in kept_by(keepers, "keys_recorded", tmp_path) if each.op != "S"]
    for moment, left in cuts_of(unsynced, tmp_path, tally.dice, cuts=KEPT_CUTS // 4):
        done = [each.data.decode().split() for each in unsynced[:moment] if each.op == "A"]
        kept = {name for what, name in done if what == "sealed"} - {name for what, name in done if what == "erasing"}
        lost += asyncio.run(keys_left(left / "journal.keys", kept, set())) is not None
    tally.control(trials=KEPT_CUTS // 4, found=lost)


@row("R4")
def test_a_power_cut_leaves_no_archive_or_a_whole_one_and_takes_none_away_that_was_made(
    tmp_path: Path, tally: Tally, keepers: Zygote
) -> None:
    recorded = kept_by(keepers, "archive_recorded", tmp_path)
    for moment, left in cuts_of(recorded, tmp_path, tally.dice, cuts=KEPT_CUTS):
        tally.tried()
        made = [each.data.decode().split()[1] for each in recorded[:moment] if each.op == "A"]
        file = left / "a.zip"
        found = Archive(file).verify() if file.exists() else None
        tally.check(found is None or found.ok, f"cut at {moment}: the file is there and not whole")
        tally.check(not made or (found is not None and found.digest == made[0]), f"cut at {moment}: it is gone")


def kept_by(keepers: Zygote, job: str, directory: Path) -> list[Operation]:
    """Record a workload of the keepers."""
    place = directory / "work"
    place.mkdir()
    log, journal = directory / f"{job}.log", directory / job
    with keepers.fork(job, path=str(place), journal=str(journal), log=str(log)) as child:
        assert child.wait() == 0
    recorded = list(operations(log.read_bytes()))
    assert {"W", "S", "A"} <= {each.op for each in recorded}
    assert {"R", "L"} & {each.op for each in recorded}
    return recorded


def cuts_of(
    recorded: list[Operation], directory: Path, dice: random.Random, *, cuts: int
) -> Iterator[tuple[int, Path]]:
    """Cut the power at many moments; yield each with the directory that is left."""
    disk, at = Disk(directory / "work"), 0
    for moment in sorted(dice.randrange(len(recorded) + 1) for _ in range(cuts)):
        while at < moment:
            disk.take(recorded[at])
            at += 1
        with tempfile.TemporaryDirectory(dir=memory()) as name:
            disk.cut(Path(name), dice)
            yield moment, Path(name)


async def keys_left(path: Path, kept: set[str], erased: set[str]) -> str | None:
    """Return what is wrong with a file of keys that is left: keys that have to be there, and others that must not."""
    if not path.exists():
        return "the file of keys is gone" if kept else None
    file = KeyFile(path, MASTER)
    try:
        await file.open()
        lost = [each for each in sorted(kept) if not await file.get(each)]
        back = [each for each in sorted(erased) if await file.get(each)]
    except LoomError as error:
        return str(error)
    finally:
        await file.close()
    return f"lost {lost}, back {back}" if lost or back else None


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
