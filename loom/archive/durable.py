"""What it takes for a file to be there after a power cut: its contents are on the disk, and so is its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["sync_file", "sync_name"]

_CANNOT = frozenset({errno.EINVAL, errno.EROFS})
"""What a file system says that cannot be written: what lies there, lies there for good."""


def sync_file(path: Path) -> None:
    """Have a file on the disk, contents and name; whoever wrote it may not have seen to that."""
    _sync(path)
    sync_name(path)


def sync_name(path: Path) -> None:
    """Have the name of a file on the disk."""
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
