"""The journal in PostgreSQL: any number of writing processes, on any number of machines.

It needs the extra `loom-journal[postgres]`.
"""

from __future__ import annotations

from loom.lazy import lazily

__all__ = ["PostgresOptions", "PostgresReader", "PostgresStore", "PostgresUrl", "is_postgres"]

__getattr__ = lazily(__name__, ".options .reader .store .url")
