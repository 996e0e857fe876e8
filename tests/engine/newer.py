"""What a later loom is to this one: it writes an end of turns that this one cannot read."""

from __future__ import annotations

from typing import Any

from loom.journal import lowering
from loom.journal.kinds import TurnCompletedEntry

__all__ = ["LEVEL", "SCHEMA", "become_newer"]

LEVEL = lowering.LEVEL + 1
SCHEMA = TurnCompletedEntry.schema_version + 1
"""Of the end of a turn, in the later loom."""


def become_newer() -> None:
    """Be the later loom in this process."""
    before = TurnCompletedEntry.upcast

    def upcast(cls: type[TurnCompletedEntry], version: int, body: dict[str, Any]) -> dict[str, Any]:
        return body if version == SCHEMA - 1 else before(version, body)

    def downcast(cls: type[TurnCompletedEntry], version: int, body: dict[str, Any]) -> dict[str, Any]:
        return body

    given: Any = TurnCompletedEntry
    given.schema_version, given.upcast, given.downcast = SCHEMA, classmethod(upcast), classmethod(downcast)
    lowering.CHANGES[LEVEL] = {TurnCompletedEntry.kind: (SCHEMA - 1, SCHEMA)}
    lowering.LEVEL = LEVEL
