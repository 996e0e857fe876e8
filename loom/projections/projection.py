"""What a projection is: tables that are folded from the journal and can be rebuilt at any time (design: Law 1)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from loom.journal.entry import Recorded

__all__ = ["Checkpoint", "PageProjection", "Projection", "ProjectionStatus", "shape_of"]


class Projection(Protocol):
    """Tables that are folded from the entries of a workspace, in the order of their positions.

    `apply` may read and write its own tables, and nothing else: no clock, no randomness, no I/O, no state in Python
    (design: Law 7). Its result for an entry depends on that entry and the earlier ones.
    """

    @property
    def name(self) -> str:
        """Its name, unique in a workspace."""
        ...

    @property
    def version(self) -> int:
        """Raise it when `apply` changes: the tables are then rebuilt."""
        ...

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds of entries that it folds; None for all."""
        ...

    @property
    def schema(self) -> str:
        """The SQL statements that create its tables and indexes."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables, and the views over them, that `schema` creates; their names belong to this projection alone."""
        ...

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables. It is called in the thread that writes the views."""
        ...


@runtime_checkable
class PageProjection(Protocol):
    """A projection that can fold several entries at once. The size of the pages affects only the cost."""

    def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
        """Fold entries of its kinds, in order, with the same result as `apply` for each of them.

        If it raises, the page is folded again, entry by entry.
        """
        ...


class Checkpoint(NamedTuple):
    """The position of a projection: the last entry that is in its tables, and the error with which it stopped."""

    name: str
    version: int
    position: int
    entry_hash: bytes
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """The state of a projection, for people; `lag` is the number of entries that are not in the tables yet."""

    name: str
    version: int
    position: int
    lag: int
    failed: str | None


def shape_of(projection: Projection) -> str:
    """Return a digest of a projection's schema, so that a schema that changed without a new version is found too."""
    return hashlib.sha256(json.dumps([projection.schema, list(projection.tables)]).encode()).hexdigest()
