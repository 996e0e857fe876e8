"""Files for their owner only, whatever the umask and whatever the directory."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

__all__ = ["create_private", "keep_private", "open_private"]

_MODE = 0o600
_TRIES = 10


def open_private(path: Path, flags: int) -> int:
    """Open a file, making it for its owner only where it is not there, and return the descriptor.

    One that is there keeps its mode, unless it is emptied (`os.O_TRUNC`). Links are not followed. Raises OSError.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(_TRIES):  # it may come or go between the two
        with contextlib.suppress(FileExistsError):
            return _with_mode(os.open(path, flags | os.O_CREAT | os.O_EXCL, _MODE))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, flags)
            return _with_mode(descriptor) if flags & os.O_TRUNC else descriptor
    return os.open(path, flags | os.O_CREAT, _MODE)


def create_private(path: Path) -> None:
    """Make an empty file for its owner only, if there is none, without ever opening it by its name.

    A database must be opened by SQLite alone: closing another descriptor of it drops the locks of the process. Where it
    cannot be made like that, SQLite makes it or says why not, and `keep_private` is for afterwards.
    """
    if path.exists():
        return
    with contextlib.suppress(OSError):
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".loom-")
        try:
            os.close(_with_mode(descriptor))
            os.link(made, path)
        finally:
            os.unlink(made)


def keep_private(path: Path) -> None:
    """Remove the permissions of others on a file, if it exists and this account may change them."""
    with contextlib.suppress(OSError):
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            os.chmod(path, _MODE)


def _with_mode(descriptor: int) -> int:
    """Set the mode of a file: the umask limited it when it was created."""
    try:
        os.fchmod(descriptor, _MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
