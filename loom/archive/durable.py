"""Make a file survive a power cut: sync its contents and its name to the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["sync_file", "sync_name"]

_CANNOT = frozenset({errno.EINVAL, errno.EROFS})
"""What a read-only file system answers: its files do not change, so there is nothing to sync."""


def sync_file(path: Path) -> None:
    """Sync a file to the disk, contents and name: the program that wrote it may not have done so."""
    _sync(path)
    sync_name(path)


def sync_name(path: Path) -> None:
    """Sync the name of a file to the disk."""
    _sync(path.absolute().parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(descriptor)
