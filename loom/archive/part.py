"""The file of an unfinished archive: it gets its final name once all of it is on the disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import IO

from loom.archive.durable import sync_name
from loom.archive.manifest import ENTRIES, MANIFEST, README
from loom.errors import ConfigError
from loom.journal.private import open_private

__all__ = ["ArchivePart"]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a zip has times of its members; the exact time is in the manifest
_PLAIN = """This is an archive of loom: inactive journals of decisions, sealed into one file.

manifest.json   which journals, how long each is, with which hash each ends, and the SHA-256 of entries.jsonl
entries.jsonl   every entry as one line of JSON, by position; a line ends with the body to the byte as it was stored

`loom archive verify FILE` verifies every hash and every chain, and `loom archive show FILE` reads it. Without loom: the
hash of an entry is SHA-256 over its header, the digest of its body and the hash of the entry before it in its journal;
docs/journal-format.md of loom says how to the byte.
"""
_ENCRYPTED = """
This one is encrypted: bodies that concern people are sealed for them, and open with the keys of their workspace alone.
A sealed body and its salt are in `sealed`, in place of `body` and `salt`. Hashes and chains verify without any key.
"""


class ArchivePart:
    """An unfinished archive: a temporary file in the directory of the final one, readable by its owner only."""

    def __init__(self, out: Path, *, is_encrypted: bool = False) -> None:
        self._out = out
        self._readme = _PLAIN + (_ENCRYPTED if is_encrypted else "")
        self._path = out.with_name(f"{out.name}.part")
        self.lines = 0
        self.sha256 = hashlib.sha256()

    def __enter__(self) -> ArchivePart:
        if self._out.exists():
            raise ConfigError(f"file [{self._out}] exists already; expected a new name: name one with --out")
        try:
            descriptor = open_private(self._path, os.O_WRONLY | os.O_TRUNC)
        except OSError as error:
            raise ConfigError(f"file [{self._out}] cannot be created [{error.strerror}]: choose another") from error
        self._file = open(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        self._entries: IO[bytes] = self._zip.open(_info(ENTRIES), "w", force_zip64=True)
        return self

    @property
    def readme_sha256(self) -> str:
        """The SHA-256 of its README.txt."""
        return hashlib.sha256(self._readme.encode()).hexdigest()

    def line(self, text: str) -> None:
        """Write a line."""
        raw = text.encode() + b"\n"
        self._entries.write(raw)
        self.sha256.update(raw)
        self.lines += 1

    def finish(self, manifest: bytes) -> None:
        """Write the manifest, sync the file, give it its final name, and sync the name."""
        self._entries.close()
        self._zip.writestr(_info(MANIFEST), manifest)
        self._zip.writestr(_info(README), self._readme)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        os.link(self._path, self._out)
        sync_name(self._out)

    def __exit__(self, *_: object) -> None:
        if not self._entries.closed:
            self._entries.close()
        self._zip.close()
        self._file.close()
        self._path.unlink(missing_ok=True)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info
