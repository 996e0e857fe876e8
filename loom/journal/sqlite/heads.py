"""The heads file: positions and entry hashes, kept outside the database and synced.

Someone who can write the database can rewrite its chain; a head that was written down elsewhere gives the cut or the
rewrite away (reliability: finding 7). A torn last line is what a crash leaves, and is passed over.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["HeadsFile", "WrittenHead"]

_LINE = re.compile(r"([1-9][0-9]{0,18}) ([0-9a-f]{64})\Z")


class WrittenHead(NamedTuple):
    """One line of the heads file: this hash stood at this position."""

    position: int
    entry_hash: bytes


class HeadsFile:
    """Append-only lines of `<position> <entry hash>`, each synced before `append` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, head: WrittenHead) -> None:
        """Write one head down and sync it, and the directory when the file is new."""
        fresh = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if torn else b"") + f"{head.position} {head.entry_hash.hex()}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def read(self) -> list[WrittenHead]:
        """Return all heads, in the order in which they were written; lines that are none are passed over."""
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return []
        found = (_LINE.match(line) for line in text.splitlines())
        return [WrittenHead(int(match[1]), bytes.fromhex(match[2])) for match in found if match]

    def last(self) -> WrittenHead | None:
        """Return the head that was written last, or None."""
        heads = self.read()
        return heads[-1] if heads else None
