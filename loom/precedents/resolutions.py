"""What persons said of contradictions: which outcome stands, and why. It is journaled in `loom/contradictions`.

A contradiction is open until a person says so, and open again once a later decision goes against what stands.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from loom.identity import Identity
from loom.journal.entry import PersonEntry
from loom.journal.store import JournalReader
from loom.projections import Queries

__all__ = ["CONTRADICTION_JOURNAL", "ContradictionResolvedEntry", "Resolution", "in_force", "resolutions"]

CONTRADICTION_JOURNAL = "loom/contradictions"
"""The journal of what persons said of contradictions."""

_LATER = """
SELECT p.situation FROM json_each(:resolved) AS said JOIN precedents AS p
  ON p.situation = json_extract(said.value, '$[0]') AND p.position > json_extract(said.value, '$[2]')
WHERE p.precedent <> json_extract(said.value, '$[1]') AND p.excluded IS NULL
GROUP BY p.situation
"""
_NAMES = ("precedents",)


class ContradictionResolvedEntry(PersonEntry):
    """A person said which outcome of a situation stands, and why; they saw so many decisions in it.

    `situation` and `stands` are the keys of the class without and with its outcome, `rule` the hash of the rule.
    """

    kind: ClassVar[str] = "contradiction_resolved"
    sources_since: ClassVar[int] = 1

    by: str
    situation: str
    rule: str
    stands: str
    words: str
    """The outcome that stands, in words."""
    reason: str
    cases: int


class Resolution(BaseModel):
    """Which outcome stands, who said so, when and why."""

    model_config = ConfigDict(frozen=True)

    situation: str
    stands: str
    words: str
    reason: str
    by: str
    identity_source: str | None = None
    via: str | None = None
    resolved_at: datetime
    position: int
    """The position of its entry: later decisions may go against it."""

    @property
    def identity(self) -> Identity:
        """Who said so, and the source of the name."""
        return Identity(self.by, self.identity_source, self.via)


async def resolutions(entries: JournalReader) -> dict[str, Resolution]:
    """Return what persons said last of each contradiction, by situation."""
    found: dict[str, Resolution] = {}
    async for recorded in entries.read(CONTRADICTION_JOURNAL):
        entry = recorded.entry
        if isinstance(entry, ContradictionResolvedEntry):
            found[entry.situation] = Resolution(
                **entry.model_dump(include={"situation", "stands", "words", "reason", "by", "identity_source", "via"}),
                resolved_at=recorded.recorded_at,
                position=recorded.position,
            )
    return found


async def in_force(queries: Queries, said: Mapping[str, Resolution]) -> Collection[str]:
    """Return the situations of which what a person said holds: no later decision goes against it."""
    if not said:
        return frozenset()
    resolved = json.dumps([[each.situation, each.stands, each.position] for each in said.values()])
    rows = await queries.fetch(_LATER, {"resolved": resolved}, names=_NAMES)
    return frozenset(said) - {row["situation"] for row in rows}
