"""What a store finds when it is opened: a sound journal of ours, or an error that says what it is instead."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import io
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    ConfigError,
    InvalidNameError,
    JournalCorruptError,
    JournalForeignError,
    JournalFormatError,
    JournalLockedError,
    JournalNotFoundError,
    JournalReadOnlyError,
    LoomError,
    UnsupportedFilesystemError,
)
from loom.journal.sqlite import JournalFiles, Reader, SqliteOptions, SqliteStore, WriterLock, WriterOptions
from loom.journal.sqlite import files as files_module
from loom.journal.sqlite.connection import APPLICATION_ID, connect_reader, has_wal_reset_bug
from loom.journal.sqlite.verify import verify
from tests.journal.support import PLENTY, collected, environment, fill, filled, notes

COUNTS = {"a/1": 5, "a/2": 2}


async def opened_and_closed(path: Path, **given: Any) -> None:
    store = await SqliteStore.open(path, **given)
    await store.close()


async def test_every_pragma_that_matters_holds(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db")
    connection = store._writer._connection.sqlite
    found = await store._in_thread(
        lambda: {
            name: connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "recursive_triggers",
                "trusted_schema",
                "cell_size_check",
                "application_id",
                "user_version",
                "fullfsync",
                "checkpoint_fullfsync",
            )
        }
    )
    await store.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
        "recursive_triggers": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "application_id": APPLICATION_ID,
        "user_version": 3,
        "fullfsync": 1,
        "checkpoint_fullfsync": 1,
    }


async def test_less_durability_has_to_be_asked_for_by_its_name(tmp_path: Path) -> None:
    options = SqliteOptions(writer=WriterOptions(durability="process-crash-only"))
    store = await SqliteStore.open(tmp_path / "journal.db", options=options)
    connection = store._writer._connection.sqlite
    synchronous = await store._in_thread(lambda: connection().execute("PRAGMA synchronous").fetchone()[0])
    await store.close()
    assert synchronous == 1
    with pytest.raises(ConfigError, match="process-crash-only"):
        WriterOptions(durability="fast")


def test_the_versions_of_sqlite_that_lose_rows_are_known() -> None:
    assert has_wal_reset_bug((3, 40, 1))
    assert has_wal_reset_bug((3, 51, 2))
    assert has_wal_reset_bug((3, 52, 0))
    assert not has_wal_reset_bug((3, 51, 3))
    assert not has_wal_reset_bug((3, 53, 0))


async def test_a_new_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "journal.db"
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()
    assert set(modes.values()) == {0o600}
    assert {"journal.db", "journal.db-wal", "journal.lock"} <= modes.keys()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_foreign_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(JournalForeignError, match="not a journal"):
        await SqliteStore.open(path)
    with pytest.raises(JournalForeignError, match="not a journal"):
        connect_reader(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "raw",
    [b"x", b"Dear diary,\n" * 1_000, b"SQLite format 3\x00", random.Random(1).randbytes(8_192)],
    ids=["a letter", "a diary", "only a header", "noise"],
)
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(raw)
    with pytest.raises((JournalForeignError, JournalCorruptError)):
        await SqliteStore.open(path)
    with pytest.raises((JournalForeignError, JournalCorruptError)):
        connect_reader(path)
    assert path.read_bytes() == raw


async def test_a_journal_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, COUNTS)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 4")
    newer.close()
    with pytest.raises(JournalFormatError, match=r"format \[4\]"):
        await SqliteStore.open(path)
    with pytest.raises(JournalFormatError, match=r"format \[4\]"):
        await collected(Reader(path).read_all())


async def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch()
    with pytest.raises(JournalForeignError, match="is empty"):
        connect_reader(path)
    await filled(path, COUNTS)
    assert verify(path).ok


async def test_a_journal_that_was_never_there_is_not_made_by_reading(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "journal.db")
    with pytest.raises(JournalNotFoundError):
        await collected(reader.read_all())
    await reader.close()
    assert os.listdir(tmp_path) == []


async def test_a_workspace_is_named_as_a_directory_may_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError):
        await SqliteStore.open(tmp_path / "journal.db", workspace="../etc")


async def test_a_schema_that_was_changed_is_refused_and_the_change_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, COUNTS)
    attacker = sqlite3.connect(path)
    attacker.execute("DROP TRIGGER entries_append_only_delete")
    attacker.close()
    with pytest.raises(JournalCorruptError, match="entries_append_only_delete"):
        await SqliteStore.open(path)


@pytest.mark.parametrize("keep", [100, 4_096, 12_288, 20_000])
async def test_a_journal_that_was_cut_short_is_refused_and_its_lock_given_back(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "journal.db"
    await filled(path, COUNTS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LoomError):
        await opened_and_closed(path)
    assert not WriterLock(JournalFiles(path).lock).held()


async def test_damaged_bytes_are_an_error_of_looms_and_never_anything_else(tmp_path: Path) -> None:
    sound = tmp_path / "sound" / "journal.db"
    await filled(sound, COUNTS)
    raw = sound.read_bytes()
    for page in range(len(raw) // 4_096):
        path = tmp_path / str(page) / "journal.db"
        shutil.copytree(sound.parent, path.parent)
        path.write_bytes(raw[: page * 4_096] + os.urandom(4_096) + raw[(page + 1) * 4_096 :])
        try:
            store = await SqliteStore.open(path, options=PLENTY)
        except LoomError:
            continue
        try:
            await store.append(notes("a/3", 0))
            await collected(store.read_all())
            await store.journals()
        except LoomError:
            pass
        finally:
            await store.close()


async def test_a_journal_that_was_cut_or_replaced_before_the_last_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, COUNTS)
    files = JournalFiles(path)
    older = tmp_path / "older"
    older.mkdir()
    await filled(older / "journal.db", {"a/1": 3})
    shutil.copy(older / "journal.db", path)
    with pytest.raises(JournalCorruptError, match="cut at or before position"):
        await SqliteStore.open(path)
    await filled(older / "journal.db", {"a/2": 9})
    shutil.copy(older / "journal.db", path)
    with pytest.raises(JournalCorruptError, match="rewritten at or before position"):
        await SqliteStore.open(path)
    path.unlink()
    with pytest.raises(JournalCorruptError, match="cut at or before position"):
        await SqliteStore.open(path)
    assert not WriterLock(files.lock).held()


async def test_a_torn_head_is_what_a_crash_leaves_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, COUNTS)
    heads = JournalFiles(path).heads
    heads.write_bytes(heads.read_bytes() + b"12 0a1b")
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 5))
    await store.close()
    assert verify(path).ok
    assert verify(path).anchored_through == 8


async def test_heads_that_cannot_be_read_are_an_error_and_not_an_absence(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    JournalFiles(path).heads.mkdir()
    with pytest.raises(JournalReadOnlyError, match="heads"):
        await SqliteStore.open(path)


# --- locks --------------------------------------------------------------------------------------


async def test_a_second_writer_in_the_same_process_is_refused_and_does_not_touch_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path)
    opened: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **_: opened.append(given))
        with pytest.raises(JournalLockedError) as refused:
            await SqliteStore.open(path)
    assert opened == []
    assert refused.value.holder["pid"] == os.getpid()
    await store.append(notes("a/1", 0))
    await store.close()
    await opened_and_closed(path)


async def test_another_name_of_a_journal_leads_to_the_same_lock(tmp_path: Path) -> None:
    path, alias = tmp_path / "journal.db", tmp_path / "alias.db"
    store = await SqliteStore.open(path)
    alias.symlink_to(path)
    with pytest.raises(JournalLockedError):
        await SqliteStore.open(alias)
    await store.close()


def test_looking_whether_a_lock_is_held_does_not_keep_a_writer_from_taking_it(tmp_path: Path) -> None:
    """A shell that looks holds the lock for a moment; a starting writer waits that long."""
    import fcntl
    import threading

    path = tmp_path / "journal.lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.03, os.close, [looking]).start()
    lock = WriterLock(path)
    lock.acquire()
    assert WriterLock(path).held()
    lock.release()
    assert not WriterLock(path).held()


def test_a_lock_says_who_holds_it_and_how_to_reach_them(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "journal.lock")
    assert lock.holder() is None
    lock.acquire()
    lock.describe(pid=os.getpid(), socket="/run/x.sock", started_at="a long time ago, in a longer text")
    lock.describe(pid=os.getpid(), socket="/run/x.sock")
    assert WriterLock(tmp_path / "journal.lock").holder() == {"pid": os.getpid(), "socket": "/run/x.sock"}
    lock.release()
    assert lock.holder() == {}


def test_a_lock_file_that_is_a_link_or_lies_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "journal.lock").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "journal.lock", tmp_path / "nowhere" / "journal.lock"):
        with pytest.raises(JournalReadOnlyError, match="lock file"):
            WriterLock(path).acquire()


async def test_a_failed_opening_gives_the_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"

    def fail(self: object) -> None:
        raise RuntimeError("in the middle of it")

    with monkeypatch.context() as patch:
        patch.setattr("loom.journal.sqlite.housekeeping.Housekeeping.check_heads", fail)
        with pytest.raises(RuntimeError):
            await SqliteStore.open(path)
    await opened_and_closed(path)


async def test_an_opening_that_is_cancelled_gives_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for _ in range(5):
        opening = asyncio.create_task(SqliteStore.open(path))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not WriterLock(JournalFiles(path).lock).held()
    await opened_and_closed(path)


# --- file systems -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p"])
async def test_a_network_file_system_is_refused_unless_somebody_knows_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(files_module, "_mounts", lambda: iter([(Path("/"), "ext4"), (tmp_path, kind)]))
    with pytest.raises(UnsupportedFilesystemError, match=kind):
        await SqliteStore.open(tmp_path / "journal.db")
    assert not (tmp_path / "journal.db").exists()
    await opened_and_closed(tmp_path / "journal.db", options=SqliteOptions(allow_unsupported_filesystem=True))


@pytest.mark.parametrize("kind", ["overlay", "fuse.sshfs", "fuseblk"])
async def test_a_file_system_that_may_do_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    monkeypatch.setattr(files_module, "_mounts", lambda: iter([(Path("/"), kind)]))
    await opened_and_closed(tmp_path / "journal.db")
    assert "filesystem_suspect" in caplog.text
    assert kind in caplog.text


def test_the_innermost_and_latest_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    mounts = [(Path("/"), "ext4"), (inner, "nfs"), (tmp_path, "tmpfs"), (inner, "xfs"), (tmp_path / "in", "cifs")]
    monkeypatch.setattr(files_module, "_mounts", lambda: iter(mounts))
    inner.mkdir()
    assert files_module.filesystem_of(inner / "not" / "there" / "yet") == "xfs"
    assert files_module.filesystem_of(tmp_path / "other") == "tmpfs"


# --- files that cannot be written ---------------------------------------------------------------

AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
import encodings.idna
from loom.errors import JournalReadOnlyError
from loom.journal.sqlite import Reader, SqliteStore
from loom.journal.sqlite.verify import verify

path = Path(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)

async def main():
    try:
        await SqliteStore.open(path)
    except JournalReadOnlyError as error:
        print("refused:", error)
    reader = Reader(path)
    entries = [entry async for entry in reader.read_all()]
    await reader.close()
    print("read", len(entries), "verified", verify(path).ok)

asyncio.run(main())
"""


def tried_as_nobody(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can reach, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


async def test_a_directory_that_cannot_be_written_is_refused_for_writing_and_can_be_read(open_directory: Path) -> None:
    """Permissions do not bind root, so that a child becomes nobody first."""
    path = open_directory / "workspace" / "journal.db"
    await filled(path, COUNTS)
    JournalFiles(path).lock.unlink()
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    said = tried_as_nobody(path)
    path.parent.chmod(0o755)
    assert "refused: lock file" in said
    assert "expected a directory that can be written" in said
    assert "read 7 verified True" in said


async def test_a_journal_file_that_cannot_be_written_is_refused(open_directory: Path) -> None:
    path = open_directory / "workspace" / "journal.db"
    await filled(path, COUNTS)
    for file in path.parent.iterdir():
        file.chmod(0o666)
    path.chmod(0o444)
    path.parent.chmod(0o777)
    said = tried_as_nobody(path)
    assert "refused: journal" in said
    assert "read 7 verified True" in said


async def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalReadOnlyError, match="cannot be made"):
        await SqliteStore.open(tmp_path / "file" / "journal.db")


# --- only SQLite opens the database -------------------------------------------------------------


async def test_nothing_opens_the_database_except_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing any descriptor of the file would drop every lock of the process (reliability: finding 2)."""
    opened: list[str] = []

    def watched(real: Any) -> Any:
        def call(path: Any, *given: Any, **named: Any) -> Any:
            if not isinstance(path, int):
                opened.append(os.fsdecode(path))
            return real(path, *given, **named)

        return call

    monkeypatch.setattr(builtins, "open", watched(builtins.open))
    monkeypatch.setattr(io, "open", watched(io.open))
    monkeypatch.setattr(os, "open", watched(os.open))
    path = tmp_path / "journal.db"
    options = SqliteOptions(writer=WriterOptions(head_every=2, checkpoint_pages=1, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    await fill(store, {"a/1": 6})
    await collected(store.read_all())
    with pytest.raises(JournalLockedError):
        await SqliteStore.open(path)
    assert verify(path).ok
    await store.close()
    await opened_and_closed(path)
    assert str(JournalFiles(path).heads) in opened
    assert [name for name in opened if os.path.basename(name).startswith("journal.db")] == []


async def test_a_new_journal_has_large_pages_and_an_older_one_keeps_its_own(tmp_path: Path) -> None:
    def pages(path: Path) -> int:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("PRAGMA page_size").fetchone()[0])

    new, old = tmp_path / "new.db", tmp_path / "old.db"
    store = await SqliteStore.open(new)
    await store.append(notes("a/1", 0))
    await store.close()
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("VACUUM")
    new.rename(old)
    new.with_suffix(".heads").rename(old.with_suffix(".heads"))
    again = await SqliteStore.open(old)
    await again.append(notes("a/1", 1))
    await again.close()
    fresh = await SqliteStore.open(new)
    await fresh.close()
    assert (pages(old), pages(new)) == (4_096, 8_192)
