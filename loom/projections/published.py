"""How a projection says that tables of it are published: kept in PostgreSQL as well, for SQL and BI tools."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

from loom.projections.projection import Projection, shape_of

__all__ = ["Published", "Publishes", "published_by", "published_shape"]

_FORMAT = 1
"""Raise it when tables that were published are to be published again from the start."""


@dataclass(frozen=True, slots=True)
class Published:
    """A table of a projection that is published under the same name, with the same rows.

    The table needs a primary key. `text` names columns whose words can be searched for, `indexes` columns that are
    often asked for together, `leaves_out` columns that stay here.
    """

    table: str
    text: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    leaves_out: tuple[str, ...] = ()


@runtime_checkable
class Publishes(Protocol):
    """A projection with tables that are published where the config says so."""

    @property
    def publish(self) -> tuple[Published, ...]:
        """The tables that are published."""
        ...


def published_by(projection: Projection) -> tuple[Published, ...]:
    """Return which tables of a projection are published, none where it says nothing."""
    return projection.publish if isinstance(projection, Publishes) else ()


def published_shape(projection: Projection) -> str:
    """Return a digest of what is published of a projection: where it changes, it is published from the start."""
    declared = [asdict(each) for each in published_by(projection)]
    said = [_FORMAT, projection.version, shape_of(projection), declared]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
