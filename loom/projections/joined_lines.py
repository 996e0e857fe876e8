"""Entries as lines of JSON, with what they refer to filled in: for reading, not for verification.

Their bodies are not those that were hashed. Each line says so, and `verify_export` therefore refuses it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Protocol

from loom.journal.entry import Recorded, ReferringEntry, Steps
from loom.journal.export import JOINED
from loom.projections.joining import OpenTurns

__all__ = ["joined_lines"]

_PAGE = 200


class _Source(Protocol):
    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]: ...

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]: ...

    async def steps(self, wanted: set[tuple[str, int]], /) -> Steps: ...


async def joined_lines(
    source: _Source, *, workspace: str, journal: str | None = None, after: int = 0, until: int | None = None
) -> AsyncIterator[str]:
    """Stream the entries of one journal by sequence, or of all by position, each joined with what it refers to."""
    entries = (
        source.read_all(after=after, until=until) if journal is None else source.read(journal, after=after, until=until)
    )
    turns, page = OpenTurns(source), list[Recorded]()
    async for recorded in entries:
        page.append(recorded)
        if len(page) == _PAGE:
            await turns.take(page)
            for each in page:
                yield _line(each, workspace)
            page.clear()
    await turns.take(page)
    for each in page:
        yield _line(each, workspace)


def _line(recorded: Recorded, workspace: str) -> str:
    said = {"workspace": workspace, JOINED: True, **recorded.as_json()}
    if recorded.refers and isinstance(recorded.entry, ReferringEntry):
        said["body"] = recorded.entry.model_dump(mode="json")
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))
