"""The heads file: positions and entry hashes, kept outside the database and synced.

Someone who can write the database can rewrite its chain; a head that was written down elsewhere gives the cut or the
rewrite away (reliability: finding 7). A line that was written in part is what a crash leaves: it proves nothing and
does no harm. Any other line that is none was damaged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from loom.journal.private import open_private

__all__ = ["HeadLines", "HeadsFile", "Loss", "WrittenHead"]

_LINE = re.compile(rb"([1-9][0-9]{0,18}) ([0-9a-f]{64})\Z")
_TORN = re.compile(rb"[1-9][0-9]{0,18}(?: [0-9a-f]{0,63})?\Z")
_TAIL_BYTES = 64 * 1024


class WrittenHead(NamedTuple):
    """One line of the heads file: the hash of the entry at this position."""

    position: int
    entry_hash: bytes


class Loss(NamedTuple):
    """A head that is not there any more, and how many entries there were when that was accepted."""

    head: WrittenHead
    found: int


class HeadLines(NamedTuple):
    """What a heads file holds: its heads in the order in which they were written, and the numbers of other lines."""

    heads: tuple[WrittenHead, ...]
    torn: tuple[int, ...]
    damaged: tuple[int, ...]


class HeadsFile:
    """Append-only lines of `<position> <entry hash>`, each synced before `append` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, head: WrittenHead) -> None:
        """Write one head down and sync it, and the directory when the file is new; raise OSError if that fails."""
        fresh = not self._path.exists()
        descriptor = open_private(self._path, os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            line = (b"\n" if torn else b"") + f"{head.position} {head.entry_hash.hex()}\n".encode()
            if os.write(descriptor, line) != len(line):
                raise OSError(f"head of position [{head.position}] was written in part")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def read(self) -> HeadLines:
        """Return all heads, and which lines are none."""
        return _lines_in(self._bytes(from_end=None))

    def last(self) -> WrittenHead | None:
        """Return the head that was written last, or None; only the end of the file is read, where that is enough."""
        heads = _lines_in(self._bytes(from_end=_TAIL_BYTES)).heads or self.read().heads
        return heads[-1] if heads else None

    def _bytes(self, *, from_end: int | None) -> bytes:
        try:
            with self._path.open("rb") as file:
                if from_end is not None:
                    size = os.fstat(file.fileno()).st_size
                    if size > from_end:
                        file.seek(size - from_end)
                        file.readline()  # the rest of a line
                return file.read()
        except FileNotFoundError:
            return b""


def _lines_in(text: bytes) -> HeadLines:
    heads: list[WrittenHead] = []
    torn: list[int] = []
    damaged: list[int] = []
    for number, line in enumerate(text.split(b"\n"), start=1):
        if (match := _LINE.match(line)) is not None:
            heads.append(WrittenHead(int(match[1]), bytes.fromhex(match[2].decode())))
        elif line:
            (torn if _TORN.match(line) else damaged).append(number)
    return HeadLines(tuple(heads), tuple(torn), tuple(damaged))
