"""What is left of a directory when the power is cut: what was synced, under the names that were synced.

A name may have reached the disk before it was synced, its contents may not have: both are looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Disk", "disk_under"]


class Disk:
    """Follows the syncs of a process under one directory; `states` are what a cut may have left at each moment."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._synced = {each.stat().st_ino: each.read_bytes() for each in self._files()}
        self._names = self._named()
        self.moments: list[str] = []
        self.seen: list[dict[str, bytes]] = []
        """Every state that a cut may have left so far, at each of the moments, by file name."""

    def states(self) -> list[dict[str, bytes]]:
        """Return what a cut may leave now: by the names that were synced, and by those that are there."""
        return [
            {name: self._synced.get(inode, b"") for name, inode in names.items()}
            for names in (self._names, self._named())
        ]

    def left_of(self, inode: int) -> bytes:
        """Return the synced contents of a file, also of one that has no name any more."""
        return self._synced.get(inode, b"")

    def note(self, moment: str) -> None:
        """Keep what a cut would leave at a moment."""
        self.moments.append(moment)
        self.seen += self.states()

    def sync(self, descriptor: int) -> None:
        """Follow one sync of a file or of the directory."""
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            if about.st_ino == self._directory.stat().st_ino:
                self._names = self._named()
        elif stat.S_ISREG(about.st_mode):
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:
                self._synced[about.st_ino] = file.read()

    def _files(self) -> list[Path]:
        return [each for each in self._directory.iterdir() if each.is_file()]

    def _named(self) -> dict[str, int]:
        return {each.name: each.stat().st_ino for each in self._files()}


@contextmanager
def disk_under(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Yield the disk of a directory, which follows `os.fsync`, `os.replace` and `os.link` meanwhile."""
    disk = Disk(directory)
    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "link"):

            def call(*given: object, _name: str = name, _real: object = getattr(os, name)) -> object:
                disk.note(f"before {_name}")
                done = _real(*given)  # type: ignore[operator]
                if _name == "fsync":
                    disk.sync(given[0])  # type: ignore[arg-type]
                disk.note(f"after {_name}")
                return done

            patched.setattr(os, name, call)
        yield disk
