"""Contradictions as objects: listed, looked at, and resolved by a person who says which outcome stands, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from loom.errors import AdmissionError
from loom.identity import By, Identity
from loom.journal.appending import append_last
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalStore, draft
from loom.precedents.contradictions import Contradiction, Contradictions, DecidedSo
from loom.precedents.resolutions import CONTRADICTION_JOURNAL, ContradictionResolvedEntry
from loom.precedents.search import Precedents

__all__ = ["OpenContradictions"]


class OpenContradictions:
    """The contradictions of a loom, and the only way to resolve them."""

    def __init__(
        self, store: JournalStore, precedents: Precedents, *, make_draft: Callable[[Entry], Draft] = draft
    ) -> None:
        self._store = store
        self._precedents = precedents
        self._draft = make_draft
        self._lock = asyncio.Lock()

    async def list(
        self, *, status: Literal["open", "resolved"] | None = "open", rule: str | None = None, limit: int = 20
    ) -> Contradictions:
        """Return the contradictions of a status, those with the largest minority first."""
        return await self._precedents.contradictions(rule=rule, status=status, limit=limit)

    async def get(self, situation: str) -> Contradiction:
        """Return one by its situation or the beginning of it; raise `ContradictionNotFoundError`."""
        return await self._precedents.contradiction(situation)

    async def resolve(self, situation: str, *, stands: str, by: By, reason: str) -> Contradiction:
        """Say in the name of a person which outcome of a situation stands, and why; return it as it is then.

        `stands` is the key of the outcome's class, the beginning of it, or the outcome in words. What was decided stays
        as it is. A later decision with another outcome opens the contradiction again; the last resolution counts.
        """
        if not reason.strip():
            raise AdmissionError("a resolution has no reason; expected it in a person's words: say why it stands")
        async with self._lock:
            found = await self._precedents.contradiction(situation)
            outcome = _chosen(found, stands)
            entry = ContradictionResolvedEntry(
                **Identity.of(by).written(),
                situation=found.situation,
                rule=found.rule,
                stands=outcome.precedent,
                words=outcome.words,
                reason=reason,
                cases=found.cases,
            )
            await append_last(self._store, CONTRADICTION_JOURNAL, (self._draft(entry),))
        return await self._precedents.contradiction(found.situation)


def _chosen(found: Contradiction, stands: str) -> DecidedSo:
    named = [each for each in found.outcomes if stands and (each.words == stands or each.precedent.startswith(stands))]
    if len(named) != 1:
        known = ", ".join(f"{each.precedent[:12]} ({each.words})" for each in found.outcomes)
        raise AdmissionError(
            f"outcome [{stands!r:.80}] is not one of this contradiction; expected one of [{known:.500}]: name its key "
            "or its words"
        )
    return named[0]
