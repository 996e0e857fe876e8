"""The journal in PostgreSQL: any number of writing processes, on any number of machines.

It needs the extra `loom-journal[postgres]`.

- Where and how: `url`, `options`, and `connecting`, which makes the tables of `schema.sql`, too; `sessions` keeps a few
  connections open, `faults` says in loom's words what failed.
- Writing: `store` is the whole of it; its appends go through `pump`, `staging` and `writer`.
- Reading: `reader`.
- Other processes: `follower` hears them, `others` knows which there are.
- What someone changed past loom: `anchor` (heads on a disk of its own), `catalog` (the guards of the tables), `verify`.
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
