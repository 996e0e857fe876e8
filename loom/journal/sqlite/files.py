"""The files of a workspace, who may write them, and what they lie on.

<name>.db         the journal: touched through SQLite only (reliability: finding 2)
<name>.views.db   the projections: may be deleted at any time
<name>.published.db  what this process has published of the projections: may be deleted at any time
<name>.tree       the Merkle tree of the journal (see loom.proof): may be deleted at any time
<name>.keys       keys of what is sealed, wrapped; made where something is (see loom.sealing)
<name>.heads      positions and hashes, kept outside the database
<name>.lock       held for life by the one writing process; says who that is
<name>.sock       where that process takes requests from the shell
<name>.moved      where the journal was copied to by `loom copy`: it is not written here any more
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loom.errors import JournalLockedError, JournalReadOnlyError, UnsupportedFilesystemError
from loom.journal.private import open_private

__all__ = ["REFUSED_FILESYSTEMS", "SUSPECT_FILESYSTEMS", "JournalFiles", "WriterLock", "filesystem_of"]

REFUSED_FILESYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ncpfs", "afs", "ceph"})
"""Network file systems: SQLite's WAL needs shared memory and true locks, which they do not give."""

SUSPECT_FILESYSTEMS = frozenset({"overlay", "fuse", "fuseblk", "aufs", "vboxsf", "virtiofs"})
"""File systems on which it depends on what is behind them: loom warns and goes on."""

_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_S = 0.02
_MAX_ABOUT = 65_536


class JournalFiles:
    """The paths that belong to one journal file, which is named `<name>.db`."""

    def __init__(self, journal: Path) -> None:
        # Symbolic links are followed: two names of one journal must lead to one lock.
        self.journal = Path(os.path.realpath(journal))
        stem = self.journal.with_suffix("") if self.journal.suffix == ".db" else self.journal
        self.wal = Path(f"{self.journal}-wal")
        self.views = Path(f"{stem}.views.db")
        self.published = Path(f"{stem}.published.db")
        self.tree = Path(f"{stem}.tree")
        self.heads = Path(f"{stem}.heads")
        self.lock = Path(f"{stem}.lock")
        self.keys = Path(f"{stem}.keys")
        self.socket = Path(f"{stem}.sock")
        self.moved = Path(f"{stem}.moved")

    def __str__(self) -> str:
        return str(self.journal)

    @property
    def directory(self) -> Path:
        """The directory of the workspace."""
        return self.journal.parent

    def exists(self) -> bool:
        """Tell whether there is a journal file, without opening it."""
        try:
            return self.journal.stat().st_size > 0
        except FileNotFoundError:
            return False

    def check_not_moved(self) -> None:
        """Raise `JournalReadOnlyError` for a journal that was copied elsewhere and sealed."""
        if self.moved.exists():
            raise JournalReadOnlyError(
                f"journal [{self.journal}] was copied to [{self.moved.read_text(encoding='utf-8').strip()}] and is "
                f"sealed; expected that it is written there: open that one, or remove [{self.moved.name}] to give it up"
            )

    def prepare(self) -> None:
        """Make the directory, for its owner only; raise `JournalReadOnlyError` where that cannot be."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalReadOnlyError(
                f"directory [{self.directory}] cannot be made [{error.strerror}]; "
                "expected a place that can be written: choose another, or correct its permissions"
            ) from error


class WriterLock:
    """The lock that makes one process the writer of a journal, for as long as it lives.

    It is the kernel's (flock): a killed process leaves none behind, whatever the file says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, **about: object) -> None:
        """Take the lock and write down who has it; raise `JournalLockedError` if another process does."""
        for attempt in range(_LOCK_ATTEMPTS):
            if attempt:  # a shell may hold it for a moment to see whether it is free: see `held`
                time.sleep(_LOCK_PAUSE_S)
            if self._try_acquire():
                self.describe(pid=os.getpid(), **about)
                return
        holder = self.holder() or {}
        raise JournalLockedError(
            f"journal of lock file [{self._path}] is written by process [{holder.get('pid', 'unknown')}]; "
            "expected no other, as one process writes a journal: stop that one, or use its control socket",
            holder=holder,
        )

    def _try_acquire(self) -> bool:
        try:
            descriptor = open_private(self._path, os.O_RDWR)
        except OSError as error:
            raise JournalReadOnlyError(
                f"lock file [{self._path}] cannot be opened for writing [{error.strerror}]; "
                "expected a directory that can be written: correct its permissions, or read with a reader"
            ) from error
        taken = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = _is_still(descriptor, self._path)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UnsupportedFilesystemError(
                    f"lock file [{self._path}] cannot be locked [{error.strerror}]; "
                    "expected a file system with locks: move the journal to a local one"
                ) from error
        finally:
            if taken:
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return taken

    def describe(self, **about: object) -> None:
        """Write down, for people and for the shell, who holds the lock and how to reach them.

        Only the lock matters, not the text: if it cannot be written, as on a full disk, it is left out.
        """
        if self._descriptor is None:
            return
        raw = json.dumps(about, sort_keys=True).encode() + b"\n"
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, raw, 0)
            os.ftruncate(self._descriptor, len(raw))

    def holder(self) -> dict[str, Any] | None:
        """Return what the last holder wrote into the file, None if empty. It may be out of date: see `held`."""
        try:
            about = json.loads(self._path.read_bytes()[:_MAX_ABOUT] or b"{}")
        except (OSError, ValueError):
            return None
        return about if isinstance(about, dict) else None

    def held(self) -> bool:
        """Tell whether some process, this one included, holds the lock right now."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def release(self) -> None:
        """Give the lock back; the file stays, as removing it would let two processes hold two locks."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def forget(self) -> None:
        """Drop the descriptor in a forked child, without releasing what the parent holds."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_still(descriptor: int, path: Path) -> bool:
    """Tell whether a descriptor is of the file that has the name now: the file may have been removed meanwhile."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def filesystem_of(path: Path) -> str | None:
    """Return the type of the file system on which `path` lies or would lie, None where the system does not tell."""
    existing = Path(os.path.realpath(path))
    while not existing.exists():
        existing = existing.parent
    best: tuple[int, str] | None = None
    for mount_point, kind in _mounts():
        if existing == mount_point or mount_point in existing.parents:
            depth = len(mount_point.parts)
            if best is None or depth >= best[0]:
                best = (depth, kind)
    return None if best is None else best[1]


def check_filesystem(path: Path, *, allowed: bool = False) -> str | None:
    """Return a warning about the file system under `path`, or None; raise where loom cannot keep its word."""
    kind = filesystem_of(path)
    if kind is None:
        return None
    if kind in REFUSED_FILESYSTEMS and not allowed:
        raise UnsupportedFilesystemError(
            f"journal [{path}] lies on a file system of type [{kind}]; expected a local one, as SQLite's write-ahead "
            "log "
            "loses data on a network: move it, or set journal.allow_unsupported_filesystem if you know better"
        )
    if kind in REFUSED_FILESYSTEMS or kind.partition(".")[0] in SUSPECT_FILESYSTEMS:
        return (
            f"journal [{path}] lies on a file system of type [{kind}]; its locks and syncs depend on what is behind it"
        )
    return None


def _mounts() -> Iterator[tuple[Path, str]]:
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        if dash:
            point = before.split()[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            yield Path(point), after.split()[0]
