"""What a store in PostgreSQL knows of the other processes that write it: which there are, and how far journals go."""

from __future__ import annotations

from collections.abc import Collection

from loom.journal.election import WriterSeen
from loom.journal.postgres.reader import PostgresReader

__all__ = ["Others", "writers_of"]

_HEADS = "SELECT journal, sequence FROM heads WHERE journal = ANY ($1::text[]) AND sequence > 0"
_WRITERS = """
SELECT writer, name, address, (extract(epoch FROM beat_at) * 1000000)::bigint AS beat, fenced_at IS NOT NULL AS ended,
  release, level, extract(epoch FROM now() - beat_at)::float8 AS silent
FROM writers ORDER BY writer DESC LIMIT 1000
"""


class Others:
    """The part of a store that is about its other writers."""

    _reader: PostgresReader

    async def heads(self, journals: Collection[str]) -> dict[str, int]:
        """Return journal → its last sequence, of those that have entries."""
        rows = await self._reader.rows(_HEADS, list(journals))
        return {row["journal"]: row["sequence"] for row in rows}

    async def writers(self) -> list[WriterSeen]:
        """Return the last thousand processes that have opened the journal, the newest first."""
        return await writers_of(self._reader)


async def writers_of(reader: PostgresReader) -> list[WriterSeen]:
    """Return the last thousand processes that have opened a journal, the newest first."""
    return [WriterSeen(*row) for row in await reader.rows(_WRITERS)]
