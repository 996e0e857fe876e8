"""The Merkle tree of a workspace as a view: a file of hashes that can be deleted at any time and comes back the same.

The file has the hashes of all whole subtrees in the order in which they become whole, so it only grows, and where a
hash lies follows from its level and index alone. All who extend it write the same bytes to the same place, so that
processes need not wait for each other; one that may not write keeps what is new in memory. The file is no evidence: a
proof is compared with the root before it is handed out, and a file that does not fit is made again from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from loom.errors import OutOfRangeError
from loom.journal import merkle
from loom.journal.chain import HASH_BYTES
from loom.journal.places import NodeFiles
from loom.journal.private import open_private
from loom.journal.roots import Root
from loom.journal.sqlite.files import JournalFiles
from loom.journal.store import JournalReader
from loom.proof.errors import ForkError, TreeIncompleteError
from loom.proof.leaves import Leaf, Leaves, ReaderLeaves, SqliteLeaves

__all__ = ["Inclusion", "ProofTree", "tree_of", "tree_opener"]

_MAGIC = b"loom/tree/v1\n"
_HEADER_BYTES = 64
_LEAF = b"\x00loom/leaf/v1\n"
_NODE = b"\x01"
_LENGTH = struct.Struct(">Q")
_FLUSH_BYTES = 2 * 1024 * 1024
_MOST_NAMES = 100_000  # of journals, kept as they are hashed
_NO_HASH = bytes(HASH_BYTES)


class Inclusion(NamedTuple):
    """The proof that the entry at a position is among the first `size`: its leaf, and the hashes up to the root."""

    position: int
    size: int
    leaf: bytes
    path: tuple[bytes, ...]
    root: bytes

    def holds(self) -> bool:
        """Tell whether the path leads from the leaf to the root."""
        return merkle.is_included(self.leaf, self.position - 1, self.size, self.path, self.root)


class ProofTree:
    """The tree over the entries of one workspace: `extend` it, then ask for roots and proofs. Close it when done.

    It is not to be used by two threads at a time. `path` is where its view is kept, None for memory alone.
    """

    def __init__(self, leaves: Leaves, path: Path | None = None) -> None:
        self._leaves = leaves
        self._path = path
        self._workspace = leaves.workspace
        self._descriptor: int | None = None
        self._kept = 0  # how many hashes the file has
        self._new = bytearray()  # those after them
        self.size = 0
        """How many entries it covers."""
        self._open()

    def close(self) -> None:
        """Close the file; what it has stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._kept, self.size = 0, 0
        self._new.clear()

    def extend(self, *, until: int | None = None) -> int:
        """Take the entries that came since, and return how many there are; not those after `until`.

        Raises `TreeIncompleteError` for a journal with a hole, and what the journal raises that cannot be read.
        """
        limit = {} if until is None else {"limit": max(0, until - self.size)}
        edge = self._edge()
        pack, sha256, new, size = _LENGTH.pack, hashlib.sha256, self._new, self.size
        begin = _LEAF + _named(self._workspace)
        names: dict[str, bytes] = {}
        try:
            for position, journal, sequence, entry_hash in self._leaves.after(size, **limit):
                if position != size + 1:
                    raise TreeIncompleteError(
                        f"journal has no entry at position [{size + 1}]; expected one before [{position}]: run "
                        "`loom verify`"
                    )
                name = names.get(journal)
                if name is None:
                    names[journal] = name = _named(journal)
                whole = sha256(begin + pack(position) + name + pack(sequence) + entry_hash).digest()
                new += whole
                index = size
                while index & 1:
                    whole = sha256(_NODE + edge.pop() + whole).digest()
                    new += whole
                    index >>= 1
                edge.append(whole)
                size += 1
                if len(new) >= _FLUSH_BYTES:
                    self.size = size
                    self._flush()
                    if len(names) > _MOST_NAMES:
                        names.clear()
        finally:
            del new[(_count(size) - self._kept) * HASH_BYTES :]
            self.size = size
            self._flush()
        return size

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` entries, by default of all that it covers."""
        wanted = self.size if size is None else size
        self._check(wanted)
        return merkle.root_of(wanted, self.node)

    def leaf(self, position: int) -> bytes:
        """Return the leaf of the entry at a position."""
        if not 1 <= position <= self.size:
            raise OutOfRangeError(f"position [{position}] is not in the tree; expected [1 to {self.size}]: extend it")
        return self.node(0, position - 1)

    def inclusion(self, position: int, size: int | None = None) -> Inclusion:
        """Return the proof that the entry at a position is among the first `size`, by default among all.

        A view that does not fit its own root is rebuilt from the journal first.
        """
        wanted = self.size if size is None else size
        self._check(wanted)
        for _ in range(2):
            path = tuple(merkle.inclusion(position - 1, wanted, self.node))
            found = Inclusion(position, wanted, self.leaf(position), path, self.root(wanted))
            if found.holds() and self._is_leaf(position, found.leaf):
                return found
            self.rebuild()
        raise TreeIncompleteError(
            f"journal at position [{position}] changes while it is read; expected that entries stay: run `loom verify`"
        )

    def root_from(self, known: Root | None, size: int) -> bytes:
        """Return the root of the first `size` entries, read from the journal after those of a root that is known.

        Of the view only what hashes to the known root is believed. Raises `ForkError` where the journal does not begin
        with it: a view that does not is rebuilt first.
        """
        for _ in range(2):
            self.extend(until=size)
            if self.size < size:
                break
            start = Root(0, merkle.EMPTY_ROOT) if known is None else known
            tree = merkle.Frontier.taken_up(start.size, self._edge(start.size)) if start.size <= size else None
            if tree is not None and tree.root == start.root:
                for row in self._leaves.after(start.size, limit=size - start.size):
                    if row[0] != tree.size + 1:
                        raise TreeIncompleteError(
                            f"journal has no entry at position [{tree.size + 1}]; run `loom verify`"
                        )
                    tree.add(merkle.leaf_of(self._workspace, *row))
                if tree.size == size:
                    if tree.root != self.root(size):
                        self.rebuild()
                    return tree.root
            self.rebuild()
        raise ForkError(
            f"the first [{0 if known is None else known.size}] entries of the journal do not have the root that was "
            f"signed, or it has fewer than [{size}]; expected one that only grows: run `loom verify`"
        )

    def consistency(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the tree of `second` entries, by default of all, begins with that of `first`."""
        wanted = self.size if second is None else second
        self._check(wanted)
        self._check(first)
        for _ in range(2):
            path = tuple(merkle.consistency(first, wanted, self.node))
            if merkle.is_consistent(first, wanted, path, self.root(first), self.root(wanted)):
                return path
            self.rebuild()
        raise TreeIncompleteError(
            f"tree of [{wanted}] does not fit that of [{first}]; expected a journal that only grows: run `loom verify`"
        )

    def rebuild(self) -> int:
        """Make the view again from the journal alone, and return how many entries it covers."""
        self.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._open()
        return self.extend()

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a whole subtree, as `loom.journal.merkle.Node` asks for it."""
        at = _place(level, index)
        if at >= self._kept:
            begin = (at - self._kept) * HASH_BYTES
            found = bytes(self._new[begin : begin + HASH_BYTES])
        else:
            assert self._descriptor is not None  # noqa: S101 - narrows: there is a file where it keeps hashes
            found = os.pread(self._descriptor, HASH_BYTES, _HEADER_BYTES + at * HASH_BYTES)
        if len(found) != HASH_BYTES:
            raise OutOfRangeError(f"subtree [{level}, {index}] is not in the tree; expected [{self.size}] entries")
        return found

    # --- the file -------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the view where it is of this journal; another one, or a damaged one, is begun again."""
        if self._path is None or not self._workspace:
            return
        header = _header(self._workspace)
        try:
            descriptor = open_private(self._path, os.O_RDWR)
        except OSError:
            return  # it can be made, but not kept: memory does
        self._descriptor = descriptor
        found = os.pread(descriptor, _HEADER_BYTES, 0)
        if found == header:
            self._kept = max(0, os.fstat(descriptor).st_size - _HEADER_BYTES) // HASH_BYTES
            self.size = _size_of(self._kept)
            self._kept = _count(self.size)
            if self._fits():
                return
        self._kept = self.size = 0
        try:
            self._replace(header)
        except OSError:
            os.close(self._descriptor)
            self._descriptor = None

    def _replace(self, header: bytes) -> None:
        """Put an empty view in place of what is there: others that have it open keep the old one."""
        assert self._path is not None  # noqa: S101 - narrows: the caller has looked
        assert self._descriptor is not None  # noqa: S101
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        fresh = open_private(part, os.O_RDWR | os.O_TRUNC)
        try:
            os.pwrite(fresh, header, 0)
            os.replace(part, self._path)
        except OSError:
            os.close(fresh)
            part.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor = fresh

    def _fits(self) -> bool:
        """Tell whether the view's edge has hashes, and its last leaf is that of the journal's entry there."""
        if not self.size:
            return True
        return all(each != _NO_HASH for each in self._edge()) and self._is_leaf(self.size, self.node(0, self.size - 1))

    def _is_leaf(self, position: int, leaf: bytes) -> bool:
        row = next(iter(self._leaves.after(position - 1, limit=1)), None)
        return row is not None and leaf == merkle.leaf_of(self._workspace, *Leaf(*row))

    def _flush(self) -> None:
        """Write what is new into the file; where that fails, it stays in memory."""
        if self._descriptor is None or not self._new:
            return
        at = _HEADER_BYTES + self._kept * HASH_BYTES
        with contextlib.suppress(OSError):
            if os.pwrite(self._descriptor, self._new, at) == len(self._new):
                self._kept += len(self._new) // HASH_BYTES
                self._new.clear()

    def _edge(self, size: int | None = None) -> list[bytes]:
        """Return the whole subtrees at the right edge, from left to right: one for each bit of a size."""
        found, begin = [], 0
        wanted = self.size if size is None else size
        for level in range(wanted.bit_length() - 1, -1, -1):
            if wanted >> level & 1:
                found.append(self.node(level, begin >> level))
                begin += 1 << level
        return found

    def _check(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise OutOfRangeError(f"size [{size}] is not that of a tree; expected [0 to {self.size}]: extend it first")


def tree_of(files: JournalFiles) -> ProofTree:
    """Return the tree of the journal file of a workspace, with its view next to it; it is not extended yet."""
    return ProofTree(SqliteLeaves(files.journal), files.tree)


def tree_opener(reader: JournalReader, files: JournalFiles, workspace: str) -> Callable[[], ProofTree]:
    """Return what opens the tree of a workspace, to be called in a thread: its journal may be on a server."""
    if not isinstance(files, NodeFiles):
        return partial(tree_of, files)
    loop = asyncio.get_running_loop()
    return lambda: ProofTree(ReaderLeaves(reader, workspace, loop), files.tree)


def _header(workspace: str) -> bytes:
    return (_MAGIC + hashlib.sha256(workspace.encode()).digest()).ljust(_HEADER_BYTES, b"\0")


def _named(name: str) -> bytes:
    raw = name.encode()
    return _LENGTH.pack(len(raw)) + raw


def _count(size: int) -> int:
    """Return how many whole subtrees there are in a tree of a size."""
    return 2 * size - size.bit_count()


def _place(level: int, index: int) -> int:
    """Return the place of a subtree in the order in which they become whole, from 0."""
    last = (index + 1) << level
    return _count(last - 1) + level


def _size_of(count: int) -> int:
    """Return the size of the largest tree whose whole subtrees are no more than `count`."""
    size = count // 2
    while _count(size + 1) <= count:
        size += 1
    return size
