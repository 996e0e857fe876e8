"""Anchors: where checkpoints are written down outside the workspace, so that a cut of the journal shows.

A line in the file of a directory is JSON with the time and the note, and is synced before `put` returns. A line that
was written in part is what a crash leaves. What an anchor holds is believed only as far as a known key has signed it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from loom.journal.private import open_private
from loom.proof.config import AnchorsConfig
from loom.proof.errors import AnchorError, NoteError
from loom.proof.exchange import exchange
from loom.proof.notes import Checkpoint, Note

__all__ = ["Anchor", "Anchored", "DirectoryAnchor", "HttpAnchor", "anchors_of"]

_MOST_BYTES = 256 * 1024 * 1024
_TAIL_BYTES = 1024 * 1024


class Anchored(NamedTuple):
    """A checkpoint as an anchor holds it; `at` is None where the anchor does not say when it was written down."""

    anchor: str
    note: Note
    checkpoint: Checkpoint
    at: datetime | None = None


class Anchor(Protocol):
    """A place outside the workspace. All of it may block."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    def put(self, note: Note, *, at: datetime) -> None:
        """Write a checkpoint down; raise `AnchorError` if that is not certain."""
        ...

    def newest(self) -> Sequence[Anchored]:
        """Return the checkpoints that it has, at least the last ones, the largest first."""
        ...

    def all(self) -> Iterator[Anchored]:
        """Yield every checkpoint that it has and can give."""
        ...


class DirectoryAnchor:
    """A file in a directory, on another disk or of another machine, that only grows."""

    def __init__(self, directory: Path, workspace: str) -> None:
        self._path = directory / f"{workspace}.checkpoints"

    @property
    def name(self) -> str:
        """Where it is."""
        return str(self._path)

    def put(self, note: Note, *, at: datetime) -> None:
        """Append the note and sync it, and the directory when the file is new."""
        line = json.dumps({"at": at.astimezone(UTC).isoformat(), "note": str(note)}, ensure_ascii=False).encode()
        try:
            is_new = not self._path.exists()
            descriptor = open_private(self._path, os.O_RDWR | os.O_APPEND)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                raw = (b"\n" if torn else b"") + line + b"\n"
                if os.write(descriptor, raw) != len(raw):
                    raise OSError(28, "it was written in part")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_directory(self._path.parent)
        except OSError as error:
            raise AnchorError(
                f"anchor [{self._path}] cannot be written [{error.strerror}]; expected a directory that can: see "
                "whether it is there"
            ) from error

    def newest(self) -> Sequence[Anchored]:
        """Return the checkpoints in the last part of the file, the largest first."""
        return sorted(self._lines(_TAIL_BYTES), key=lambda each: -each.checkpoint.size)

    def all(self) -> Iterator[Anchored]:
        """Yield every checkpoint of the file, in its order."""
        yield from self._lines(_MOST_BYTES)

    def _lines(self, most: int) -> Iterator[Anchored]:
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > most:
                    file.seek(size - most)
                    file.readline()
                raw = file.read(most)
        except FileNotFoundError:
            return
        except OSError as error:
            raise AnchorError(
                f"anchor [{self._path}] cannot be read [{error.strerror}]; expected a file that can: see whether it "
                "is there"
            ) from error
        for line in raw.splitlines():
            found = _line(line, self.name)
            if found is not None:
                yield found


class HttpAnchor:
    """An address that takes a note by POST, and gives the newest that it has by GET; 404 where it has none."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """Where it is."""
        return self._url

    def put(self, note: Note, *, at: datetime) -> None:
        """Send the note; every answer but 2xx is an error."""
        found = exchange("POST", self._url, str(note).encode(), timeout_s=self._timeout_s)
        if not 200 <= found.status < 300:
            raise AnchorError(f"anchor [{self._url}] answers [{found.status}]; expected [200]: see what it says")

    def newest(self) -> Sequence[Anchored]:
        """Ask for the newest note."""
        found = exchange("GET", self._url, timeout_s=self._timeout_s)
        if found.status == 404:
            return ()
        if found.status != 200:
            raise AnchorError(f"anchor [{self._url}] answers [{found.status}]; expected [200] or [404]")
        try:
            note = Note.parse(found.text)
            return (Anchored(self._url, note, Checkpoint.parse(note.text)),)
        except NoteError as error:
            raise AnchorError(f"anchor [{self._url}] gives something else than a checkpoint: {error}") from error

    def all(self) -> Iterator[Anchored]:
        """Yield the newest: it gives no others."""
        yield from self.newest()


def anchors_of(config: AnchorsConfig, workspace: str) -> tuple[Anchor, ...]:
    """Return the anchors that a config names and that can be compared: a time stamp cannot be asked for again."""
    return (
        *(DirectoryAnchor(each.expanduser(), workspace) for each in config.directories),
        *(HttpAnchor(each, timeout_s=config.timeout_s) for each in config.endpoints),
    )


def _line(raw: bytes, anchor: str) -> Anchored | None:
    """Return what a line says, None for one that was torn or damaged: it proves nothing."""
    try:
        said = json.loads(raw)
        note = Note.parse(said["note"])
        at = datetime.fromisoformat(said["at"])
        return Anchored(anchor, note, Checkpoint.parse(note.text), at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, NoteError):
        return None


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
