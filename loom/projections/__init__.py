"""The machinery of views: tables that are folded from the journal and can be deleted without loss."""

from __future__ import annotations

from loom.projections.confirming import Confirmation, Differences, Row
from loom.projections.digest import digest, dump
from loom.projections.projection import Checkpoint, PageProjection, Projection, ProjectionStatus
from loom.projections.projector import Progress, Projector
from loom.projections.published import Published, Publishes
from loom.projections.queries import Queries
from loom.projections.read_only import open_views_for_reading
from loom.projections.snapshots import Snapshot, Snapshots
from loom.projections.source import EntrySource
from loom.projections.views import Views

__all__ = [
    "Checkpoint",
    "Confirmation",
    "Differences",
    "EntrySource",
    "PageProjection",
    "Progress",
    "Projection",
    "ProjectionStatus",
    "Projector",
    "Published",
    "Publishes",
    "Queries",
    "Row",
    "Snapshot",
    "Snapshots",
    "Views",
    "digest",
    "dump",
    "open_views_for_reading",
]
