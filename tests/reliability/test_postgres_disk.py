"""R5 on PostgreSQL: the disk of the server is really full, that of its log or that of its tables."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from loom.errors import AppendUnknownError, DiskFullError, JournalBusyError, LoomError
from loom.journal import Receipt
from loom.journal.postgres import PostgresStore
from loom.journal.postgres.verify import verify_server
from tests.journal.support import collected, notes
from tests.postgres_server import PASSWORD, QUOTED, Place, Server, unprivileged, why_missing
from tests.reliability.board import Tally, row
from tests.reliability.small import mounted

_MOST = 3_000
_LEFT = 1_500_000
_ENDED_S = 60.0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of some megabytes that a server's user may reach."""
    if (why := why_missing()) is not None:
        pytest.skip(why)
    place = Path(tempfile.mkdtemp(prefix="loom-small-"))
    place.chmod(0o755)
    try:
        with mounted(place, "size=96m,mode=777"):
            yield place
    finally:
        place.rmdir()


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A directory of the server's user on a disk with room."""
    place = Path(tempfile.mkdtemp(prefix="loom-wal-"))
    if (user := unprivileged()) is not None:
        os.chown(place, user.pw_uid, user.pw_gid)
    yield place
    shutil.rmtree(place)


def fill(disk: Path) -> Path:
    """Leave little room on a disk; return what has to be deleted to make some."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as file:
        for _ in range((free - _LEFT) // 65_536):
            file.write(b"x" * 65_536)
    return ballast


async def appended_until_full(store: PostgresStore, tally: Tally) -> tuple[list[Receipt], LoomError]:
    """Append until that fails; return what was acknowledged, and the failure, which must say what to do."""
    receipts: list[Receipt] = []
    while True:
        tally.check(len(receipts) < _MOST, "the disk does not get full")
        try:
            receipts.append(await store.append(notes("a/1", len(receipts), text=os.urandom(6_000).hex())))
        except LoomError as error:
            said = str(error)
            tally.check("\n" not in said and "; expected" in said, said)
            tally.check(not any(secret in said for secret in (PASSWORD, QUOTED)), "a password in a message")
            return receipts, error


async def went_on(
    place: Place, store: PostgresStore, receipts: list[Receipt], failure: LoomError, tally: Tally
) -> None:
    """Append again now that there is room; all that was acknowledged must be there, and nothing else."""
    if isinstance(failure, AppendUnknownError):
        tally.heard["unknown"] += 1
        receipts += [found] if (found := await store.resolve(failure)) is not None else []
    receipts.append(await store.append(notes("a/1", len(receipts))))
    there = [each.entry_hash for each in await collected(store.read_all())]
    tally.check(there == [receipt.entry_hash for receipt in receipts], "what is there is not what was acknowledged")
    tally.check((await verify_server(place.url(), store.files.heads)).ok, "it does not verify")
    tally.tried()


async def answers(place: Place) -> bool:
    """Tell whether the server takes connections: one that lost its log does not."""
    try:
        await (await place.connect()).close()
    except (OSError, asyncpg.PostgresError):
        return False
    return True


async def judged(place: Place, small_disk: Path, tally: Tally) -> LoomError:
    """Fill the small disk, append until that fails, make room, and go on; return how it failed."""
    store = await place.open()
    ballast = fill(small_disk)
    receipts, failure = await appended_until_full(store, tally)
    if crashed := not isinstance(failure, DiskFullError) or not await answers(place):
        async with asyncio.timeout(_ENDED_S):
            while place.server.is_running:
                await asyncio.sleep(0.05)
        tally.heard["the server had ended"] += 1
    ballast.unlink()
    if crashed:
        place.server.start()
    await went_on(place, store, receipts, failure, tally)
    await place.close(drop=False)
    return failure


@row("R5")
async def test_a_server_whose_tables_cannot_grow_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, tally: Tally, tmp_path: Path, roomy: Path
) -> None:
    server = Server(settings={"fsync": "on", "shared_buffers": "1MB"}, below=small_disk)
    try:
        server.make("--waldir", str(roomy / "wal"))
        failure = await judged(Place(server, tmp_path), small_disk, tally)
        tally.check(isinstance(failure, DiskFullError), repr(failure))
        tally.check("make room there" in str(failure) and "(nothing was written)" in str(failure), failure)
        tally.check(not tally.heard["the server had ended"], "an error of one statement ended the server")
    finally:
        server.remove()


@row("R5")
async def test_a_server_whose_log_has_no_room_ends_and_goes_on_when_it_is_started_with_room(
    small_disk: Path, tally: Tally, tmp_path: Path
) -> None:
    server = Server(settings={"fsync": "on", "min_wal_size": "2MB", "max_wal_size": "1GB", "checkpoint_timeout": "1h"})
    place = Place(server, tmp_path, reconnect_timeout_s=1.0, answer_timeout_s=5.0)
    try:
        server.make("--wal-segsize", "1", "--waldir", str(small_disk / "wal"))
        failure = await judged(place, small_disk, tally)
        tally.check(isinstance(failure, DiskFullError | AppendUnknownError | JournalBusyError), repr(failure))
        tally.check(tally.heard["the server had ended"] == 1, "the log had room")
        tally.heard[type(failure).__name__] += 1
    finally:
        server.remove()
