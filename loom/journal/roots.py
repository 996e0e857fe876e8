"""Roots of the Merkle tree that people wrote down: whether a journal still begins as it did then."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from loom.errors import AdmissionError
from loom.journal.chain import HASH_BYTES
from loom.journal.findings import Findings
from loom.journal.merkle import EMPTY_ROOT, Frontier, leaf_of

__all__ = ["Root", "RootsSeen"]

_WRITTEN = re.compile(r"([1-9][0-9]{0,18}):([0-9a-fA-F]{64})\Z")


class Root(NamedTuple):
    """The root of the tree over the first `size` entries of a workspace."""

    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Root:
        """Return the root that a text `SIZE:HEX` names; raise `AdmissionError` for any other text."""
        found = _WRITTEN.match(text.strip())
        if found is None:
            raise AdmissionError(
                f"root [{text:.100}] is none; expected [SIZE:64 hex digits], as `loom verify` prints it"
            )
        return cls(int(found[1]), bytes.fromhex(found[2]))

    def __str__(self) -> str:
        return f"{self.size}:{self.root.hex()}"


class RootsSeen:
    """Makes the tree of a journal while its entries are read in order, and compares roots that were written down.

    A journal with a hole among its positions has no root from there on. `anchored` are roots of checkpoints that were
    written down elsewhere, `signed` those of checkpoints in the journal itself, of which none shows a cut.
    """

    def __init__(
        self, wanted: Iterable[Root] = (), *, anchored: Iterable[Root] = (), signed: Iterable[Root] = ()
    ) -> None:
        self._tree = Frontier()
        self._is_whole = True
        self._anchored, self._signed = frozenset(anchored), frozenset(signed)
        self._outside = frozenset(wanted) | self._anchored
        self._wanted = sorted(self._outside | self._signed)
        self._sizes = frozenset(each.size for each in self._wanted)
        self._found: dict[int, bytes] = {}

    def take(self, workspace: str, position: object, journal: object, sequence: object, entry_hash: object) -> None:
        """Take the next entry; a damaged row may have columns of any type."""
        if (
            isinstance(position, int)
            and position == self._tree.size + 1
            and isinstance(journal, str)
            and isinstance(sequence, int)
            and sequence > 0
            and isinstance(entry_hash, bytes)
            and len(entry_hash) == HASH_BYTES
            and self._is_whole
        ):
            try:
                self._tree.add(leaf_of(workspace, position, journal, sequence, entry_hash))
            except UnicodeEncodeError:
                self._is_whole = False
            else:
                if self._tree.size in self._sizes:
                    self._found[self._tree.size] = self._tree.root
        else:
            self._is_whole = False

    @property
    def last(self) -> Root | None:
        """The root of all entries; None for an empty journal, and where an entry is missing or unreadable."""
        return Root(self._tree.size, self._tree.root) if self._is_whole and self._tree.root != EMPTY_ROOT else None

    def compare(self, findings: Findings, *, size: int) -> int:
        """Add what is wrong by the wanted roots, for a journal with `size` entries; return the largest good size."""
        good = outside = 0
        for each in self._wanted:
            found = self._found.get(each.size)
            if each.size > size:
                findings.add(
                    "CUT" if each in self._anchored else "TRUNCATED",
                    f"entries {size + 1}..{each.size} are gone, or cannot be read: there is a root of {each.size}",
                    position=size + 1,
                )
            elif found == each.root:
                good = max(good, each.size)
                outside = max(outside, each.size) if each in self._outside else outside
            else:
                findings.add(
                    "REWRITTEN",
                    f"the first {each.size} entries do not have the root {each.root.hex()[:12]}… written down earlier: "
                    f"one or more of the entries {good + 1}..{each.size} are others now, or gone",
                    position=good + 1,
                )
        return outside
