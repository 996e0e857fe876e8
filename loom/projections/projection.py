"""What a projection is: tables that are folded out of the journal, and nothing that lasts (design: Law 1)."""

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
    """Tables folded out of the entries of a workspace, in the order of their positions.

    `apply` may read and write its own tables, and nothing else: no clock, no chance, no I/O, no state in Python
    (design: Law 7). What it makes out of an entry depends on that entry and the ones before it.
    """

    @property
    def name(self) -> str:
        """What it is called, once in a workspace."""
        ...

    @property
    def version(self) -> int:
        """Raise it when `apply` changes: the tables are then built anew."""
        ...

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds of entries it wants to see; None for all."""
        ...

    @property
    def schema(self) -> str:
        """The SQL that creates its tables and indexes, one statement after the other."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables, and the views over them, that `schema` creates; their names belong to this projection alone."""
        ...

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables; called in the thread that writes the views."""
        ...


@runtime_checkable
class PageProjection(Protocol):
    """A projection that can fold several entries at once. Nothing but its cost depends on how they are divided."""

    def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
        """Fold entries of the kinds it wants, in order; the tables are as `apply` of one after the other leaves them.

        Where it raises, the page is folded again, one entry after the other.
        """
        ...


class Checkpoint(NamedTuple):
    """How far a projection has come: the last entry that is in its tables, and the error it stopped with."""

    name: str
    version: int
    position: int
    entry_hash: bytes
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """A checkpoint as people ask for it; `lag` is the number of entries that are not in the tables yet."""

    name: str
    version: int
    position: int
    lag: int
    failed: str | None


def shape_of(projection: Projection) -> str:
    """Return a digest of a projection's tables, so that a schema edited without a new version is noticed, too."""
    return hashlib.sha256(json.dumps([projection.schema, list(projection.tables)]).encode()).hexdigest()
