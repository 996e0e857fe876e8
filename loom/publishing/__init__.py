"""Published views: tables of projections that one process keeps in PostgreSQL as well, for SQL and BI tools."""

from __future__ import annotations

from loom.publishing.config import PublishConfig
from loom.publishing.making import publisher_of
from loom.publishing.publisher import PublishedStatus, Publisher

__all__ = ["PublishConfig", "PublishedStatus", "Publisher", "publisher_of"]
