"""Published views: tables of projections that one process keeps in PostgreSQL as well, for SQL and BI tools.

`publisher` is the process that was elected. It has two sides: `folded`, its own file, whose changes `capture` notes,
and `server`, the schema in PostgreSQL, with the statements of `tables`. `state` is what both say of how far they are.
`config` and `making` begin all of it; `reading` asks the server how far it is, without one.
"""

from __future__ import annotations

from loom.publishing.config import PublishConfig
from loom.publishing.making import publisher_of
from loom.publishing.publisher import PublishedStatus, Publisher

__all__ = ["PublishConfig", "PublishedStatus", "Publisher", "publisher_of"]
