"""The keys of subjects in one file, each wrapped by the master key: every key has a slot of its own.

The file is a hash table on the disk that never moves a key. A slot has 128 bytes, so that it lies in one sector; 32 of
them are a page, and the name of a subject says in which page of each level its keys are. Each level has twice as many
pages as the one before; a key goes into the first level whose page has room. Writing a key is one slot and one sync;
destroying it overwrites that slot where it lies. A kill leaves a slot as it was, or as it is to be; one that was torn
has a wrong checksum, and holds no key. A copy that is made while loom runs is one of these states for each slot.

Of a subject the file has a digest alone. A file of the first format (one JSON document, keys of generation 0) is read
and replaced by this one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from loom.background import finished
from loom.errors import ConfigError, KeysNotWrittenError
from loom.journal.private import open_private
from loom.sealing.keyfile_of_old import is_of_old, keys_of_old, put_in_place
from loom.sealing.wrapping import Wrapping, digest_of_subject

__all__ = ["KeyFile"]

T = TypeVar("T")

_FORMAT = "loom.keys/2"
_PAGE = 4_096
_SLOT = 128
_SLOTS = _PAGE // _SLOT
_FIRST_LEVEL = 64
_LEVELS = 32
_USED = struct.Struct(">B3xI32s60s")
"""A slot: in use, generation, digest of the subject, the wrapped key; then the checksum of these."""
_SUM = struct.Struct(">I")
_MARK_AT = _PAGE - 512
_MARK = struct.Struct(">Q")
_FREE = bytes(_SLOT)


class KeyFile:
    """The keys of one workspace. `path` is their file; only its owner may read it."""

    def __init__(self, path: Path, master: bytes, *, workspace: str = "") -> None:
        self._path = path
        self._workspace = workspace
        self._wrapping = Wrapping(master, workspace=workspace)
        self._lock = asyncio.Lock()
        self._descriptor: int | None = None
        self._levels = 0
        self._marked = 0
        self._to_free: set[int] = set()
        """Slots that are to be overwritten, and may not be on the disk yet."""

    async def open(self) -> None:
        """Look whether the file is there and opens with the master key; one that is not there is made with a key."""
        await self._alone(self._open)

    async def check(self) -> None:
        """Look whether the file opens with the master key, and change nothing: not even one of the first format."""
        await self._alone(self._check)

    async def get(self, subject: str) -> dict[int, bytes]:
        """Return generation → key of a subject; empty where there is none."""
        return await self._alone(lambda: self._get(subject))

    async def put(self, subject: str, generation: int, key: bytes) -> bytes:
        """Keep a new key, and return it; raise `KeysNotWrittenError` where it cannot be written."""
        await self._alone(lambda: self._put(subject, generation, key))
        return key

    async def destroy(self, subject: str, *, until: int) -> int:
        """Overwrite the keys of a subject up to and with a generation; raise `KeysNotWrittenError`."""
        return await self._alone(lambda: self._destroy(subject, until))

    @property
    def is_new(self) -> bool:
        """Whether there is no file yet: it is made with the first key."""
        return self._descriptor is None

    @property
    def destroyed_until(self) -> int:
        """The sequence in the journal of erasures up to which these keys had all been destroyed."""
        return self._marked

    async def note_destroyed(self, sequence: int) -> None:
        """Write down another one; it is behind the syncs before it, and need not be synced itself."""
        await self._alone(lambda: self._mark(sequence))

    async def close(self) -> None:
        """Close the file."""
        async with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    async def _alone(self, work: Callable[[], T]) -> T:
        """Do something with the file in a thread, one at a time, to its end even when the caller goes away."""

        async def one() -> T:
            async with self._lock:
                return await asyncio.to_thread(work)

        return await finished(one())

    # --- in the thread --------------------------------------------------------------------------

    def _open(self) -> None:
        if self._descriptor is not None:
            return
        descriptor = self._found()
        if descriptor is None:
            return
        try:
            first = os.pread(descriptor, _PAGE, 0)
            is_old = is_of_old(first)
            if not is_old:
                self._check_header(first)
                self._use(descriptor, first)
        finally:
            if self._descriptor is None:
                os.close(descriptor)
        if is_old:
            self._replace_old()

    def _check(self) -> None:
        descriptor = self._found()
        if descriptor is None:
            return
        try:
            first = os.pread(descriptor, _PAGE, 0)
        finally:
            os.close(descriptor)
        if is_of_old(first):
            keys_of_old(self._path, self._wrapping)
        else:
            self._check_header(first)

    def _found(self) -> int | None:
        """Return a descriptor of the file, None where there is none."""
        try:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"file of keys [{self._path}] cannot be read [{error.strerror}]: correct it") from error

    def _use(self, descriptor: int, first: bytes) -> None:
        self._descriptor = descriptor
        pages = os.fstat(descriptor).st_size // _PAGE
        self._levels = next(level for level in range(_LEVELS) if _begin_of(level) >= pages)
        self._marked = _MARK.unpack_from(first, _MARK_AT)[0]

    def _replace_old(self) -> None:
        """Put the keys of a file of the first format into a new one, and overwrite the old."""
        keys = keys_of_old(self._path, self._wrapping)
        self._make(lambda: [self._write_slot(subject, 0, key) for subject, key in keys.items()])

    def _make(self, fill: Callable[[], object] = lambda: None) -> None:
        """Make the file, with what `fill` writes into it, under its name once all of it is on the disk."""
        part = self._path.with_suffix(".part")
        try:
            descriptor = open_private(part, os.O_RDWR | os.O_TRUNC)
            try:
                header = self._header()
                _write(descriptor, header, 0)
                self._use(descriptor, header)
                fill()
                os.fsync(descriptor)
                put_in_place(part, self._path)
            except BaseException:
                os.close(descriptor)
                self._descriptor = None
                raise
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise self._not_written(error) from error

    def _header(self) -> bytes:
        master = base64.b64encode(self._wrapping.token(_FORMAT)).decode()
        said = {"format": _FORMAT, "workspace": self._workspace, "master": master}
        return (json.dumps(said, separators=(",", ":")).encode() + b"\n").ljust(_PAGE, b"\0")

    def _check_header(self, first: bytes) -> None:
        try:
            said: Any = json.loads(first[:_MARK_AT].rstrip(b"\0"))
            if said["format"] != _FORMAT or len(first) < _PAGE:
                raise ValueError("another format")
            workspace, check = str(said["workspace"]), base64.b64decode(said["master"], validate=True)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"file of keys [{self._path}] is damaged; expected the one that was written: restore a copy of it"
            ) from error
        if workspace != self._workspace:
            raise ConfigError(
                f"file of keys [{self._path}] is of workspace [{workspace}]; expected that of [{self._workspace}]: "
                "put it back where it belongs"
            )
        if not self._wrapping.check(check, _FORMAT):
            raise ConfigError(
                f"file of keys [{self._path}] does not open with this master key; expected the one it was written with"
            )

    def _get(self, subject: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for raw in self._slots_of(digest_of_subject(subject)):
            if not _is_whole(raw):
                continue
            _, generation, _, wrapped = _USED.unpack_from(raw)
            try:
                found[generation] = self._wrapping.unwrap(subject, generation, wrapped)
            except Exception as error:
                raise ConfigError(
                    f"a key in [{self._path}] does not open with this master key; expected the one it was written with"
                ) from error
        return found

    def _put(self, subject: str, generation: int, key: bytes) -> None:
        if self._descriptor is None:
            self._make()
        try:
            offset = self._write_slot(subject, generation, key)
            self._to_free.discard(offset)
            try:
                os.fsync(self._opened)
            except OSError:
                with contextlib.suppress(OSError):  # what is not on the disk must not be taken for a key later
                    _write(self._opened, _FREE, offset)
                raise
        except OSError as error:
            raise self._not_written(error) from error

    def _write_slot(self, subject: str, generation: int, key: bytes) -> int:
        digest = digest_of_subject(subject)
        raw = _USED.pack(1, generation, digest, self._wrapping.wrap(subject, generation, key))
        offset = self._free(digest)
        _write(self._opened, (raw + _SUM.pack(zlib.crc32(raw))).ljust(_SLOT, b"\0"), offset)
        return offset

    def _free(self, digest: bytes) -> int:
        """Return where the next key of a subject goes: into the first level whose page has room."""
        for level in range(_LEVELS):
            if level == self._levels:
                os.ftruncate(self._opened, _begin_of(level + 1) * _PAGE)  # sparse: it takes up no room yet
                self._levels += 1
            offset, page = self._page(digest, level)
            slot = page[::_SLOT].find(b"\0")
            if slot >= 0:
                return offset + slot * _SLOT
        raise OSError(28, f"there is no room for another key after {_LEVELS} levels")

    def _destroy(self, subject: str, until: int) -> int:
        digest, count = digest_of_subject(subject), 0
        for level in range(self._levels if self._descriptor is not None else 0):
            offset, page = self._page(digest, level)
            for at in range(0, _PAGE, _SLOT):
                raw = page[at : at + _SLOT]
                if raw == _FREE:
                    continue
                is_whole = _is_whole(raw)
                if is_whole and (raw[8:40] != digest or _USED.unpack_from(raw)[1] > until):
                    continue
                count += is_whole  # the rest of a torn slot is freed, for any subject
                self._to_free.add(offset + at)
        if not self._to_free:
            return 0
        try:
            for offset in self._to_free:
                _write(self._opened, _FREE, offset)
            os.fsync(self._opened)
        except OSError as error:
            # After a sync that failed the system takes what was written for clean: it is written again next time.
            raise self._not_written(error) from error
        self._to_free.clear()
        return count

    def _mark(self, sequence: int) -> None:
        if self._descriptor is None or sequence == self._marked:
            return
        try:
            _write(self._opened, _MARK.pack(sequence), _MARK_AT)
        except OSError as error:
            raise self._not_written(error) from error
        self._marked = sequence

    def _slots_of(self, digest: bytes) -> Iterator[bytes]:
        """Yield the slots that are, or were to be, of a subject."""
        for level in range(self._levels if self._descriptor is not None else 0):
            _, page = self._page(digest, level)
            at = page.find(digest)
            while at >= 0:
                yield page[at - at % _SLOT :][:_SLOT]
                at = page.find(digest, at + 1)

    def _page(self, digest: bytes, level: int) -> tuple[int, bytes]:
        pages = _FIRST_LEVEL << level
        offset = (_begin_of(level) + int.from_bytes(digest[:8]) % pages) * _PAGE
        return offset, os.pread(self._opened, _PAGE, offset).ljust(_PAGE, b"\0")

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise OSError(9, "it is closed")
        return self._descriptor

    def _not_written(self, error: OSError) -> KeysNotWrittenError:
        return KeysNotWrittenError(
            f"file of keys [{self._path}] cannot be written [{error.strerror}]; what was to be done with a key was "
            "not done: make room, or repair the disk, and do it again"
        )


def _begin_of(level: int) -> int:
    """Return the page with which a level begins; the first page of the file is its header."""
    return 1 + _FIRST_LEVEL * ((1 << level) - 1)


def _is_whole(raw: bytes) -> bool:
    """Tell whether a slot holds a key: one that was torn or freed does not."""
    return raw[0] == 1 and _SUM.unpack_from(raw, _USED.size)[0] == zlib.crc32(raw[: _USED.size])


def _write(descriptor: int, raw: bytes, offset: int) -> None:
    if os.pwrite(descriptor, raw, offset) != len(raw):
        raise OSError(28, "it was written in part")
