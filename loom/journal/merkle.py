"""The Merkle tree over the entries of a workspace, by position: RFC 6962, section 2, with a leaf of loom's own.

One hash, the root, stands for all entries up to a position. That an entry is among them is shown with some twenty
hashes (`inclusion`), and that a longer journal begins with a shorter one is shown so, too (`consistency`); who checks
that needs neither the journal nor this program.

Hashes of whole subtrees are asked of a function, `Node`: level 0 are the leaves, and the node `index` of a level covers
the leaves from `index << level` on, `1 << level` of them. Only whole subtrees are asked for.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from loom.errors import OutOfRangeError

__all__ = [
    "EMPTY_ROOT",
    "Frontier",
    "Node",
    "consistency",
    "inclusion",
    "is_consistent",
    "is_included",
    "leaf_of",
    "node_of",
    "root_of",
]

Node: TypeAlias = Callable[[int, int], bytes]
"""Level and index of a whole subtree → its hash, 32 bytes."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

_LEAF = b"\x00loom/leaf/v1\n"
_NODE = b"\x01"
_LENGTH = struct.Struct(">Q")


def leaf_of(workspace: str, position: int, journal: str, sequence: int, entry_hash: bytes) -> bytes:
    """Return the leaf of an entry: 32 bytes. `position` and `sequence` count from 1."""
    names = (workspace.encode(), journal.encode())
    framed = (
        _LENGTH.pack(len(names[0])) + names[0] + _LENGTH.pack(position),
        _LENGTH.pack(len(names[1])) + names[1] + _LENGTH.pack(sequence),
    )
    return hashlib.sha256(_LEAF + b"".join(framed) + entry_hash).digest()


def node_of(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side."""
    return hashlib.sha256(_NODE + left + right).digest()


class Frontier:
    """A tree that only grows: the whole subtrees at its right edge are all that it keeps, one for each bit of its size.

    `done`, where given, gets each subtree that becomes whole: level, index, hash.
    """

    def __init__(self, done: Callable[[int, int, bytes], object] | None = None) -> None:
        self.size = 0
        self._edge: list[bytes] = []
        self._done = done

    @classmethod
    def taken_up(cls, size: int, edge: Sequence[bytes]) -> Frontier:
        """Return the tree with a size whose whole subtrees at the right edge are these, from left to right."""
        if len(edge) != size.bit_count():
            raise OutOfRangeError(f"edge of [{len(edge)}] subtrees is not of [{size}] leaves; expected one a bit")
        found = cls()
        found.size, found._edge = size, [*edge]
        return found

    def add(self, leaf: bytes) -> None:
        """Append a leaf."""
        level, index, whole = 0, self.size, leaf
        if self._done is not None:
            self._done(level, index, whole)
        while index & 1:
            level, index, whole = level + 1, index >> 1, node_of(self._edge.pop(), whole)
            if self._done is not None:
                self._done(level, index, whole)
        self._edge.append(whole)
        self.size += 1

    def add_all(self, leaves: Iterable[bytes]) -> None:
        """Append leaves."""
        for each in leaves:
            self.add(each)

    @property
    def root(self) -> bytes:
        """The root of what was appended until now."""
        return _joined(reversed(self._edge)) if self._edge else EMPTY_ROOT


def root_of(size: int, node: Node) -> bytes:
    """Return the root of the first `size` leaves."""
    return _of_range(0, size, node) if size else EMPTY_ROOT


def inclusion(index: int, size: int, node: Node) -> list[bytes]:
    """Return the audit path of a leaf, by its index from 0, in the tree of the first `size` leaves.

    Raises `OutOfRangeError` for a leaf that is not in it.
    """
    if not 0 <= index < size:
        raise OutOfRangeError(
            f"leaf [{index}] is not in a tree of [{size}]; expected [0 to {size - 1}]: use one of these"
        )
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_of_range(middle, end, node))
            end = middle
        else:
            path.append(_of_range(begin, middle, node))
            begin = middle
    return path[::-1]


def consistency(first: int, second: int, node: Node) -> list[bytes]:
    """Return the proof that the tree of the first `second` leaves begins with that of the first `first`.

    Raises `OutOfRangeError` for sizes that are not in order; a proof from nothing, or of a tree with itself, is empty.
    """
    if not 0 <= first <= second:
        raise OutOfRangeError(f"sizes [{first}] and [{second}] are not in order; expected the smaller one first")
    if first in (0, second):
        return []
    path: list[bytes] = []
    begin, end, is_known = 0, second, True
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            path.append(_of_range(middle, end, node))
            end = middle
        else:
            path.append(_of_range(begin, middle, node))
            begin, is_known = middle, False
    if not is_known:
        path.append(_of_range(begin, end, node))
    return path[::-1]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether an audit path shows that a leaf is at this index of the tree with this size and root."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for each in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_of(each, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_of(found, each)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Tell whether a proof shows that a tree with one size and root begins with the other, smaller one."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    hashes = iter(path)
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    begin = next(hashes, None) if place else first_root
    if begin is None:
        return False
    old = new = begin
    for each in hashes:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_of(each, old), node_of(each, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_of(new, each)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _of_range(begin: int, end: int, node: Node) -> bytes:
    """Return the hash of the leaves from `begin` to before `end`; `begin` is where a subtree of that size begins."""
    return _joined(reversed([node(level, index) for level, index in _whole(begin, end)]))


def _whole(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the whole subtrees, from left to right and ever smaller, that make up a range."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield level, begin >> level
        begin += 1 << level


def _joined(from_the_right: Iterable[bytes]) -> bytes:
    """Return the hash of subtrees that get larger to the left, given from the right."""
    hashes = iter(from_the_right)
    found = next(hashes)
    for each in hashes:
        found = node_of(each, found)
    return found


def _split(size: int) -> int:
    """Return the largest power of two that is smaller than a size."""
    return 1 << ((size - 1).bit_length() - 1)
