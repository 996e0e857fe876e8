"""The files of a journal, the lock of its writer, and the file systems that they may lie on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from loom.errors import JournalLockedError, JournalReadOnlyError, UnsupportedFilesystemError
from loom.journal.sqlite import JournalFiles, WriterLock
from loom.journal.sqlite import files as module
from loom.journal.sqlite.files import check_filesystem, filesystem_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.lock"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for a lock; nothing is."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- files --------------------------------------------------------------------------------------


def test_the_files_of_a_journal_are_named_after_it(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "acme.db")
    assert {name: getattr(files, name).name for name in vars(files)} == {
        "journal": "acme.db",
        "wal": "acme.db-wal",
        "views": "acme.views.db",
        "published": "acme.published.db",
        "tree": "acme.tree",
        "heads": "acme.heads",
        "lock": "acme.lock",
        "keys": "acme.keys",
        "socket": "acme.sock",
        "moved": "acme.moved",
    }
    assert str(files) == str(tmp_path / "acme.db")
    assert files.directory == tmp_path
    assert JournalFiles(tmp_path / "acme.journal").heads.name == "acme.journal.heads"


def test_a_link_to_a_journal_leads_to_its_files(tmp_path: Path) -> None:
    (tmp_path / "alias.db").symlink_to(tmp_path / "acme.db")
    assert JournalFiles(tmp_path / "alias.db").lock == tmp_path / "acme.lock"


def test_a_journal_exists_as_soon_as_there_is_a_byte_of_it(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "acme.db")
    assert files.exists() is False
    files.journal.touch()
    assert files.exists() is False
    files.journal.write_bytes(b"x")
    assert files.exists() is True


def test_a_journal_that_was_copied_elsewhere_says_where_to(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "acme.db")
    files.check_not_moved()
    files.moved.write_text("postgresql://db/acme\n", encoding="utf-8")
    with pytest.raises(JournalReadOnlyError, match=r"copied to \[postgresql://db/acme\].*remove \[acme.moved\]"):
        files.check_not_moved()


def test_the_directory_of_a_journal_is_made_for_its_owner_only(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "new" / "deep" / "acme.db")
    files.prepare()
    files.prepare()
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(JournalReadOnlyError, match=r"directory \[.*file\] cannot be made \[File exists\]"):
        JournalFiles(tmp_path / "file" / "acme.db").prepare()


# --- the lock -----------------------------------------------------------------------------------


def test_the_lock_is_held_by_one_and_says_by_whom(path: Path, pauses: list[float]) -> None:
    lock, other = WriterLock(path), WriterLock(path)
    assert not lock.held()
    lock.acquire(socket="/run/x.sock", at="now")
    assert pauses == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    about = {"pid": os.getpid(), "socket": "/run/x.sock", "at": "now"}
    assert path.read_bytes() == json.dumps(about, sort_keys=True).encode() + b"\n"
    assert (lock.held(), other.held(), other.holder()) == (True, True, about)
    before = descriptors()
    with pytest.raises(JournalLockedError, match=rf"is written by process \[{os.getpid()}\]") as locked:
        other.acquire()
    assert locked.value.holder == about
    assert pauses == [0.02] * 4
    assert descriptors() == before
    lock.release()
    assert (lock.held(), other.held(), path.read_bytes()) == (False, False, b"")
    lock.release()
    other.acquire()
    other.release()


def test_a_holder_who_left_nothing_in_the_file_is_not_known(path: Path, pauses: list[float]) -> None:
    lock = WriterLock(path)
    lock.acquire()
    path.write_bytes(b"")
    with pytest.raises(JournalLockedError, match=r"process \[unknown\]") as locked:
        WriterLock(path).acquire()
    assert locked.value.holder == {}
    lock.release()


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff", b'"text"', b'{"pid": 1}' + b" " * 70_000 + b"x"])
def test_what_is_in_the_file_is_only_for_people_and_may_be_anything(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    assert WriterLock(path).holder() == ({"pid": 1} if text.startswith(b'{"pid"') else None)


def test_a_lock_file_that_is_missing_has_no_holder(path: Path) -> None:
    assert WriterLock(path).holder() is None
    assert WriterLock(path).held() is False


def test_a_shorter_description_leaves_nothing_of_a_longer_one(path: Path) -> None:
    lock = WriterLock(path)
    lock.describe(pid=1)
    assert not path.exists(), "who does not hold it has nothing to say"
    lock.acquire(note="x" * 100)
    lock.describe(pid=2)
    assert path.read_bytes() == b'{"pid": 2}\n'
    lock.release()


def test_a_description_that_cannot_be_written_is_left_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = WriterLock(path)
    lock.acquire()
    assert (lock.held(), lock.holder()) == (True, {})
    monkeypatch.setattr(os, "ftruncate", full)
    before = descriptors()
    lock.release()
    assert descriptors() == before - 1
    assert not lock.held()


def test_a_lock_of_a_file_that_was_removed_meanwhile_is_taken_again(
    path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes would hold two locks: of the file that is gone, and of the one that has its name now."""
    flock, removals = fcntl.flock, [True, False]

    def remove_first(descriptor: int, how: int) -> None:
        if removals:
            path.unlink()
            if removals.pop():
                return flock(descriptor, how)
            path.touch()
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    lock = WriterLock(path)
    before = descriptors()
    lock.acquire()
    assert pauses == [0.02] * 2
    assert descriptors() == before + 1, "those of the removed files are closed"
    monkeypatch.undo()
    assert WriterLock(path).held()
    lock.release()


def test_a_file_system_without_locks_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    before = descriptors()
    with pytest.raises(UnsupportedFilesystemError, match=r"cannot be locked \[No locks available\]"):
        WriterLock(path).acquire()
    assert descriptors() == before


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES])
def test_either_word_for_a_lock_that_is_held_means_that_it_is(
    path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def held(*_: object) -> None:
        raise OSError(code, "held")

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(JournalLockedError):
        WriterLock(path).acquire()
    path.touch()
    assert WriterLock(path).held() is True


def test_a_lock_file_that_cannot_be_opened_is_said(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(JournalReadOnlyError, match="cannot be opened for writing"):
        WriterLock(path).acquire()
    (path.parent / "elsewhere").touch()
    lock = WriterLock(path.parent / "elsewhere")
    lock.acquire()
    assert WriterLock(path).held() is False, "a link is not followed to the lock of something else"
    lock.release()


def test_looking_at_a_lock_leaves_no_descriptor_and_takes_nothing(path: Path) -> None:
    path.touch()
    before = descriptors()
    assert WriterLock(path).held() is False
    lock = WriterLock(path)
    lock.acquire()
    assert WriterLock(path).held() is True
    assert descriptors() == before + 1
    lock.release()


def test_a_forked_child_forgets_the_lock_and_the_parent_keeps_it(path: Path) -> None:
    lock = WriterLock(path)
    lock.acquire()
    assert lock._descriptor is not None
    parents = os.dup(lock._descriptor)  # one lock, two descriptors: as after a fork
    before = descriptors()
    lock.forget()
    lock.forget()
    assert descriptors() == before - 1
    assert WriterLock(path).held()
    assert WriterLock(path).holder() == {"pid": os.getpid()}
    os.close(parents)
    assert not WriterLock(path).held()


# --- file systems -------------------------------------------------------------------------------

MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /mnt/with\\040space rw - nfs4 server:/x rw
24 22 0:22 / /mnt/with\\011tab rw - xfs /dev/sdb rw
25 22 0:23 / /mnt/back\\134slash rw - tmpfs tmpfs rw
a line of a newer kernel, of which nothing is known
26 22 0:24 / /mnt/fuse rw master:1 - fuse.sshfs sshfs rw
"""


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the system says of its mounts: a text, or an error."""
    said: list[Any] = [MOUNTS]

    def read_text(path: Path, **given: Any) -> str:
        assert (str(path), given) == ("/proc/self/mountinfo", {"encoding": "utf-8", "errors": "replace"})
        if isinstance(said[0], Exception):
            raise said[0]
        return str(said[0])

    monkeypatch.setattr(Path, "read_text", read_text)
    return said


def test_the_file_system_of_a_path_is_that_of_its_innermost_mount(mounts: list[Any]) -> None:
    for path, kind in {
        "/": "ext4",
        "/somewhere/else": "ext4",
        "/mnt/with space/a/b": "nfs4",
        "/mnt/with\ttab": "xfs",
        "/mnt/back\\slash/x": "tmpfs",
        "/mnt/fuse/x": "fuse.sshfs",
    }.items():
        assert kind_of(path) == kind
    mounts[0] = MOUNTS + "27 22 0:25 / / rw - btrfs /dev/sdc rw\n"
    assert kind_of("/") == "btrfs", "of two in one place, the later one hides the other"
    mounts[0] = "23 22 0:21 / /mnt rw - xfs /dev/sdb rw\n22 1 0:20 / / rw - ext4 /dev/sda1 rw\n"
    assert kind_of("/mnt/x") == "xfs", "the order is not that of the depth"
    mounts[0] = "22 1 0:20 / /mnt rw - ext4 /dev/sda1 rw\n"
    assert kind_of("/") is None
    mounts[0] = OSError("no /proc here")
    assert kind_of("/") is None


def test_what_is_not_there_yet_would_lie_where_its_directory_does(tmp_path: Path, mounts: list[Any]) -> None:
    mounts[0] = MOUNTS + f"27 22 0:25 / {tmp_path} rw - tmpfs tmpfs rw\n"
    assert filesystem_of(tmp_path / "not" / "there" / "yet.db") == "tmpfs"


def kind_of(path: str) -> str | None:
    """Return the type of the file system of a path as if all of it existed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: True)
        return filesystem_of(Path(path))


@pytest.mark.parametrize(
    ("kind", "refused", "warned"),
    [
        ("ext4", False, False),
        ("nfs", True, True),
        ("nfs4", True, True),
        ("cifs", True, True),
        ("smb3", True, True),
        ("smbfs", True, True),
        ("9p", True, True),
        ("ncpfs", True, True),
        ("afs", True, True),
        ("ceph", True, True),
        ("overlay", False, True),
        ("fuse", False, True),
        ("fuse.sshfs", False, True),
        ("fuseblk", False, True),
        ("aufs", False, True),
        ("vboxsf", False, True),
        ("virtiofs", False, True),
    ],
)
def test_each_file_system_is_taken_warned_of_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, refused: bool, warned: bool
) -> None:
    monkeypatch.setattr(module, "filesystem_of", lambda _: kind)
    if refused:
        with pytest.raises(UnsupportedFilesystemError, match=rf"type \[{kind}\]; expected a local one"):
            check_filesystem(tmp_path)
    said = check_filesystem(tmp_path, allowed=True)
    assert (said is not None) is warned
    assert not warned or re.search(rf"type \[{kind}\]; its locks and syncs depend", str(said))
    if not refused:
        assert check_filesystem(tmp_path) == said


def test_a_system_that_does_not_say_what_a_path_lies_on_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "filesystem_of", lambda _: None)
    assert check_filesystem(tmp_path) is None
