"""The journal in PostgreSQL: any number of writing processes, on any number of machines.

It needs the extra `loom-journal[postgres]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from loom.journal.postgres.options import PostgresOptions
    from loom.journal.postgres.reader import PostgresReader
    from loom.journal.postgres.store import PostgresStore
    from loom.journal.postgres.url import PostgresUrl, is_postgres

__all__ = ["PostgresOptions", "PostgresReader", "PostgresStore", "PostgresUrl", "is_postgres"]

__getattr__ = lazily(__name__, ".options .reader .store .url")
