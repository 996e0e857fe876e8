"""Which decisions wait for a critic: those after an enricher first followed, and none where none ever did."""

from __future__ import annotations

from pathlib import Path

from loom.decisions import DecisionJournalEntry, EnrichmentsProjection
from loom.enrichment.entries import EnricherSetEntry
from loom.projections.confirming import refolded
from tests.projections.journals import decision, open_store, write


async def waiting(directory: Path, *, followed: bool) -> list[str]:
    store = await open_store(directory)
    await write(store, "a/1", DecisionJournalEntry(decision=decision("before"), enrich="always"))
    if followed:
        await write(store, "loom/enricher", EnricherSetEntry(mode="hybrid", auto_enrich_on=(), from_position=1))
    await write(store, "a/1", DecisionJournalEntry(decision=decision("after")))
    entries = [each async for each in store.read_all()]
    await store.close()
    return [row["decision_id"] for row in refolded(EnrichmentsProjection(), entries, "enrichment_waiting")]


async def test_decisions_wait_once_an_enricher_follows(tmp_path: Path) -> None:
    assert await waiting(tmp_path, followed=True) == [decision("after").decision_id]


async def test_where_no_enricher_ever_followed_nothing_waits(tmp_path: Path) -> None:
    assert await waiting(tmp_path, followed=False) == []
